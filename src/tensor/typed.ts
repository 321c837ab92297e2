import { invalid } from '../errors.ts';
import type { DataOf } from './signature-types.ts';
import {
  asBuffer,
  DATATYPES,
  type Datatype,
  decodeStrings,
  elementCount,
  encodeStrings,
  formatShape,
  isDatatype,
  type Tensor,
} from './tensor.ts';

/** The array that holds a tensor's elements in a program; FP16 as its bits. */
export type TensorData =
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Float32Array
  | Float64Array
  | readonly string[];

/** A tensor of which datatype and shape are known to the compiler. */
export interface TypedTensor<D extends Datatype = Datatype, S extends readonly number[] = readonly number[]>
  extends Tensor {
  readonly datatype: D;
  readonly shape: S;
}

type NumberArray = new (
  buffer: ArrayBuffer,
  byteOffset: number,
  length: number,
) => Exclude<TensorData, readonly string[]>;

/**
 * The array over the elements of each datatype but BYTES. FP16 is its bits: ONNX Runtime refuses the Float16Array that
 * newer Nodes have.
 */
export const ARRAYS: Readonly<Record<Exclude<Datatype, 'BYTES'>, NumberArray>> = {
  BOOL: Uint8Array,
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  UINT64: BigUint64Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  FP16: Uint16Array,
  FP32: Float32Array,
  FP64: Float64Array,
};

/**
 * A tensor over an array, or of strings. The array's memory is used in place.
 *
 * @throws {ShoalError} INVALID_REQUEST when array and datatype, or length and shape, do not belong together.
 */
export function makeTensor<const D extends Datatype, const S extends readonly number[]>(
  datatype: D,
  shape: S,
  data: DataOf[D],
): TypedTensor<D, S> {
  return { datatype, shape, bytes: bytesOf(datatype, shape, data) };
}

function bytesOf(datatype: Datatype, shape: readonly number[], data: TensorData): Uint8Array {
  if (!isDatatype(datatype)) throw invalid(`there is no datatype '${String(datatype)}'`);
  const count = elementCount(shape);
  if (data.length !== count) {
    throw invalid(`a tensor of shape ${formatShape(shape)} has ${count} elements, the data has ${data.length}`);
  }
  if (datatype === 'BYTES') {
    if (ArrayBuffer.isView(data)) throw invalid('a BYTES tensor is made from an array of strings');
    return encodeStrings(data);
  }
  if (!(data instanceof ARRAYS[datatype]))
    throw invalid(`a tensor of ${datatype} is made from a ${ARRAYS[datatype].name}`);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** The elements of a tensor: a view where its bytes are aligned, otherwise a copy; strings are always new. */
export function readTensor<D extends Datatype>(tensor: Tensor & { readonly datatype: D }): DataOf[D] {
  // The datatype says which array it is, which the compiler does not follow.
  return elementsOf(tensor) as DataOf[D];
}

function elementsOf({ datatype, shape, bytes }: Tensor): TensorData {
  const count = elementCount(shape);
  if (datatype === 'BYTES') return decodeStrings(asBuffer(bytes), count);
  const aligned = bytes.byteOffset % DATATYPES[datatype].size === 0 ? bytes : Uint8Array.from(bytes);
  return new ARRAYS[datatype](aligned.buffer as ArrayBuffer, aligned.byteOffset, count);
}
