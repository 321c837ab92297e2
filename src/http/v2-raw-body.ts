import { invalid } from '../errors.ts';
import type { Servable } from '../serving/servable.ts';
import { withLength } from '../tensor/bytes-element.ts';
import { RawTensorReader } from '../tensor/raw-tensor.ts';
import type { Signature, TensorSpec } from '../tensor/signature.ts';
import { DATATYPES, formatShape } from '../tensor/tensor.ts';
import type { InferCall } from './v2-request.ts';

/** Whether the header `Inference-Header-Content-Length` says that there is no JSON: the body is a tensor's bytes. */
export function isRawBody(headerLength: string): boolean {
  return /^0+$/.test(headerLength);
}

/**
 * Reads a body that is nothing but the bytes of a model's only input (Triton's "raw binary request"). It is one row
 * where the model batches, and the one dimension that may be of any size follows from the length. A text is the whole
 * body, without a length before it. All outputs are answered in binary.
 *
 * A generator that pauses now and then, as {@link decodeInferRequest}; the tensor is a view of `body` unless it is text.
 *
 * @throws {ShoalError} INVALID_REQUEST when the model has not exactly one input, when its shape leaves more than one
 * way to read the bytes, or when they are not as many as any shape needs.
 */
export function* decodeRawBody(body: Buffer, model: Servable): Generator<void, InferCall, void> {
  const { name, signature } = model;
  if (signature === undefined) throw model.notReady();
  if (body.length === 0) throw invalid(`the request has no body, expected the bytes of the input of model '${name}'`);
  const [spec] = signature.inputs;
  if (spec === undefined || signature.inputs.length > 1) {
    const count = signature.inputs.length;
    throw invalid(`model '${name}' has ${count} inputs, a request without JSON can only be for a model with one`);
  }
  const what = `input '${spec.name}' of model '${name}'`;
  const shape = spec.datatype === 'BYTES' ? shapeOfText(what, spec, signature) : shapeOf(what, spec, signature, body);
  const bytes = spec.datatype === 'BYTES' ? yield* withLength(body) : body;
  const count = shape.reduce((product, dim) => product * dim, 1);
  const reader = new RawTensorReader(
    bytes,
    spec.datatype,
    { what, shape, count },
    'the body for',
    !model.opaque?.inputs.has(spec.name),
  );
  while (!reader.advance()) yield;
  return {
    id: undefined,
    inputs: new Map([[spec.name, reader.finish()]]),
    remote: undefined,
    outputs: undefined,
    binaryByDefault: true,
    timeoutMs: undefined,
    priority: undefined,
  };
}

/** The shape that makes use of every byte. */
function shapeOf(what: string, spec: TensorSpec, signature: Signature, body: Buffer): number[] {
  const shape = oneRow(spec, signature);
  const free = shape.indexOf(-1);
  if (free !== shape.lastIndexOf(-1)) {
    throw invalid(
      `${what} has more than one dimension of any size, ${formatShape(spec.shape)}: send its shape in JSON`,
    );
  }
  if (free < 0) return shape;
  const unitBytes = shape.reduce((product, dim) => (dim < 0 ? product : product * dim), DATATYPES[spec.datatype].size);
  if (unitBytes === 0 || body.length % unitBytes !== 0) {
    const expected = `${spec.datatype} ${formatShape(spec.shape)} needs a multiple of ${unitBytes}`;
    throw invalid(`the body for ${what} has ${body.length} bytes, ${expected}`);
  }
  return shape.with(free, body.length / unitBytes);
}

/** A body is one text. */
function shapeOfText(what: string, spec: TensorSpec, signature: Signature): number[] {
  const shape = oneRow(spec, signature);
  if (shape.some((dim) => dim !== 1)) {
    const expected = 'expected one element in a request without JSON';
    throw invalid(`${what} is of BYTES ${formatShape(spec.shape)}, ${expected}: send its shape in JSON`);
  }
  return shape;
}

function oneRow({ shape, batchAxis }: TensorSpec, { batched }: Signature): number[] {
  return batched && batchAxis !== null ? shape.with(batchAxis, 1) : [...shape];
}
