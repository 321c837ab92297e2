import { invalid } from '../errors.ts';
import { type JsonText, MAX_JSON_DEPTH, syntaxError } from './json-text.ts';

/**
 * Finds the end of a JSON array without looking at its elements, resumable at any byte: for data that stands before
 * the datatype and shape it needs. Whoever decodes the array later sees to everything inside it.
 */
export class JsonArraySkip {
  readonly #text: JsonText;
  readonly #what: string;
  /** The opening bracket at first; behind the closing one at the end. */
  pos: number;
  #depth = 0;
  #inString = false;

  constructor(text: JsonText, pos: number, what: string) {
    this.#text = text;
    this.pos = pos;
    this.#what = what;
  }

  /**
   * Goes on up to `stop`; true when the array has ended.
   *
   * @throws {ShoalError} INVALID_REQUEST when the text ends first or arrays are nested 100 deep.
   */
  skip(stop: number): boolean {
    const { bytes, end } = this.#text;
    const limit = Math.min(stop, end);
    let pos = this.pos;
    let depth = this.#depth;
    let inString = this.#inString;
    while (pos < limit) {
      const c = bytes[pos++]!;
      if (inString) {
        if (c === 0x5c) pos++;
        else if (c === 0x22) inString = false;
      } else if (c === 0x22) inString = true;
      else if (c === 0x5b) {
        if (++depth > MAX_JSON_DEPTH) {
          throw invalid(`the data of ${this.#what} is nested more than ${MAX_JSON_DEPTH} deep`);
        }
      } else if (c === 0x5d && --depth === 0) {
        this.pos = pos;
        return true;
      }
    }
    if (pos >= end) throw syntaxError(this.#text, end, `the rest of the data of ${this.#what}`);
    this.pos = pos;
    this.#depth = depth;
    this.#inString = inString;
    return false;
  }
}
