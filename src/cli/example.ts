import type { ModelSummary } from '../server.ts';
import type { TensorSpec } from '../tensor/signature.ts';
import { DATATYPES, elementCount } from '../tensor/tensor.ts';

// Beyond this many elements the data is generated rather than spelt out.
const SPELT_OUT_LIMIT = 32;

/** A shell command that sends a V2 request, with a sentence about anything unusual in it. */
export interface Example {
  readonly command: string;
  readonly note: string | undefined;
}

/**
 * A `curl` for one inference with inputs of the right shape: one row, other free dimensions 1, zeros or a short text.
 * FP16 has no JSON form, so a request with FP16 inputs carries all its inputs as binary behind the JSON, and FP16
 * outputs are asked for as binary (Open Inference Protocol, binary tensor data extension).
 *
 * @param baseUrl such as `http://127.0.0.1:8000`.
 * @param version undefined: the model's default version.
 * @returns undefined while the signature is unknown.
 */
export function exampleInfer(
  model: Pick<ModelSummary, 'name' | 'signature'>,
  baseUrl: string,
  version?: string,
): Example | undefined {
  const { signature } = model;
  if (signature === undefined) return undefined;
  const where = version === undefined ? '' : `/versions/${encodeURIComponent(version)}`;
  const url = quote(`${baseUrl}/v2/models/${encodeURIComponent(model.name)}${where}/infer`);
  const isFp16 = (spec: TensorSpec): boolean => spec.datatype === 'FP16';
  const wantsBinary = signature.outputs.some(isFp16);
  const tail = wantsBinary ? { parameters: { binary_data_output: true } } : {};
  const into = wantsBinary ? ' -o answer.bin' : '';
  const note = wantsBinary
    ? 'The answer goes to answer.bin: JSON, then the outputs in binary (FP16 has no JSON form).'
    : undefined;

  if (signature.inputs.some(isFp16)) return { command: binaryCommand(signature.inputs, tail, url, into), note };

  const inputs = signature.inputs.map((spec) => {
    const shape = exampleShape(spec);
    return {
      name: spec.name,
      shape,
      datatype: spec.datatype,
      count: elementCount(shape),
      element: exampleElement(spec),
    };
  });
  if (inputs.every((input) => input.count <= SPELT_OUT_LIMIT)) {
    const body = inputs.map(({ count, element, ...input }) => ({ ...input, data: Array(count).fill(element) }));
    return { command: `curl -s ${url}${into} -d ${quote(JSON.stringify({ inputs: body, ...tail }))}`, note };
  }
  const generated = inputs.map(({ count, element, ...input }) => {
    const head = JSON.stringify(input).slice(0, -1);
    return `${head},"data":Array(${count}).fill(${JSON.stringify(element)})}`;
  });
  const rest = wantsBinary ? `,"parameters":${JSON.stringify(tail.parameters)}` : '';
  const script = `JSON.stringify({"inputs":[${generated.join(',')}]${rest}})`;
  return { command: `node -p ${quote(script)} | curl -s ${url}${into} -d @-`, note };
}

function binaryCommand(specs: readonly TensorSpec[], tail: object, url: string, into: string): string {
  const parts: string[] = [];
  const inputs = specs.map((spec) => {
    const shape = exampleShape(spec);
    const count = elementCount(shape);
    // An empty text is a length of zero, so zeros are right for BYTES too.
    const size = count * (DATATYPES[spec.datatype].size || 4);
    parts.push(`head -c ${size} /dev/zero`);
    return { name: spec.name, shape, datatype: spec.datatype, parameters: { binary_data_size: size } };
  });
  const json = JSON.stringify({ inputs, ...tail });
  const headers = `-H 'Content-Type: application/octet-stream' -H 'Inference-Header-Content-Length: ${Buffer.byteLength(json)}'`;
  return `{ printf %s ${quote(json)}; ${parts.join('; ')}; } | curl -s ${url}${into} ${headers} --data-binary @-`;
}

function exampleShape(spec: TensorSpec): number[] {
  return spec.shape.map((dim, axis) => (dim < 0 || axis === spec.batchAxis ? 1 : dim));
}

function exampleElement(spec: TensorSpec): number | boolean | string {
  if (spec.datatype === 'BYTES') return 'hello';
  return spec.datatype === 'BOOL' ? false : 0;
}

/** `text` as one word of a POSIX shell. */
function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
