import { EXACT_POWERS } from './decimal.ts';
import type { JsonArrayWalk } from './json-array.ts';
import { readIntegerRun } from './json-integer-run.ts';
import { emptyScan, exactInteger, scanNumber } from './json-number.ts';
import { fastView, MAX_SLOW_ELEMENTS } from './json-text.ts';
import type { TensorMemory } from './memory.ts';
import { DATATYPES } from './tensor.ts';

export type IntegerDatatype = 'INT8' | 'INT16' | 'INT32' | 'INT64' | 'UINT8' | 'UINT16' | 'UINT32' | 'UINT64';

const TWO_POW_32 = 2 ** 32;

const scanned = emptyScan();

/** Reads integer elements of a JSON array into a tensor, exact to the digit; resumable between elements. */
export class JsonIntegerReader {
  readonly #walk: JsonArrayWalk;
  readonly #datatype: IntegerDatatype;
  readonly #size: number;
  readonly #least: number;
  readonly #greatest: number;
  readonly #memory: TensorMemory;
  /** Where the tensor begins, in elements; in words of 32 bits where an element has two. */
  readonly #base: number;
  readonly #view: DataView | undefined;

  constructor(walk: JsonArrayWalk, datatype: IntegerDatatype, memory: TensorMemory) {
    this.#walk = walk;
    this.#datatype = datatype;
    this.#size = DATATYPES[datatype].size;
    this.#least = Number(RANGES[datatype][0]);
    this.#greatest = Number(RANGES[datatype][1]);
    this.#memory = memory;
    this.#base = memory.offset / Math.min(this.#size, 4);
    this.#view = fastView(walk.text, walk.pos);
  }

  /**
   * Reads until the array ends or the walk reaches `stop`.
   *
   * @throws {ShoalError} INVALID_REQUEST for anything that is no integer or is out of the datatype's range.
   */
  read(stop: number): void {
    const walk = this.#walk;
    let slow = 0;
    while (slow < MAX_SLOW_ELEMENTS && walk.toElement(stop)) {
      const before = walk.index;
      if (this.#view !== undefined) {
        readIntegerRun(walk, this.#view, this.#memory, this.#size, this.#base, this.#least, this.#greatest, stop);
      }
      if (walk.index > before) continue;
      this.#readOne();
      slow++;
    }
  }

  /** One element, of any form; `1.0` and `1e2` are integers too. */
  #readOne(): void {
    const walk = this.#walk;
    const { text, pos, index } = walk;
    const c = text.bytes[pos]!;
    if (c !== 0x2d && (c < 0x30 || c > 0x39)) throw walk.wrongElement(`an integer (${this.#datatype})`);
    scanNumber(text, pos, scanned);
    const { end, plain, mantissa, negative } = scanned;
    const magnitude = plain ? mantissa : wholeNumber(mantissa, scanned.exponent);
    if (magnitude < TWO_POW_32) {
      const value = negative ? -magnitude : magnitude;
      if (value < this.#least || value > this.#greatest) throw this.#outOfRange();
      this.#store(index, value, value < 0 ? -1 : 0);
    } else if (plain && this.#size === 8 && mantissa < 2 * TWO_POW_32 * TWO_POW_32) {
      this.#storeDigits(pos, end, negative);
    } else {
      const value = exactInteger(text.bytes, pos, end);
      if (value === undefined) throw walk.wrongElement(`an integer (${this.#datatype})`);
      const [least, greatest] = RANGES[this.#datatype];
      if (value < least || value > greatest) throw this.#outOfRange();
      this.#store(index, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
    }
    walk.pauseAfterElement(end, index + 1);
  }

  /** Up to 20 digits in two words of 32 bits: each product and sum below stays under 2^53. */
  #storeDigits(start: number, end: number, negative: boolean): void {
    const { bytes } = this.#walk.text;
    let low = 0;
    let high = 0;
    for (let pos = negative ? start + 1 : start; pos < end; pos++) {
      low = low * 10 + (bytes[pos]! - 0x30);
      const carry = Math.floor(low / TWO_POW_32);
      low -= carry * TWO_POW_32;
      high = high * 10 + carry;
    }
    const limit = this.#datatype === 'UINT64' ? (negative ? 0 : TWO_POW_32) : TWO_POW_32 / 2;
    if (high >= limit && !(negative && high === limit && low === 0)) throw this.#outOfRange();
    if (negative) {
      low = -low;
      high = low === 0 ? -high : -high - 1;
    }
    this.#store(this.#walk.index, low | 0, high | 0);
  }

  #outOfRange(): Error {
    const [least, greatest] = RANGES[this.#datatype];
    return this.#walk.wrongElement(`an integer from ${least} to ${greatest} (${this.#datatype})`);
  }

  /** Stores the low word (its low bits, where an element has fewer) and, for 64 bits, the high word. */
  #store(index: number, low: number, high: number): void {
    const { int8, int16, int32 } = this.#memory;
    if (this.#size === 8) {
      int32[this.#base + 2 * index] = low;
      int32[this.#base + 2 * index + 1] = high;
    } else if (this.#size === 4) int32[this.#base + index] = low;
    else if (this.#size === 2) int16[this.#base + index] = low;
    else int8[this.#base + index] = low;
  }
}

/** mantissa · 10^exponent where a few exact operations show that it is an integer, else NaN. */
function wholeNumber(mantissa: number, exponent: number): number {
  if (mantissa > Number.MAX_SAFE_INTEGER || exponent < -15 || exponent > 15) return Number.NaN;
  const power = EXACT_POWERS[Math.abs(exponent)]!;
  if (exponent >= 0) return mantissa * power;
  const quotient = mantissa / power;
  // The product is exact since it is below 2^53 when the quotient is an integer.
  return Number.isInteger(quotient) && quotient * power === mantissa ? quotient : Number.NaN;
}

const RANGES: Readonly<Record<IntegerDatatype, readonly [bigint, bigint]>> = {
  INT8: [-(2n ** 7n), 2n ** 7n - 1n],
  INT16: [-(2n ** 15n), 2n ** 15n - 1n],
  INT32: [-(2n ** 31n), 2n ** 31n - 1n],
  INT64: [-(2n ** 63n), 2n ** 63n - 1n],
  UINT8: [0n, 2n ** 8n - 1n],
  UINT16: [0n, 2n ** 16n - 1n],
  UINT32: [0n, 2n ** 32n - 1n],
  UINT64: [0n, 2n ** 64n - 1n],
};
