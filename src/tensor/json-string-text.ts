import { invalid, ShoalError } from '../errors.ts';
import { piece } from './json-digits.ts';
import { quoteName } from './json-text.ts';
import { utf8SequenceLength } from './utf8.ts';

/** Where the writing of a BYTES tensor's strings stands. */
export interface StringProgress {
  /** In the tensor's bytes. */
  pos: number;
  /** The string being written, or the next. */
  index: number;
  /** The bytes of it that are not written yet; −1 before its first. */
  left: number;
}

// The longest text of one step below: a comma, two quotes, an escape of six bytes.
const LONGEST_STEP = 16;

/**
 * Writes strings of a BYTES tensor's wire form as JSON strings with commas between them into the shared piece, until
 * it is full or all `count` are written; the result is where the text ends. May stop within a string.
 *
 * @throws {ShoalError} INVALID_REQUEST for a string that is not UTF-8, which only the binary form can carry.
 */
export function putStrings(bytes: Uint8Array, count: number, progress: StringProgress, name: string): number {
  const out = piece;
  const full = piece.length - LONGEST_STEP;
  let { pos, index, left } = progress;
  let at = 0;
  while (at < full && index < count) {
    if (left < 0) {
      left = lengthAt(bytes, pos, name);
      pos += 4;
      if (index > 0) out[at++] = 0x2c;
      out[at++] = 0x22;
    }
    const end = pos + left;
    while (pos < end && at < full) {
      const c = bytes[pos]!;
      if (c >= 0x80) {
        const length = utf8SequenceLength(bytes, pos, end);
        if (length === 0) {
          throw invalid(
            `element ${index} of output ${quoteName(name)} is not valid UTF-8: ask for it in binary with binary_data or binary_data_output`,
          );
        }
        for (let i = 0; i < length; i++) out[at++] = bytes[pos++]!;
      } else {
        if (c < 0x20 || c === 0x22 || c === 0x5c) at = putEscape(at, c);
        else out[at++] = c;
        pos++;
      }
    }
    left = end - pos;
    if (left === 0) {
      out[at++] = 0x22;
      index++;
      left = -1;
    }
  }
  progress.pos = pos;
  progress.index = index;
  progress.left = left;
  return at;
}

function lengthAt(bytes: Uint8Array, pos: number, name: string): number {
  const left = bytes.length - pos - 4;
  const length =
    left < 0 ? 0 : (bytes[pos]! | (bytes[pos + 1]! << 8) | (bytes[pos + 2]! << 16) | (bytes[pos + 3]! << 24)) >>> 0;
  if (length > left) throw new ShoalError('INTERNAL', `output ${quoteName(name)} ends before its shape does`);
  return length;
}

function putEscape(at: number, c: number): number {
  const out = piece;
  out[at] = 0x5c;
  const short = SHORT_ESCAPES[c]!;
  if (short !== 0) {
    out[at + 1] = short;
    return at + 2;
  }
  out[at + 1] = 0x75;
  out[at + 2] = 0x30;
  out[at + 3] = 0x30;
  out[at + 4] = 0x30 + (c >> 4);
  out[at + 5] = '0123456789abcdef'.charCodeAt(c & 0x0f);
  return at + 6;
}

/** By character code, the letter of its two-character escape; 0 where it has none. */
const SHORT_ESCAPES = new Uint8Array(0x80);
for (const [character, letter] of ['\bb', '\ff', '\nn', '\rr', '\tt', '""', '\\\\']) {
  SHORT_ESCAPES[character!.charCodeAt(0)] = letter!.charCodeAt(0);
}
