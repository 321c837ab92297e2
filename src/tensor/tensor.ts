import { invalid } from '../errors.ts';

/**
 * What is known of each datatype: its name in ONNX Runtime for Node and the bytes of one element
 * (0 for BYTES, whose elements have their own length).
 *
 * Names are those of the Open Inference Protocol. BF16 has a name there too, but ONNX Runtime for Node cannot carry it.
 */
export const DATATYPES = {
  BOOL: { onnx: 'bool', size: 1 },
  UINT8: { onnx: 'uint8', size: 1 },
  UINT16: { onnx: 'uint16', size: 2 },
  UINT32: { onnx: 'uint32', size: 4 },
  UINT64: { onnx: 'uint64', size: 8 },
  INT8: { onnx: 'int8', size: 1 },
  INT16: { onnx: 'int16', size: 2 },
  INT32: { onnx: 'int32', size: 4 },
  INT64: { onnx: 'int64', size: 8 },
  FP16: { onnx: 'float16', size: 2 },
  FP32: { onnx: 'float32', size: 4 },
  FP64: { onnx: 'float64', size: 8 },
  BYTES: { onnx: 'string', size: 0 },
} as const;

export type Datatype = keyof typeof DATATYPES;

/** All datatypes in a fixed order; the index is the code in frames. */
export const DATATYPE_NAMES: readonly Datatype[] = Object.keys(DATATYPES) as Datatype[];

/**
 * A tensor as it travels between HTTP and the executor: row-major, little-endian, without padding.
 *
 * `bytes` of a BYTES tensor is the wire form of the Open Inference Protocol: for each element its length as
 * uint32 and then its UTF-8 bytes; so two such tensors are joined by joining their bytes.
 * `bytes` may be a view of a larger buffer at any offset; whoever holds the tensor must not change it.
 */
export interface Tensor {
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** Whether `name` is a datatype that can be carried. */
export function isDatatype(name: string): name is Datatype {
  return Object.hasOwn(DATATYPES, name);
}

/** The number of elements of a shape: 1 for `[]`. */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const dim of shape) count *= dim;
  return count;
}

/** A shape as people read it: `[2,3]`. */
export function formatShape(shape: readonly number[]): string {
  return `[${shape.join(',')}]`;
}

/** `bytes` as a Buffer over the same memory. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * The offset behind `count` elements of the wire form of a BYTES tensor that starts at `offset`.
 *
 * @throws {ShoalError} INVALID_REQUEST when the bytes end before the elements do; `what` names the tensor.
 */
export function skipBytesElements(bytes: Uint8Array, offset: number, count: number, what: string): number {
  const buffer = asBuffer(bytes);
  for (let i = 0; i < count; i++) {
    if (offset + 4 > buffer.length) throw invalid(`${what} ends within the length of element ${i} of ${count}`);
    offset += 4 + buffer.readUInt32LE(offset);
    if (offset > buffer.length) throw invalid(`${what} ends within element ${i} of ${count}`);
  }
  return offset;
}

/** The wire form of a list of strings (or of raw bytes). The result owns its memory. */
export function encodeStrings(strings: readonly (string | Uint8Array)[]): Buffer {
  let size = 0;
  for (const s of strings) size += 4 + (typeof s === 'string' ? Buffer.byteLength(s) : s.length);
  const out = Buffer.allocUnsafeSlow(size);
  let at = 0;
  for (const s of strings) {
    let length: number;
    if (typeof s === 'string') length = out.write(s, at + 4);
    else {
      length = s.length;
      out.set(s, at + 4);
    }
    out.writeUInt32LE(length, at);
    at += 4 + length;
  }
  return out;
}

/** The strings of a BYTES tensor's wire form, which must hold exactly `count` of them. Invalid UTF-8 becomes U+FFFD. */
export function decodeStrings(bytes: Uint8Array, count: number): string[] {
  const buffer = asBuffer(bytes);
  const out = new Array<string>(count);
  let at = 0;
  for (let i = 0; i < count; i++) {
    const end = at + 4 + buffer.readUInt32LE(at);
    out[i] = buffer.toString('utf8', at + 4, end);
    at = end;
  }
  return out;
}
