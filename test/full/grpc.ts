import {
  DATATYPES,
  type Datatype,
  decodeStrings,
  elementCount,
  isDatatype,
  type Tensor,
} from '../../src/tensor/tensor.ts';
import { ARRAYS, makeTensor, readTensor } from '../../src/tensor/typed.ts';
import type { GrpcReply, GrpcTensor, Message } from '../support/grpc.ts';
import type { Run } from './encodings.ts';

/** Runs as messages of the gRPC service, with tensors as raw bytes or as the typed fields of `InferTensorContents`. */

/** The field of `InferTensorContents` that has the elements of each datatype; FP16 has none. */
const CONTENTS: Readonly<Record<Exclude<Datatype, 'FP16'>, string>> = {
  BOOL: 'bool_contents',
  UINT8: 'uint_contents',
  UINT16: 'uint_contents',
  UINT32: 'uint_contents',
  UINT64: 'uint64_contents',
  INT8: 'int_contents',
  INT16: 'int_contents',
  INT32: 'int_contents',
  INT64: 'int64_contents',
  FP32: 'fp32_contents',
  FP64: 'fp64_contents',
  BYTES: 'bytes_contents',
};

/** A `ModelInferRequest`. */
export function inferRequest({ model, inputNames, inputs }: Run, form: 'raw' | 'typed'): Message {
  const described = inputs.map((tensor, i) => {
    const { datatype, shape } = tensor;
    const one = { name: inputNames[i], datatype, shape };
    return form === 'raw' ? one : { ...one, contents: { [contentsField(datatype)]: elements(tensor) } };
  });
  const raw = form === 'raw' ? inputs.map(({ bytes }) => bytes) : [];
  return { model_name: model, inputs: described, raw_input_contents: raw };
}

/** The outputs of a `ModelInferResponse`. */
export function outputsOf(reply: GrpcReply): Tensor[] {
  const { outputs, raw_output_contents: raw } = reply;
  return outputs.map((output, i) => {
    const { datatype } = output;
    if (!isDatatype(datatype)) throw new Error(`a reply has the datatype ${datatype}`);
    const shape = output.shape.map(Number);
    return raw.length === 0 ? typedTensor(datatype, shape, output) : { datatype, shape, bytes: raw[i]! };
  });
}

function contentsField(datatype: Datatype): string {
  if (datatype === 'FP16') throw new Error('FP16 has no typed contents');
  return CONTENTS[datatype];
}

function elements(tensor: Tensor): unknown[] {
  const { datatype, shape, bytes } = tensor;
  if (datatype === 'BYTES') return decodeStrings(bytes, elementCount(shape)).map((text) => Buffer.from(text));
  return Array.from<string | number | bigint, unknown>(readTensor(tensor), (value) => {
    if (datatype === 'BOOL') return value !== 0;
    return typeof value === 'bigint' ? String(value) : value;
  });
}

function typedTensor(datatype: Datatype, shape: readonly number[], { contents }: GrpcTensor): Tensor {
  const field = contentsField(datatype);
  const values = contents?.[field] ?? [];
  if (values.length !== elementCount(shape)) throw new Error(`${values.length} elements in ${field} for [${shape}]`);
  if (datatype === 'BYTES') return makeTensor(datatype, shape, values.map(String));
  if (datatype === 'FP16') throw new Error('FP16 has no typed contents');
  const bytes = new Uint8Array(values.length * DATATYPES[datatype].size);
  const array = new ARRAYS[datatype](bytes.buffer, 0, values.length);
  for (const [i, value] of values.entries()) {
    if (array instanceof BigInt64Array || array instanceof BigUint64Array) array[i] = BigInt(String(value));
    else array[i] = Number(value);
  }
  return { datatype, shape, bytes };
}
