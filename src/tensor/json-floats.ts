import { EXACT_POWERS, parseLongNumber } from './decimal.ts';
import type { JsonArrayWalk } from './json-array.ts';
import { readFloat32Run } from './json-float32-run.ts';
import { readFloat64Run } from './json-float64-run.ts';
import { emptyScan, scanNumber } from './json-number.ts';
import { fastView, MAX_SLOW_ELEMENTS, syntaxError } from './json-text.ts';
import type { TensorMemory } from './memory.ts';

const EXACT_MANTISSA = 2 ** 53;

const scanned = emptyScan();

/** Reads FP32 or FP64 elements of a JSON array into a tensor; resumable between elements. */
export class JsonFloatReader {
  readonly #walk: JsonArrayWalk;
  readonly #double: boolean;
  readonly #float32: Float32Array;
  readonly #float64: Float64Array;
  /** Where the tensor begins, in elements. */
  readonly #base: number;
  readonly #view: DataView | undefined;

  constructor(walk: JsonArrayWalk, datatype: 'FP32' | 'FP64', memory: TensorMemory) {
    this.#walk = walk;
    this.#double = datatype === 'FP64';
    this.#float32 = memory.float32;
    this.#float64 = memory.float64;
    this.#base = memory.offset / (this.#double ? 8 : 4);
    this.#view = fastView(walk.text, walk.pos);
  }

  /**
   * Reads until the array ends or the walk reaches `stop`.
   *
   * @throws {ShoalError} INVALID_REQUEST for anything that is no number, `null`, `NaN` or `±Infinity`, or that overflows.
   */
  read(stop: number): void {
    const walk = this.#walk;
    let slow = 0;
    while (slow < MAX_SLOW_ELEMENTS && walk.toElement(stop)) {
      const before = walk.index;
      if (this.#view !== undefined) {
        if (this.#double) readFloat64Run(walk, this.#view, this.#float64, this.#base, stop);
        else readFloat32Run(walk, this.#view, this.#float32, this.#base, stop);
      }
      if (walk.index > before) continue;
      this.#readOne();
      slow++;
    }
  }

  #store(index: number, value: number): void {
    if (this.#double) this.#float64[this.#base + index] = value;
    else this.#float32[this.#base + index] = value;
  }

  /** One element, of any form. */
  #readOne(): void {
    const walk = this.#walk;
    const { text, pos, index } = walk;
    const { bytes } = text;
    const c = bytes[pos]!;
    if (c === 0x6e || c === 0x4e || c === 0x49 || (c === 0x2d && bytes[pos + 1] === 0x49)) {
      this.#readToken();
      return;
    }
    if (c !== 0x2d && (c < 0x30 || c > 0x39)) throw walk.wrongElement('a number');
    scanNumber(text, pos, scanned);
    const { end, mantissa, exponent } = scanned;
    let value: number;
    if (mantissa < EXACT_MANTISSA && exponent >= -22 && exponent <= 22) {
      value = exponent < 0 ? mantissa / EXACT_POWERS[-exponent]! : mantissa * EXACT_POWERS[exponent]!;
      if (scanned.negative) value = -value;
    } else value = parseLongNumber(bytes, pos, end);
    // Compared with what would be stored, so that overflow to infinity shows.
    if (!Number.isFinite(this.#double ? value : Math.fround(value))) {
      throw walk.wrongElement(`a number within the range of ${this.#double ? 'FP64' : 'FP32'}`);
    }
    this.#store(index, value);
    walk.pauseAfterElement(end, index + 1);
  }

  /** `null` (not a number, as MLServer and KServe write it) and the tokens that Python's and RapidJSON's writers emit. */
  #readToken(): void {
    const walk = this.#walk;
    const { text, pos, index } = walk;
    for (const [token, value] of TOKENS) {
      if (text.bytes.toString('latin1', pos, pos + token.length) !== token) continue;
      if (pos + token.length > text.end) break;
      this.#store(index, value);
      walk.pauseAfterElement(pos + token.length, index + 1);
      return;
    }
    throw syntaxError(text, pos, 'a number, null, NaN, Infinity or -Infinity');
  }
}

const TOKENS: readonly (readonly [string, number])[] = [
  ['null', Number.NaN],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
];
