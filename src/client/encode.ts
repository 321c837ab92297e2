import { messageOf } from '../errors.ts';
import { ByteWriter } from '../tensor/byte-writer.ts';
import { estimateJsonBytes, JsonTensorEncoder } from '../tensor/json-encode.ts';
import type { InputTensor } from '../tensor/signature-types.ts';
import { type Datatype, elementCount, encodeStrings, formatShape, isDatatype, type Tensor } from '../tensor/tensor.ts';
import { ARRAYS } from '../tensor/typed.ts';
import { badArgument } from './errors.ts';
import type { ParameterValue, WireFormat } from './options.ts';

/** Header with the bytes of the JSON before binary sections. */
export const HEADER_LENGTH = 'inference-header-content-length';

/** What an inference request says besides its inputs. */
export interface RequestFacts {
  readonly id?: string | undefined;
  readonly outputs?: readonly string[] | undefined;
  readonly parameters: Readonly<Record<string, ParameterValue>>;
}

/** A request body in pieces, some of which are views of the caller's arrays. */
export interface EncodedRequest {
  readonly headers: Readonly<Record<string, string>>;
  readonly pieces: readonly Uint8Array[];
}

/**
 * Makes the body of an inference request (Open Inference Protocol, binary tensor data extension for `binary`).
 *
 * @throws {ShoalClientError} BAD_ARGUMENT for inputs that are no tensors, or that JSON cannot carry.
 */
export function encodeRequest(
  inputs: Readonly<Record<string, InputTensor>>,
  facts: RequestFacts,
  format: WireFormat,
): EncodedRequest {
  if (typeof inputs !== 'object' || inputs === null)
    throw badArgument(`inputs are ${String(inputs)}, expected an object`);
  const tensors = Object.entries(inputs).map(([name, input]) => ({ name, tensor: toTensor(name, input) }));
  return format === 'binary' ? encodeBinary(tensors, facts) : encodeJson(tensors, facts);
}

interface NamedTensor {
  readonly name: string;
  readonly tensor: Tensor;
}

function encodeBinary(tensors: readonly NamedTensor[], { id, outputs, parameters }: RequestFacts): EncodedRequest {
  const listed = outputs?.map((name) => ({ name, parameters: { binary_data: true } }));
  const all = listed === undefined ? { ...parameters, binary_data_output: true } : parameters;
  const json = Buffer.from(
    JSON.stringify({
      id,
      ...(Object.keys(all).length > 0 ? { parameters: all } : {}),
      inputs: tensors.map(({ name, tensor: { datatype, shape, bytes } }) => ({
        name,
        datatype,
        shape,
        parameters: { binary_data_size: bytes.byteLength },
      })),
      outputs: listed,
    }),
  );
  return {
    headers: { 'content-type': 'application/octet-stream', [HEADER_LENGTH]: String(json.length) },
    pieces: [json, ...tensors.map(({ tensor }) => tensor.bytes).filter((bytes) => bytes.byteLength > 0)],
  };
}

function encodeJson(tensors: readonly NamedTensor[], { id, outputs, parameters }: RequestFacts): EncodedRequest {
  const writer = new ByteWriter(256 + tensors.reduce((sum, { tensor }) => sum + 128 + estimateJsonBytes(tensor), 0));
  writer.ascii('{');
  if (id !== undefined) writer.text(`"id":${JSON.stringify(id)},`);
  if (Object.keys(parameters).length > 0) writer.text(`"parameters":${JSON.stringify(parameters)},`);
  writer.ascii('"inputs":[');
  for (const [i, { name, tensor }] of tensors.entries()) {
    const { datatype, shape } = tensor;
    if (i > 0) writer.ascii(',');
    writer.text(`{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":${formatShape(shape)},"data":[`);
    writeElements(writer, name, tensor);
    writer.ascii(']}');
  }
  writer.ascii(']');
  if (outputs !== undefined) writer.text(`,"outputs":${JSON.stringify(outputs.map((name) => ({ name })))}`);
  writer.ascii('}');
  return { headers: { 'content-type': 'application/json' }, pieces: [writer.finish()] };
}

function writeElements(writer: ByteWriter, name: string, tensor: Tensor): void {
  if (tensor.datatype === 'FP16')
    throw badArgument(`input '${name}' is FP16, which JSON does not carry; send it in binary`);
  refuseInfinities(name, tensor);
  const encoder = new JsonTensorEncoder(tensor, name);
  try {
    while (!encoder.advance(writer));
  } catch (thrown) {
    throw badArgument(`input '${name}' cannot be sent as JSON: ${messageOf(thrown)}`, thrown);
  }
}

/** JSON has no infinity, and the `null` that stands for NaN would change the value in silence. */
function refuseInfinities(name: string, { datatype, bytes }: Tensor): void {
  if (datatype !== 'FP32' && datatype !== 'FP64') return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = datatype === 'FP32' ? 4 : 8;
  for (let at = 0; at < bytes.byteLength; at += size) {
    const value = size === 4 ? view.getFloat32(at, true) : view.getFloat64(at, true);
    if (value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY) {
      throw badArgument(
        `element ${at / size} of input '${name}' is ${value}, which JSON does not carry; send it in binary`,
      );
    }
  }
}

/** Checks an input of which only the compiler knew that it is one. */
function toTensor(name: string, input: InputTensor): Tensor {
  const what = `input '${name}'`;
  if (typeof input !== 'object' || input === null)
    throw badArgument(`${what} is ${String(input)}, expected { data, shape }`);
  const { data, shape } = input;
  if (!Array.isArray(shape) || !shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) {
    throw badArgument(`the shape of ${what} is ${JSON.stringify(shape)}, expected whole numbers from 0`);
  }
  const datatype = datatypeOf(what, data, input.datatype);
  const count = elementCount(shape);
  if (data.length !== count) {
    throw badArgument(`${what} of shape ${formatShape(shape)} has ${count} elements, its data has ${data.length}`);
  }
  return { datatype, shape, bytes: bytesOf(what, datatype, data) };
}

function datatypeOf(what: string, data: InputTensor['data'], given: string | undefined): Datatype {
  if (given !== undefined) {
    if (isDatatype(given)) return given;
    throw badArgument(`${what} has the datatype '${given}', which there is not`);
  }
  if (Array.isArray(data)) {
    if (data.length === 0) throw badArgument(`${what} is an empty array, which does not say its datatype; give one`);
    return typeof data[0] === 'boolean' ? 'BOOL' : 'BYTES';
  }
  const datatype = ArrayBuffer.isView(data) ? DATATYPE_OF[tagOf(data)] : undefined;
  if (datatype === undefined)
    throw badArgument(`the data of ${what} is ${describe(data)}, expected a typed array, strings or booleans`);
  return datatype;
}

/** The datatype that an array stands for unless another one is named. */
const DATATYPE_OF: Readonly<Record<string, Datatype>> = {
  Uint8Array: 'UINT8',
  Uint16Array: 'UINT16',
  Uint32Array: 'UINT32',
  BigUint64Array: 'UINT64',
  Int8Array: 'INT8',
  Int16Array: 'INT16',
  Int32Array: 'INT32',
  BigInt64Array: 'INT64',
  Float16Array: 'FP16',
  Float32Array: 'FP32',
  Float64Array: 'FP64',
};

function bytesOf(what: string, datatype: Datatype, data: InputTensor['data']): Uint8Array {
  if (datatype === 'BYTES') {
    if (isListOf(data, isStringOrBytes)) return encodeStrings(data);
    throw badArgument(`${what} is BYTES, expected an array of strings or Uint8Arrays, not ${describe(data)}`);
  }
  if (datatype === 'BOOL' && isListOf(data, isBoolean)) return Uint8Array.from(data, Number);
  if (ArrayBuffer.isView(data)) {
    const tag = tagOf(data);
    const fits = tag === ARRAYS[datatype].name || (datatype === 'FP16' && tag === 'Float16Array');
    if (fits) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
  const also = datatype === 'FP16' ? ' (the bits) or a Float16Array' : datatype === 'BOOL' ? ' or booleans' : '';
  throw badArgument(`${what} is ${datatype}, expected a ${ARRAYS[datatype].name}${also}, not ${describe(data)}`);
}

function isListOf<T>(data: unknown, is: (value: unknown) => value is T): data is readonly T[] {
  return Array.isArray(data) && data.every(is);
}

function isBoolean(value: unknown): value is boolean {
  return typeof value === 'boolean';
}

function isStringOrBytes(value: unknown): value is string | Uint8Array {
  return typeof value === 'string' || value instanceof Uint8Array;
}

/** The class of a typed array; a Buffer's is Uint8Array. */
function tagOf(data: ArrayBufferView): string {
  return Object.prototype.toString.call(data).slice(8, -1);
}

function describe(data: unknown): string {
  if (Array.isArray(data)) return `an array of ${data.length === 0 ? 'nothing' : typeof data[0]}`;
  return typeof data === 'object' && data !== null
    ? `a ${Object.prototype.toString.call(data).slice(8, -1)}`
    : String(data);
}
