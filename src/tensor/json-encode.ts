import { invalid, ShoalError } from '../errors.ts';
import type { ByteWriter } from './byte-writer.ts';
import { PIECE_ELEMENTS, piece, putInteger } from './json-digits.ts';
import { putFloat32s } from './json-float32-text.ts';
import { putStrings, type StringProgress } from './json-string-text.ts';
import { quoteName } from './json-text.ts';
import { DATATYPES, type Datatype, elementCount, type Tensor } from './tensor.ts';

const TWO_POW_32 = 2 ** 32;

// Elements are copied here before they are written: tensors begin at any offset, typed arrays do not.
const aligned = new ArrayBuffer(8 * PIECE_ELEMENTS);
const alignedBytes = new Uint8Array(aligned);
const float32s = new Float32Array(aligned);
const float64s = new Float64Array(aligned);
const int32s = new Int32Array(aligned);
const uint32s = new Uint32Array(aligned);
/** Integers of up to 32 bits, as one type whatever they were. */
const numbers = new Float64Array(PIECE_ELEMENTS);
const SMALL_INTEGERS = {
  UINT8: alignedBytes,
  UINT16: new Uint16Array(aligned),
  UINT32: uint32s,
  INT8: new Int8Array(aligned),
  INT16: new Int16Array(aligned),
  INT32: int32s,
} as const;

/** What an element and its comma take in JSON, roughly; for allocation only. */
const TYPICAL_BYTES: Readonly<Record<Datatype, number>> = {
  BOOL: 6,
  UINT8: 4,
  UINT16: 6,
  UINT32: 8,
  UINT64: 8,
  INT8: 4,
  INT16: 6,
  INT32: 8,
  INT64: 8,
  FP16: 0,
  FP32: 14,
  FP64: 21,
  BYTES: 0,
};

/** About how many bytes {@link JsonTensorEncoder} will write for the tensor. */
export function estimateJsonBytes(tensor: Tensor): number {
  const size = DATATYPES[tensor.datatype].size;
  if (size === 0) return tensor.bytes.length + 64;
  return (tensor.bytes.length / size) * TYPICAL_BYTES[tensor.datatype];
}

/**
 * Writes a tensor's elements as the content of a flat JSON array, without the brackets, in slices.
 *
 * FP32: a shortest decimal that reads back as the same float; FP64: as JavaScript writes it; integers: all digits;
 * NaN and infinities: `null`; BYTES: strings.
 */
export class JsonTensorEncoder {
  readonly #tensor: Tensor;
  readonly #name: string;
  readonly #count: number;
  #index = 0;
  readonly #strings: StringProgress | undefined;

  /**
   * @param name the output's, for error messages.
   * @throws {ShoalError} INVALID_REQUEST for FP16, which JSON does not carry here.
   */
  constructor(tensor: Tensor, name: string) {
    const { datatype, shape, bytes } = tensor;
    if (datatype === 'FP16') {
      throw invalid(
        `output ${quoteName(name)} is FP16, which is sent in binary only: ask for it with binary_data or binary_data_output`,
      );
    }
    this.#tensor = tensor;
    this.#name = name;
    this.#count = elementCount(shape);
    if (datatype === 'BYTES') this.#strings = { pos: 0, index: 0, left: -1 };
    else if (bytes.length !== this.#count * DATATYPES[datatype].size) {
      throw new ShoalError(
        'INTERNAL',
        `output ${quoteName(name)} has ${bytes.length} bytes, which its shape does not explain`,
      );
    }
  }

  /**
   * Writes some thousand elements at most; true when all are written.
   *
   * @throws {ShoalError} INVALID_REQUEST for a string that is not UTF-8 and so needs the binary form.
   */
  advance(writer: ByteWriter): boolean {
    if (this.#count === 0) return true;
    if (this.#strings !== undefined) {
      const end = putStrings(this.#tensor.bytes, this.#count, this.#strings, this.#name);
      writer.append(piece, 0, end);
      return this.#strings.index === this.#count;
    }
    const { datatype, bytes } = this.#tensor;
    const size = DATATYPES[datatype].size;
    const count = Math.min(PIECE_ELEMENTS, this.#count - this.#index);
    const start = this.#index * size;
    alignedBytes.set(start === 0 && count === this.#count ? bytes : bytes.subarray(start, start + count * size));
    this.#index += count;
    writeElements(writer, datatype, count);
    if (this.#index < this.#count) return false;
    // The comma behind the last element.
    writer.dropLast();
    return true;
  }
}

/** Writes the first `count` of the aligned elements, each with a comma behind it. */
function writeElements(writer: ByteWriter, datatype: Datatype, count: number): void {
  switch (datatype) {
    case 'FP32':
      writer.append(piece, 0, putFloat32s(float32s, int32s, count));
      return;
    case 'FP64':
      writer.ascii(formatFloat64s(count));
      return;
    case 'BOOL':
      writer.append(piece, 0, putBooleans(count));
      return;
    case 'INT64':
    case 'UINT64':
      writer.append(piece, 0, putWideIntegers(datatype, count));
      return;
    case 'FP16':
    case 'BYTES':
      throw new ShoalError('INTERNAL', `${datatype} has no plain elements`);
    default:
      writer.append(piece, 0, putSmallIntegers(datatype, count));
  }
}

function formatFloat64s(count: number): string {
  let plain = true;
  // Not-a-number, infinities and −0 have texts of their own in JSON.
  for (let i = 0; i < count; i++) if (float64s[i]! - float64s[i]! !== 0 || Object.is(float64s[i], -0)) plain = false;
  const elements = float64s.subarray(0, count);
  return plain ? `${elements.join(',')},` : `${Array.from(elements, formatFloat64).join(',')},`;
}

function formatFloat64(value: number): string {
  if (!Number.isFinite(value)) return 'null';
  return Object.is(value, -0) ? '-0.0' : String(value);
}

function putBooleans(count: number): number {
  const out = piece;
  let at = 0;
  for (let i = 0; i < count; i++) {
    const text = alignedBytes[i] === 0 ? 'false,' : 'true,';
    for (let j = 0; j < text.length; j++) out[at++] = text.charCodeAt(j);
  }
  return at;
}

function putSmallIntegers(datatype: keyof typeof SMALL_INTEGERS, count: number): number {
  numbers.set(SMALL_INTEGERS[datatype].subarray(0, count));
  const out = piece;
  let at = 0;
  for (let i = 0; i < count; i++) {
    const value = numbers[i]!;
    if (value < 0) out[at++] = 0x2d;
    at = putInteger(at, Math.abs(value));
    out[at++] = 0x2c;
  }
  return at;
}

function putWideIntegers(datatype: 'INT64' | 'UINT64', count: number): number {
  const out = piece;
  const signed = datatype === 'INT64';
  let at = 0;
  for (let i = 0; i < count; i++) {
    const low = uint32s[2 * i]!;
    const high = signed ? int32s[2 * i + 1]! : uint32s[2 * i + 1]!;
    const value = high * TWO_POW_32 + low;
    if (Number.isSafeInteger(value)) {
      if (value < 0) out[at++] = 0x2d;
      at = putInteger(at, Math.abs(value));
    } else at += out.write(String((BigInt(high) << 32n) + BigInt(low)), at, 'latin1');
    out[at++] = 0x2c;
  }
  return at;
}
