import { invalid, type ShoalError } from '../errors.ts';
import { emptyScan, exactInteger, scanNumber } from '../tensor/json-number.ts';
import { excerptAt, hexDigit, isSpace, type JsonText, shortEscape, syntaxError } from '../tensor/json-text.ts';
import { utf8SequenceLength } from '../tensor/utf8.ts';

/** The most text, in bytes, that may stand around the tensors' data. */
export const MAX_ENVELOPE_BYTES = 1_048_576;

const KEPT_NAMES = 64;
const LONGEST_KEPT = 32;
const keptNames: string[] = new Array<string>(KEPT_NAMES).fill('');

const scanned = emptyScan();

/**
 * Reads the tokens of a JSON text (RFC 8259) one after the other, straight from its bytes.
 *
 * It sees only as much text as an envelope may have; what {@link exempt} is told of does not count.
 */
export class JsonCursor {
  /** The whole text. */
  readonly text: JsonText;
  pos: number;
  /** Where the cursor's view ends: the end of the text, or of the envelope's allowance. */
  #end: number;
  // The string read last, without its quotes.
  #from = 0;
  #to = 0;
  #escaped = false;

  constructor(text: JsonText) {
    this.text = text;
    this.pos = 0;
    this.#end = Math.min(text.end, MAX_ENVELOPE_BYTES);
  }

  /** Where the cursor's view of the text ends. */
  get end(): number {
    return this.#end;
  }

  /** Takes `size` bytes of data out of the allowance. */
  exempt(size: number): void {
    this.#end = Math.min(this.text.end, this.#end + size);
  }

  /** Skips white space; the byte it ends at. @throws {ShoalError} INVALID_REQUEST at the end of the text. */
  peek(expected: string): number {
    const { bytes } = this.text;
    while (this.pos < this.#end && isSpace(bytes[this.pos]!)) this.pos++;
    if (this.pos >= this.#end) throw this.unexpected(expected);
    return bytes[this.pos]!;
  }

  /** Reads one byte of punctuation, after white space. */
  expect(byte: number, expected: string): void {
    if (this.peek(expected) !== byte) throw this.unexpected(expected);
    this.pos++;
  }

  /**
   * Moves to the next member of an object: reads the comma before it (unless it is the first), its key and the colon.
   * False, behind the closing brace, when there is none. {@link keyIs} and {@link string} tell the key.
   */
  nextMember(first: boolean): boolean {
    const c = this.peek(first ? "a key or '}'" : "',' or '}'");
    if (c === 0x7d) {
      this.pos++;
      return false;
    }
    if (!first) {
      if (c !== 0x2c) throw this.unexpected("',' or '}'");
      this.pos++;
    }
    if (this.peek('a key') !== 0x22) throw this.unexpected('a key');
    this.scanString();
    this.expect(0x3a, "':'");
    return true;
  }

  /** Moves to the next element of an array; false, behind the closing bracket, when there is none. */
  nextElement(first: boolean): boolean {
    const c = this.peek(first ? "a value or ']'" : "',' or ']'");
    if (c === 0x5d) {
      this.pos++;
      return false;
    }
    if (first) return true;
    if (c !== 0x2c) throw this.unexpected("',' or ']'");
    this.pos++;
    return true;
  }

  /** Reads the string whose opening quote stands at the position, and checks it. */
  scanString(): void {
    const { bytes } = this.text;
    const end = this.#end;
    let pos = this.pos + 1;
    this.#from = pos;
    this.#escaped = false;
    while (pos < end) {
      const c = bytes[pos]!;
      if (c === 0x22) {
        this.#to = pos;
        this.pos = pos + 1;
        return;
      }
      if (c === 0x5c) {
        this.#escaped = true;
        pos = this.#skipEscape(pos);
      } else if (c >= 0x80) {
        const length = utf8SequenceLength(bytes, pos, end);
        if (length === 0) throw this.#invalidUtf8(pos);
        pos += length;
      } else if (c < 0x20) {
        this.pos = pos;
        throw this.unexpected('no control character in a string');
      } else pos++;
    }
    this.pos = pos;
    throw this.unexpected('the rest of a string');
  }

  /** The value of the string read last. */
  string(): string {
    const { bytes } = this.text;
    if (this.#escaped) return String(JSON.parse(bytes.toString('utf8', this.#from - 1, this.#to + 1)));
    return bytes.toString('utf8', this.#from, this.#to);
  }

  /** {@link string} for names, which come again and again: text made before is given again instead of being made anew. */
  name(): string {
    const { bytes } = this.text;
    const from = this.#from;
    const length = this.#to - from;
    if (this.#escaped || length === 0 || length > LONGEST_KEPT) return this.string();
    const slot = (31 * length + 7 * bytes[from]! + bytes[from + length - 1]!) % KEPT_NAMES;
    const kept = keptNames[slot]!;
    if (kept.length === length && this.stringIs(kept)) return kept;
    const text = this.string();
    // As many characters as bytes: the text is ASCII, so that bytes can be compared with it.
    if (text.length === length) keptNames[slot] = text;
    return text;
  }

  /** Whether the string read last is `word`, which is ASCII. */
  stringIs(word: string): boolean {
    if (this.#escaped) return this.string() === word;
    const length = word.length;
    if (this.#to - this.#from !== length) return false;
    const { bytes } = this.text;
    for (let i = 0; i < length; i++) if (bytes[this.#from + i] !== word.charCodeAt(i)) return false;
    return true;
  }

  /** Reads `word` (true, false or null), which the byte at the position begins. */
  word(word: string): void {
    const { bytes } = this.text;
    for (let i = 0; i < word.length; i++) {
      if (this.pos + i >= this.#end || bytes[this.pos + i] !== word.charCodeAt(i)) throw this.unexpected('a value');
    }
    this.pos += word.length;
  }

  /** Reads the number at the position and says where it began. */
  skipNumber(): void {
    scanNumber(this.text, this.pos, scanned);
    this.pos = scanned.end;
  }

  /** Reads the number at the position as an integer; undefined when it is none, Infinity when it exceeds 64 bits. */
  integer(): number | undefined {
    const start = this.pos;
    this.skipNumber();
    if (scanned.plain && scanned.mantissa <= Number.MAX_SAFE_INTEGER) {
      return scanned.negative ? 0 - scanned.mantissa : scanned.mantissa;
    }
    const value = exactInteger(this.text.bytes, start, scanned.end);
    if (value === undefined) return undefined;
    return value >= 2n ** 64n ? Number.POSITIVE_INFINITY : Number(value);
  }

  /** Reads white space up to the end of the text. @throws {ShoalError} INVALID_REQUEST when anything else follows. */
  endOfText(): void {
    const { bytes, end } = this.text;
    while (this.pos < this.#end && isSpace(bytes[this.pos]!)) this.pos++;
    if (this.pos < end) throw this.unexpected('the end of the JSON text');
  }

  /** What stands at the position, shortened, for error messages. */
  excerpt(): string {
    return excerptAt(this.text, this.pos);
  }

  /** The error for text that is not as expected at the position. */
  unexpected(expected: string): ShoalError {
    if (this.pos >= this.#end && this.#end < this.text.end) {
      return invalid(`the JSON text around the tensors' data is longer than ${MAX_ENVELOPE_BYTES} bytes`);
    }
    const c = this.text.bytes[this.pos]!;
    if (this.pos < this.text.end && c >= 0x80) {
      if (utf8SequenceLength(this.text.bytes, this.pos, this.text.end) === 0) return this.#invalidUtf8(this.pos);
    }
    return syntaxError(this.text, this.pos, expected);
  }

  #invalidUtf8(pos: number): ShoalError {
    return invalid(`the JSON text is not valid UTF-8 at byte ${pos}`);
  }

  #skipEscape(pos: number): number {
    const { bytes } = this.text;
    const c = bytes[pos + 1]!;
    this.pos = pos;
    if (pos + 1 >= this.#end) {
      this.pos = this.#end;
      throw this.unexpected('the rest of a string');
    }
    if (c !== 0x75) {
      if (shortEscape(c) === 0) throw this.unexpected('an escape sequence of JSON');
      return pos + 2;
    }
    for (let i = pos + 2; i < pos + 6; i++) {
      if (i >= this.#end || hexDigit(bytes[i]!) < 0) throw this.unexpected('four hexadecimal digits after \\u');
    }
    return pos + 6;
  }
}
