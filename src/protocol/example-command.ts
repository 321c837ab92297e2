import type { ModelSummary } from '../serving/model-version.ts';
import type { Signature } from '../tensor/signature.ts';
import { exampleBinary, exampleInputs, exampleJson, exampleParameters, needsBinaryInputs } from './example-request.ts';

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
  const { parameters } = exampleParameters(signature);
  const into = parameters === undefined ? '' : ' -o answer.bin';
  const note =
    parameters === undefined
      ? undefined
      : 'The answer goes to answer.bin: JSON, then the outputs in binary (FP16 has no JSON form).';

  if (needsBinaryInputs(signature)) return { command: binaryCommand(signature, url, into), note };

  const inputs = exampleInputs(signature);
  if (inputs.every((input) => input.count <= SPELT_OUT_LIMIT)) {
    return { command: `curl -s ${url}${into} -d ${quote(JSON.stringify(exampleJson(signature)))}`, note };
  }
  const generated = inputs.map(({ count, element, ...input }) => {
    const head = JSON.stringify(input).slice(0, -1);
    return `${head},"data":Array(${count}).fill(${JSON.stringify(element)})}`;
  });
  const rest = parameters === undefined ? '' : `,"parameters":${JSON.stringify(parameters)}`;
  const script = `JSON.stringify({"inputs":[${generated.join(',')}]${rest}})`;
  return { command: `node -p ${quote(script)} | curl -s ${url}${into} -d @-`, note };
}

function binaryCommand(signature: Signature, url: string, into: string): string {
  const { json, sizes } = exampleBinary(signature);
  const sections = sizes.map((size) => `head -c ${size} /dev/zero`);
  const headers = `-H 'Content-Type: application/octet-stream' -H 'Inference-Header-Content-Length: ${Buffer.byteLength(json)}'`;
  return `{ printf %s ${quote(json)}; ${sections.join('; ')}; } | curl -s ${url}${into} ${headers} --data-binary @-`;
}

/** `text` as one word of a POSIX shell. */
function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
