import type { JsonArrayWalk } from './json-array.ts';
import { emptyScan, scanNumber } from './json-number.ts';
import { syntaxError } from './json-text.ts';
import type { TensorMemory } from './memory.ts';

const scanned = emptyScan();

/** Reads BOOL elements (`true`, `false`, 1 or 0) of a JSON array into a tensor; resumable between elements. */
export class JsonBooleanReader {
  readonly #walk: JsonArrayWalk;
  readonly #int8: Int8Array;
  readonly #base: number;

  constructor(walk: JsonArrayWalk, memory: TensorMemory) {
    this.#walk = walk;
    this.#int8 = memory.int8;
    this.#base = memory.offset;
  }

  /**
   * Reads until the array ends or the walk reaches `stop`.
   *
   * @throws {ShoalError} INVALID_REQUEST for anything else than true, false, 1 and 0.
   */
  read(stop: number): void {
    const walk = this.#walk;
    const { text } = walk;
    while (walk.toElement(stop)) {
      const { pos, index } = walk;
      const c = text.bytes[pos]!;
      let value: number;
      let end: number;
      if (c === 0x74 || c === 0x66) {
        const token = c === 0x74 ? 'true' : 'false';
        end = pos + token.length;
        if (end > text.end || !matches(text.bytes, pos, token)) throw syntaxError(text, pos, 'true or false');
        value = c === 0x74 ? 1 : 0;
      } else {
        if (c !== 0x2d && (c < 0x30 || c > 0x39)) throw walk.wrongElement('true, false, 1 or 0 (BOOL)');
        scanNumber(text, pos, scanned);
        end = scanned.end;
        value = scanned.mantissa;
        if (!scanned.plain || value > 1 || (value === 1 && scanned.negative))
          throw walk.wrongElement('true, false, 1 or 0 (BOOL)');
      }
      this.#int8[this.#base + index] = value;
      walk.pauseAfterElement(end, index + 1);
    }
  }
}

function matches(bytes: Uint8Array, pos: number, token: string): boolean {
  for (let i = 0; i < token.length; i++) if (bytes[pos + i] !== token.charCodeAt(i)) return false;
  return true;
}
