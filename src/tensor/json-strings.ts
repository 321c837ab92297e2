import { isUtf8 } from 'node:buffer';
import { invalid, type ShoalError } from '../errors.ts';
import type { JsonArrayWalk } from './json-array.ts';
import { Base64ObjectReader } from './json-base64.ts';
import { hexDigit, shortEscape, syntaxError } from './json-text.ts';
import { isUrlObject, readUrlObject } from './json-url.ts';
import { utf8SequenceLength } from './utf8.ts';

/** An element of BYTES that is to be fetched. */
export interface RemoteElement {
  readonly index: number;
  readonly url: string;
}

/**
 * Reads BYTES elements (strings) of a JSON array into their wire form, a length of four bytes and UTF-8 each;
 * resumable at any character, since one string may be as long as the whole body.
 */
export class JsonStringReader {
  readonly #walk: JsonArrayWalk;
  readonly #out: Buffer;
  /** Where the next byte goes. */
  #at = 0;
  /** Where the length of the string being read goes; −1 between strings. */
  #lengthAt = -1;
  readonly #base64: Base64ObjectReader | undefined;
  #inBase64 = false;
  /** Elements that are given by their addresses; they are written as empty texts. */
  readonly remote: RemoteElement[] = [];

  /**
   * @param out must hold as many bytes as the text of the array and one more per element.
   * @param takesBase64 whether an element may also be an object with the key `b64`, or `url`.
   */
  constructor(walk: JsonArrayWalk, out: Buffer, takesBase64 = false) {
    this.#walk = walk;
    this.#out = out;
    this.#base64 = takesBase64 ? new Base64ObjectReader(walk.target) : undefined;
  }

  /** The wire form of all strings, in memory not much larger. */
  finish(): Buffer {
    const written = this.#out.subarray(0, this.#at);
    return this.#out.length > 2 * this.#at + 4096 ? Buffer.from(written) : written;
  }

  /**
   * Reads until the array ends or the walk reaches `stop`.
   *
   * @throws {ShoalError} INVALID_REQUEST for anything but strings, and for strings that are not valid UTF-8,
   * have half a surrogate pair or a NUL (ONNX Runtime for Node would cut them there).
   */
  read(stop: number): void {
    const walk = this.#walk;
    if (this.#lengthAt >= 0 && !(this.#inBase64 ? this.#readBase64(stop) : this.#readString(stop))) return;
    while (walk.toElement(stop)) {
      const { text, pos } = walk;
      if (this.#base64 !== undefined && isUrlObject(text, pos)) {
        this.#readUrl(pos);
        continue;
      }
      this.#inBase64 = this.#base64 !== undefined && text.bytes[pos] === 0x7b;
      if (text.bytes[pos] !== 0x22 && !this.#inBase64) throw walk.wrongElement('a string (BYTES)');
      this.#lengthAt = this.#at;
      this.#at += 4;
      if (this.#inBase64) {
        this.#base64!.begin();
        if (!this.#readBase64(stop)) return;
      } else {
        walk.pos = pos + 1;
        if (!this.#readString(stop)) return;
      }
    }
  }

  #readUrl(pos: number): void {
    const walk = this.#walk;
    const { url, end } = readUrlObject(walk.text, pos, walk.target.what);
    this.remote.push({ index: walk.index, url });
    this.#out.writeUInt32LE(0, this.#at);
    this.#at += 4;
    walk.pauseAfterElement(end, walk.index + 1);
  }

  /** As {@link #readString}, for an object with the key `b64`. */
  #readBase64(stop: number): boolean {
    const walk = this.#walk;
    const progress = { bytes: this.#out, at: this.#at };
    walk.pos = this.#base64!.advance(walk.text, walk.pos, stop, progress);
    this.#at = progress.at;
    if (!this.#base64!.done) return false;
    const from = this.#lengthAt + 4;
    const bytes = this.#out.subarray(from, this.#at);
    if (!isUtf8(bytes)) throw this.#wrongString('is, decoded, not valid UTF-8');
    if (bytes.includes(0)) throw this.#wrongString('has a NUL character, which ONNX Runtime cannot take');
    this.#out.writeUInt32LE(this.#at - from, this.#lengthAt);
    this.#lengthAt = -1;
    walk.pauseAfterElement(walk.pos, walk.index + 1);
    return true;
  }

  /** Goes on with the string at the walk's position; false when `stop` came first. */
  #readString(stop: number): boolean {
    const walk = this.#walk;
    const { bytes, end } = walk.text;
    const out = this.#out;
    const limit = Math.min(stop, end);
    let pos = walk.pos;
    let at = this.#at;
    while (pos < limit) {
      const c = bytes[pos]!;
      if (c === 0x22) {
        out.writeUInt32LE(at - this.#lengthAt - 4, this.#lengthAt);
        this.#at = at;
        this.#lengthAt = -1;
        walk.pauseAfterElement(pos + 1, walk.index + 1);
        return true;
      }
      if (c < 0x20) throw syntaxError(walk.text, pos, 'no control character in a string');
      if (c === 0x5c) {
        walk.pos = pos;
        this.#at = at;
        this.#readEscape();
        pos = walk.pos;
        at = this.#at;
      } else if (c < 0x80) {
        out[at++] = c;
        pos++;
      } else {
        const length = utf8SequenceLength(bytes, pos, end);
        if (length === 0) throw this.#wrongString('is not valid UTF-8');
        for (let i = 0; i < length; i++) out[at++] = bytes[pos++]!;
      }
    }
    walk.pos = pos;
    this.#at = at;
    if (pos >= end) throw syntaxError(walk.text, end, `the rest of a string in the data of ${walk.target.what}`);
    return false;
  }

  #readEscape(): void {
    const walk = this.#walk;
    const { text, pos } = walk;
    const c = pos + 1 < text.end ? text.bytes[pos + 1]! : 0;
    if (c !== 0x75) {
      const plain = shortEscape(c);
      if (plain === 0) throw syntaxError(text, pos, 'an escape sequence of JSON');
      this.#out[this.#at++] = plain;
      walk.pos = pos + 2;
      return;
    }
    let code = readHex(walk, pos + 2);
    walk.pos = pos + 6;
    if (code === 0) throw this.#wrongString('has a NUL character, which ONNX Runtime cannot take');
    if (code >= 0xd800 && code <= 0xdfff) {
      const paired = code < 0xdc00 && text.bytes[pos + 6] === 0x5c && text.bytes[pos + 7] === 0x75;
      const low = paired ? readHex(walk, pos + 8) : 0;
      if (low < 0xdc00 || low > 0xdfff) throw this.#wrongString('has half of a surrogate pair');
      walk.pos = pos + 12;
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    this.#at = writeUtf8(this.#out, this.#at, code);
  }

  #wrongString(what: string): ShoalError {
    return invalid(`element ${this.#walk.index} of ${this.#walk.target.what} ${what}`);
  }
}

function readHex(walk: JsonArrayWalk, pos: number): number {
  const { text } = walk;
  let code = 0;
  for (let i = pos; i < pos + 4; i++) {
    const digit = i < text.end ? hexDigit(text.bytes[i]!) : -1;
    if (digit < 0) throw syntaxError(text, i, 'four hexadecimal digits after \\u');
    code = code * 16 + digit;
  }
  return code;
}

function writeUtf8(out: Uint8Array, at: number, code: number): number {
  if (code < 0x80) out[at++] = code;
  else {
    if (code < 0x800) out[at++] = 0xc0 | (code >> 6);
    else {
      if (code < 0x10000) out[at++] = 0xe0 | (code >> 12);
      else {
        out[at++] = 0xf0 | (code >> 18);
        out[at++] = 0x80 | ((code >> 12) & 0x3f);
      }
      out[at++] = 0x80 | ((code >> 6) & 0x3f);
    }
    out[at++] = 0x80 | (code & 0x3f);
  }
  return at;
}
