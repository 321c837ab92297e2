import { invalid } from '../errors.ts';
import { isSpace, type JsonText, syntaxError } from './json-text.ts';

const OPEN = 0;
const KEY = 1;
const COLON = 2;
const QUOTE = 3;
const VALUE = 4;
const CLOSE = 5;
const DONE = 6;

const KEY_TEXT = '"b64"';

/** The value of each base64 digit by its character code, of the URL-safe alphabet too; −1 for others. */
const DIGITS = new Int8Array(256).fill(-1);
for (const [i, c] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].entries()) {
  DIGITS[c.charCodeAt(0)] = i;
}
DIGITS['-'.charCodeAt(0)] = 62;
DIGITS['_'.charCodeAt(0)] = 63;

/** Whether an object whose first key is `b64` begins at `pos`. */
export function isBase64Object({ bytes, end }: JsonText, pos: number): boolean {
  if (bytes[pos] !== 0x7b) return false;
  pos++;
  while (pos < end && isSpace(bytes[pos]!)) pos++;
  return pos + KEY_TEXT.length <= end && isKey(bytes, pos);
}

function isKey(bytes: Uint8Array, pos: number): boolean {
  for (let i = 0; i < KEY_TEXT.length; i++) if (bytes[pos + i] !== KEY_TEXT.charCodeAt(i)) return false;
  return true;
}

/**
 * Reads `{"b64": "<base64>"}`, the form in which TensorFlow Serving carries bytes in JSON; resumable at any character.
 * Padding may be left out, and both alphabets are taken, as are escaped slashes and line breaks.
 */
export class Base64ObjectReader {
  readonly #what: { readonly what: string };
  #state = OPEN;
  #digits = 0;
  #padding = 0;
  #held = 0;
  #heldBits = 0;

  /** @param what names the tensor in messages. */
  constructor(what: { readonly what: string }) {
    this.#what = what;
  }

  /** Whether the object is complete. */
  get done(): boolean {
    return this.#state === DONE;
  }

  /** Begins with another object. */
  begin(): void {
    this.#state = OPEN;
    this.#digits = 0;
    this.#padding = 0;
    this.#held = 0;
    this.#heldBits = 0;
  }

  /**
   * Reads on from `pos`, at which the object begins or the last call stopped.
   *
   * @param out where the bytes go, from `at` on; `at` is left behind the last one.
   * @returns where it stopped: at `limit`, or behind the closing brace.
   * @throws {ShoalError} INVALID_REQUEST for broken JSON, further keys, and what is no base64.
   */
  advance(text: JsonText, pos: number, limit: number, out: { readonly bytes: Uint8Array; at: number }): number {
    const { bytes, end } = text;
    limit = Math.min(limit, end);
    while (pos < limit && this.#state !== DONE) {
      if (this.#state === VALUE) pos = this.#readValue(text, pos, limit, out);
      else if (isSpace(bytes[pos]!)) pos++;
      else pos = this.#readToken(text, pos);
    }
    if (pos >= end && this.#state !== DONE) throw syntaxError(text, end, 'the rest of an object with the key "b64"');
    return pos;
  }

  #readToken(text: JsonText, pos: number): number {
    if (this.#state === KEY) {
      if (!isKey(text.bytes, pos)) {
        throw invalid(
          `${this.#what.what} has an object at byte ${pos - 1} of the JSON text, expected an element or {"b64": …}`,
        );
      }
      this.#state = COLON;
      return pos + KEY_TEXT.length;
    }
    const expected = this.#state === OPEN ? '{' : this.#state === COLON ? ':' : this.#state === QUOTE ? '"' : '}';
    if (text.bytes[pos] !== expected.charCodeAt(0)) {
      throw syntaxError(text, pos, expected === '"' ? 'a string of base64' : `'${expected}'`);
    }
    this.#state++;
    return pos + 1;
  }

  #readValue(text: JsonText, pos: number, limit: number, out: { readonly bytes: Uint8Array; at: number }): number {
    const { bytes } = text;
    while (pos < limit) {
      let c = bytes[pos]!;
      if (c === 0x22) {
        this.#endValue(pos);
        return pos + 1;
      }
      if (c === 0x5c) {
        const escaped = bytes[++pos]!;
        if (escaped === 0x2f) c = escaped;
        // A line break: n, r.
        else if (escaped === 0x6e || escaped === 0x72) c = 0x20;
      }
      pos++;
      if (c === 0x20) continue;
      const digit = DIGITS[c]!;
      if (digit < 0 || this.#padding > 0) {
        if (c !== 0x3d || this.#padding++ === 2) throw this.#wrong(pos - 1);
        continue;
      }
      this.#digits++;
      this.#held = (this.#held << 6) | digit;
      this.#heldBits += 6;
      if (this.#heldBits >= 8) {
        this.#heldBits -= 8;
        out.bytes[out.at++] = this.#held >> this.#heldBits;
        this.#held &= (1 << this.#heldBits) - 1;
      }
    }
    return pos;
  }

  #endValue(pos: number): void {
    const padded = this.#padding > 0 && (this.#digits + this.#padding) % 4 !== 0;
    if (this.#digits % 4 === 1 || padded) throw this.#wrong(pos);
    this.#state = CLOSE;
  }

  #wrong(pos: number): Error {
    return invalid(`${this.#what.what} has a "b64" that is not base64, at byte ${pos} of the JSON text`);
  }
}
