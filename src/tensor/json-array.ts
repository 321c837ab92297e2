import { invalid, type ShoalError } from '../errors.ts';
import { excerptAt, isSpace, type JsonText, MAX_JSON_DEPTH, syntaxError } from './json-text.ts';
import { formatShape } from './tensor.ts';

/** What a walk may meet next. */
const AFTER_ELEMENT = 0; // `,` or `]`
const ELEMENT = 1; // an element or `[`, as after a comma
const FIRST = 2; // an element, `[` or `]`, as after `[`

/** The tensor that is being decoded, as error messages describe it. */
export interface DataTarget {
  /** For instance `input 'x'`. */
  readonly what: string;
  readonly shape: readonly number[];
  /** The product of the shape. */
  readonly count: number;
}

/**
 * A walk over the elements of a JSON array, flat or nested in any way, that can pause at any byte.
 *
 * The walk handles brackets, commas and white space; whoever reads the elements sets `pos` behind each
 * and raises `index`. `pos` stands on the opening bracket at first and behind the closing one at the end.
 */
export class JsonArrayWalk {
  readonly text: JsonText;
  readonly target: DataTarget;
  pos: number;
  /** The elements read so far. */
  index = 0;
  /** Whether the outermost bracket is closed. */
  done = false;
  #depth = 0;
  #next = ELEMENT;

  constructor(text: JsonText, pos: number, target: DataTarget) {
    this.text = text;
    this.pos = pos;
    this.target = target;
  }

  /**
   * Moves to the first byte of the next element. False when there is none, or when `stop` is reached first.
   *
   * @throws {ShoalError} INVALID_REQUEST for broken JSON, nesting of 100 levels, or another number of elements than the shape has.
   */
  toElement(stop: number): boolean {
    const { bytes, end } = this.text;
    const limit = Math.min(stop, end);
    let pos = this.pos;
    while (pos < limit) {
      const c = bytes[pos]!;
      if (isSpace(c)) pos++;
      else if (this.#next === AFTER_ELEMENT) {
        if (c === 0x2c /* , */) this.#next = ELEMENT;
        else if (c !== 0x5d /* ] */) throw syntaxError(this.text, pos, `',' or ']' in the data of ${this.target.what}`);
        else if (this.#close(pos)) return false;
        pos++;
      } else if (c === 0x5b /* [ */) {
        if (++this.#depth > MAX_JSON_DEPTH) {
          throw invalid(`the data of ${this.target.what} is nested more than ${MAX_JSON_DEPTH} deep`);
        }
        this.#next = FIRST;
        pos++;
      } else if (c === 0x5d && this.#next === FIRST) {
        if (this.#close(pos)) return false;
        pos++;
      } else {
        this.pos = pos;
        if (this.index === this.target.count) throw this.#wrongCount(`more than ${this.index}`);
        this.#next = AFTER_ELEMENT;
        return true;
      }
    }
    this.pos = pos;
    if (pos === end) throw syntaxError(this.text, pos, `the rest of the data of ${this.target.what}`);
    return false;
  }

  /**
   * Goes on with a piece of the data that stands elsewhere, at `pos`: an element or an array. Whoever walks in pieces
   * knows where each ends, and that they have as many elements as the tensor; the walk then never says {@link done}.
   */
  startPiece(pos: number): void {
    this.pos = pos;
    this.#depth = 1;
    this.#next = ELEMENT;
  }

  /** Leaves the walk at `pos`, behind the comma that follows element `index` − 1. */
  pauseAfterComma(pos: number, index: number): void {
    this.pos = pos;
    this.index = index;
    this.#next = ELEMENT;
  }

  /** Leaves the walk at `pos`, directly behind element `index` − 1. */
  pauseAfterElement(pos: number, index: number): void {
    this.pos = pos;
    this.index = index;
    this.#next = AFTER_ELEMENT;
  }

  /** The error for the element at `pos`, which is not what its datatype wants. */
  wrongElement(expected: string): ShoalError {
    return invalid(
      `element ${this.index} of ${this.target.what} is ${excerptAt(this.text, this.pos)}, expected ${expected}`,
    );
  }

  #close(pos: number): boolean {
    this.#next = AFTER_ELEMENT;
    if (--this.#depth > 0) return false;
    this.pos = pos + 1;
    this.done = true;
    if (this.index !== this.target.count) throw this.#wrongCount(`${this.index}`);
    return true;
  }

  #wrongCount(got: string): ShoalError {
    const { what, shape, count } = this.target;
    return invalid(
      `the data of ${what} has ${got} ${got === '1' ? 'element' : 'elements'}, its shape ${formatShape(shape)} needs ${count}`,
    );
  }
}
