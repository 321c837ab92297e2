import { invalid, type ShoalError } from '../errors.ts';

/** JSON text as bytes, with the position where it ends; what lies behind (binary sections) is not text. */
export interface JsonText {
  readonly bytes: Buffer;
  readonly end: number;
}

/** The deepest nesting of arrays and objects that is read; Triton draws the same line. */
export const MAX_JSON_DEPTH = 99;

/** The longest number, in bytes of text, that is read: it can be converted at once without holding the event loop. */
export const MAX_NUMBER_BYTES = 32_768;

/** How much text is worked through between two looks at the clock; well below a millisecond even for slow elements. */
export const SLICE_BYTES = 65_536;

/** How many numbers of forms that need strings or more are read between two pauses; each takes up to a microsecond. */
export const MAX_SLOW_ELEMENTS = 2000;

// Below this much text a DataView costs more than it saves.
const MIN_FAST_BYTES = 1024;

const EXCERPT_BYTES = 24;
const MAX_QUOTED_NAME = 80;

/** A view for reading several bytes of the text at once; undefined where that would not pay. */
export function fastView({ bytes, end }: JsonText, pos: number): DataView | undefined {
  return end - pos < MIN_FAST_BYTES ? undefined : new DataView(bytes.buffer, bytes.byteOffset, end);
}

/** The error for text that breaks the grammar of JSON (RFC 8259) at `position`. */
export function syntaxError(text: JsonText, position: number, expected: string): ShoalError {
  if (position >= text.end) return invalid(`the JSON text ends after ${text.end} bytes, expected ${expected}`);
  return invalid(`malformed JSON at byte ${position}: expected ${expected}, got ${excerptAt(text, position)}`);
}

/** A short, printable piece of the text from `position` on, up to the end of the token, for error messages. */
export function excerptAt(text: JsonText, position: number): string {
  const limit = Math.min(text.end, position + EXCERPT_BYTES + 1);
  let end = position + 1;
  if (text.bytes[position] === 0x22) {
    while (end < limit && text.bytes[end] !== 0x22) end++;
    end = Math.min(end + 1, limit);
  } else {
    while (end < limit && !isDelimiter(text.bytes[end]!)) end++;
  }
  const shown = printable(text.bytes.toString('latin1', position, Math.min(end, position + EXCERPT_BYTES)));
  return end - position > EXCERPT_BYTES ? `${shown}…` : shown;
}

/** A name between quotes, on one line and of bounded length, for error messages. */
export function quoteName(name: string): string {
  const shown = name.length > MAX_QUOTED_NAME ? `${name.slice(0, MAX_QUOTED_NAME)}…` : name;
  return `'${shown.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Cs}]/gu, '\ufffd')}'`;
}

/** Whether the byte is white space of JSON. */
export function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** The character of a two-character escape, 0 when there is none. */
export function shortEscape(c: number): number {
  switch (c) {
    case 0x22: // "
    case 0x5c: // \
    case 0x2f: // /
      return c;
    case 0x62: // b
      return 0x08;
    case 0x66: // f
      return 0x0c;
    case 0x6e: // n
      return 0x0a;
    case 0x72: // r
      return 0x0d;
    case 0x74: // t
      return 0x09;
    default:
      return 0;
  }
}

/** The value of a hexadecimal digit, −1 when it is none. */
export function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const letter = c | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

function isDelimiter(byte: number): boolean {
  // White space, and the characters `,` `:` `[` `]` `{` `}` `"`.
  return (
    byte <= 0x20 ||
    byte === 0x2c ||
    byte === 0x3a ||
    byte === 0x5b ||
    byte === 0x5d ||
    byte === 0x7b ||
    byte === 0x7d ||
    byte === 0x22
  );
}

function printable(latin1: string): string {
  return latin1.replace(/[^\x20-\x7e]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
