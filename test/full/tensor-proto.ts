import { PbfReader } from 'pbf';
import { DATATYPES, type Datatype, elementCount, encodeStrings, type Tensor } from '../../src/tensor/tensor.ts';

/**
 * Reads the tensors of ONNX test data: one serialized `TensorProto` (`onnx/onnx.proto`, github.com/onnx/onnx) a file,
 * whose elements lie either as raw bytes or in a field that depends on the element type.
 */

/** `TensorProto.DataType` by its number; those without a name of ours cannot be carried. */
const ELEMENT_TYPES: ReadonlyMap<number, Datatype> = new Map([
  [1, 'FP32'],
  [2, 'UINT8'],
  [3, 'INT8'],
  [4, 'UINT16'],
  [5, 'INT16'],
  [6, 'INT32'],
  [7, 'INT64'],
  [8, 'BYTES'],
  [9, 'BOOL'],
  [10, 'FP16'],
  [11, 'FP64'],
  [12, 'UINT32'],
  [13, 'UINT64'],
]);

interface Fields {
  shape: number[];
  element: number;
  raw: Uint8Array | undefined;
  strings: Uint8Array[];
  floats: number[];
  doubles: number[];
  /** From `int32_data`, which also has the narrower types and the bits of FP16, `int64_data` and `uint64_data`. */
  integers: bigint[];
}

/**
 * The tensor of a file's bytes. The result owns its memory.
 *
 * @throws {Error} when the element type cannot be carried, or the elements do not fit the shape.
 */
export function readTensorProto(bytes: Uint8Array): Tensor {
  const pbf = new PbfReader(bytes);
  const fields: Fields = {
    shape: [],
    element: 0,
    raw: undefined,
    strings: [],
    floats: [],
    doubles: [],
    integers: [],
  };
  for (let field = pbf.nextField(); field !== 0; field = pbf.nextField()) readField(field, fields, pbf);
  const datatype = ELEMENT_TYPES.get(fields.element);
  if (datatype === undefined) throw new Error(`element type ${fields.element} has no datatype of the protocol`);
  const tensor = { datatype, shape: fields.shape, bytes: elementsOf(datatype, fields) };
  const expected = elementCount(tensor.shape) * DATATYPES[datatype].size;
  if (datatype !== 'BYTES' && tensor.bytes.length !== expected) {
    throw new Error(`${tensor.bytes.length} bytes of elements instead of ${expected}`);
  }
  return tensor;
}

function readField(field: number, fields: Fields, pbf: PbfReader): void {
  // Fields that are not asked for are skipped by nextField.
  if (field === 1) pbf.readPackedVarint(fields.shape, true);
  else if (field === 2) fields.element = pbf.readVarint();
  else if (field === 4) pbf.readPackedFloat(fields.floats);
  else if (field === 5 || field === 7 || field === 11) readIntegers(pbf, fields.integers);
  else if (field === 6) fields.strings.push(pbf.readBytes());
  else if (field === 9) fields.raw = pbf.readBytes();
  else if (field === 10) pbf.readPackedDouble(fields.doubles);
}

/** Varints as 64-bit patterns: pbf itself rounds those above 2^53. */
function readIntegers(pbf: PbfReader, into: bigint[]): void {
  const isPacked = pbf.type === 2;
  const end = isPacked ? pbf.readVarint() + pbf.pos : pbf.pos + 1;
  do {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = pbf.buf[pbf.pos++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    into.push(BigInt.asUintN(64, value));
  } while (isPacked && pbf.pos < end);
}

function elementsOf(datatype: Datatype, fields: Fields): Uint8Array {
  if (datatype === 'BYTES') return encodeStrings(fields.strings);
  if (fields.raw !== undefined) return Uint8Array.from(fields.raw);
  if (datatype === 'FP32') return bytesOf(Float32Array.from(fields.floats));
  if (datatype === 'FP64') return bytesOf(Float64Array.from(fields.doubles));
  const { size } = DATATYPES[datatype];
  const out = new Uint8Array(fields.integers.length * size);
  const view = new DataView(out.buffer);
  for (const [i, value] of fields.integers.entries()) {
    // The lowest bytes of the pattern are the element, whatever its sign.
    for (let j = 0; j < size; j++) view.setUint8(i * size + j, Number((value >> BigInt(8 * j)) & 0xffn));
  }
  return out;
}

function bytesOf(array: Float32Array | Float64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
