import { invalid, type ShoalError } from '../errors.ts';
import { Base64ObjectReader } from './json-base64.ts';
import { isSpace, type JsonText, MAX_JSON_DEPTH, SLICE_BYTES, syntaxError } from './json-text.ts';
import { isUrlObject, readUrlObject } from './json-url.ts';

// What comes next.
const VALUE = 0;
const FIRST = 1; // a value or `]`, as after `[`
const AFTER = 2; // `,` or `]`
const STRING = 3;
const TOKEN = 4;
const BASE64 = 5;
const DONE = 6;

/** Bytes that are read over and not kept. */
const NOWHERE = new Uint8Array(0);

/**
 * Finds where JSON values end and what shape they have: one element or arrays nested regularly. Several values in a
 * row have to have the same shape. Elements are only read over; whoever decodes them sees whether they are well-formed.
 * Resumable at any byte.
 */
export class JsonShapeReader {
  readonly #text: JsonText;
  readonly #named: { readonly what: string };
  readonly #base64: Base64ObjectReader | undefined;
  readonly #out: { readonly bytes: Uint8Array; at: number } = { bytes: NOWHERE, at: 0 };
  /** By depth, how many elements an array has; −1 before the first has ended. */
  readonly #lengths: number[] = [];
  /** By depth, how many elements the open array has so far. */
  readonly #open: number[] = [];
  /** How deep the elements stand; −1 before the first. */
  #rank = -1;
  #state = DONE;
  /** Where the value being read goes on, and behind it in the end. */
  pos = 0;
  /** The elements of all values so far. */
  count = 0;

  /**
   * @param named names the tensor in messages.
   * @param takesBase64 whether an element may be an object with the key `b64`, or `url`.
   */
  constructor(text: JsonText, named: { readonly what: string }, takesBase64: boolean) {
    this.#text = text;
    this.#named = named;
    this.#base64 = takesBase64 ? new Base64ObjectReader(named) : undefined;
  }

  /** The shape of each value: `[]` for one element. */
  get shape(): readonly number[] {
    return this.#lengths.map((length) => Math.max(0, length));
  }

  /** Begins with a value, or another of the same shape; it starts at `pos`. */
  start(pos: number): void {
    this.pos = pos;
    this.#state = VALUE;
  }

  /**
   * Reads on for about {@link SLICE_BYTES}; true when the value has ended.
   *
   * @throws {ShoalError} INVALID_REQUEST for arrays that are not regular, 100 levels of them, objects, broken JSON.
   */
  advance(): boolean {
    const { bytes, end } = this.#text;
    const limit = Math.min(end, this.pos + SLICE_BYTES);
    while (this.pos < limit) {
      if (this.#state === STRING) this.#skipString(limit);
      else if (this.#state === TOKEN) this.#skipToken(limit);
      else if (this.#state === BASE64) this.#skipBase64(limit);
      else if (isSpace(bytes[this.pos]!)) this.pos++;
      else this.#readNext(bytes[this.pos]!);
      if (this.#state === DONE) return true;
    }
    if (this.pos >= end) throw syntaxError(this.#text, end, `the rest of ${this.#named.what}`);
    return false;
  }

  #readNext(c: number): void {
    if (this.#state === AFTER) {
      if (c === 0x2c) this.#state = VALUE;
      else if (c === 0x5d) this.#close();
      else throw syntaxError(this.#text, this.pos, `',' or ']' in ${this.#named.what}`);
      this.pos++;
    } else if (c === 0x5b) {
      this.#openArray();
      this.pos++;
    } else if (c === 0x5d && this.#state === FIRST) {
      this.#close();
      this.pos++;
    } else this.#startElement(c);
  }

  #openArray(): void {
    const depth = this.#open.length;
    if (this.#rank >= 0 && depth >= this.#rank) throw this.#ragged('an array stands where an element is expected');
    if (depth === MAX_JSON_DEPTH) throw invalid(`${this.#named.what} is nested more than ${MAX_JSON_DEPTH} deep`);
    this.#count();
    if (this.#lengths.length === depth) this.#lengths.push(-1);
    this.#open.push(0);
    this.#state = FIRST;
  }

  #close(): void {
    const length = this.#open.pop()!;
    const depth = this.#open.length;
    const expected = this.#lengths[depth]!;
    if (expected < 0) this.#lengths[depth] = length;
    else if (length !== expected) throw this.#wrongLength(length, expected);
    this.#endValue();
  }

  #startElement(c: number): void {
    const depth = this.#open.length;
    if (this.#rank < 0 && this.#lengths.length === depth) this.#rank = depth;
    if (depth !== this.#rank) throw this.#ragged('an element stands where an array is expected');
    this.#count();
    this.count++;
    if (c === 0x22) {
      this.#state = STRING;
      this.pos++;
    } else if (c === 0x7b) {
      if (this.#base64 === undefined) {
        throw invalid(
          `${this.#named.what} has an object at byte ${this.pos} of the JSON text, expected an element or an array`,
        );
      }
      if (isUrlObject(this.#text, this.pos)) {
        this.pos = readUrlObject(this.#text, this.pos, this.#named.what).end;
        this.#endValue();
        return;
      }
      this.#base64.begin();
      this.#state = BASE64;
    } else if (isTokenEnd(c)) throw syntaxError(this.#text, this.pos, `a value in ${this.#named.what}`);
    else this.#state = TOKEN;
  }

  /** Counts an element or array into the array around it. */
  #count(): void {
    const depth = this.#open.length - 1;
    if (depth < 0) return;
    const count = ++this.#open[depth]!;
    const expected = this.#lengths[depth]!;
    if (expected >= 0 && count > expected) throw this.#wrongLength(`more than ${expected}`, expected);
  }

  #endValue(): void {
    this.#state = this.#open.length === 0 ? DONE : AFTER;
  }

  #skipString(limit: number): void {
    const { bytes } = this.#text;
    let pos = this.pos;
    while (pos < limit) {
      const c = bytes[pos++]!;
      if (c === 0x5c) pos++;
      else if (c === 0x22) {
        this.#endValue();
        break;
      }
    }
    this.pos = pos;
  }

  #skipToken(limit: number): void {
    const { bytes } = this.#text;
    let pos = this.pos;
    while (pos < limit && !isTokenEnd(bytes[pos]!)) pos++;
    this.pos = pos;
    if (pos < limit) this.#endValue();
  }

  #skipBase64(limit: number): void {
    this.pos = this.#base64!.advance(this.#text, this.pos, limit, this.#out);
    if (this.#base64!.done) this.#endValue();
  }

  #wrongLength(length: number | string, expected: number): ShoalError {
    return this.#ragged(`an array has the length ${length}, the ones before have ${expected}`);
  }

  #ragged(how: string): ShoalError {
    return invalid(`${this.#named.what} is ragged at byte ${this.pos} of the JSON text: ${how}`);
  }
}

/** Whether a byte cannot be part of a number or word. */
function isTokenEnd(c: number): boolean {
  return c <= 0x20 || c === 0x2c || c === 0x5d || c === 0x7d || c === 0x5b || c === 0x7b || c === 0x22 || c === 0x3a;
}
