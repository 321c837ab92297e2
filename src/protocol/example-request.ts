import type { Signature, TensorSpec } from '../tensor/signature.ts';
import { DATATYPES, type Datatype, elementCount } from '../tensor/tensor.ts';

/** One input of an example request: `count` elements, each of which is `element`. */
export interface ExampleInput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly datatype: Datatype;
  readonly count: number;
  readonly element: number | boolean | string;
}

/**
 * Inputs of the right shape for a signature: one row, other free dimensions 1; zeros, or a short text. Models take
 * them: zero is in the range of whatever integers stand for.
 */
export function exampleInputs(signature: Signature): ExampleInput[] {
  return signature.inputs.map((spec) => {
    const shape = exampleShape(spec);
    return {
      name: spec.name,
      shape,
      datatype: spec.datatype,
      count: elementCount(shape),
      element: exampleElement(spec.datatype),
    };
  });
}

/** What a request asks for beside its inputs: FP16 has no JSON form, so FP16 outputs are asked for as binary. */
export function exampleParameters(signature: Signature): { readonly parameters?: { binary_data_output: true } } {
  return signature.outputs.some(isFp16) ? { parameters: { binary_data_output: true } } : {};
}

/** Whether a request has to carry its inputs as binary behind the JSON (binary tensor data extension). */
export function needsBinaryInputs(signature: Signature): boolean {
  return signature.inputs.some(isFp16);
}

/** The body of an inference request in JSON. For signatures that do not {@link needsBinaryInputs}. */
export function exampleJson(signature: Signature): object {
  const inputs = exampleInputs(signature).map(({ count, element, ...input }) => ({
    ...input,
    data: Array(count).fill(element),
  }));
  return { inputs, ...exampleParameters(signature) };
}

/** The JSON before the binary sections of a request, and the bytes of each section: all zeros. */
export function exampleBinary(signature: Signature): { readonly json: string; readonly sizes: readonly number[] } {
  const sizes: number[] = [];
  const inputs = exampleInputs(signature).map(({ count, element, ...input }) => {
    // An empty text is a length of zero, so zeros are right for BYTES too.
    const size = count * (DATATYPES[input.datatype].size || 4);
    sizes.push(size);
    return { ...input, parameters: { binary_data_size: size } };
  });
  return { json: JSON.stringify({ inputs, ...exampleParameters(signature) }), sizes };
}

function isFp16(spec: TensorSpec): boolean {
  return spec.datatype === 'FP16';
}

function exampleShape(spec: TensorSpec): number[] {
  return spec.shape.map((dim, axis) => (dim < 0 || axis === spec.batchAxis ? 1 : dim));
}

function exampleElement(datatype: Datatype): number | boolean | string {
  if (datatype === 'BYTES') return 'hello';
  return datatype === 'BOOL' ? false : 0;
}
