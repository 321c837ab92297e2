import { invalid } from '../errors.ts';
import { type JsonText, MAX_NUMBER_BYTES, syntaxError } from './json-text.ts';

/** One number of a JSON text, taken apart. */
export interface ScannedNumber {
  /** Behind its last byte. */
  end: number;
  negative: boolean;
  /** All digits as one integer; rounded (at every step) once it reaches 2^53, up to Infinity. */
  mantissa: number;
  /** The number is ±mantissa · 10^exponent. */
  exponent: number;
  /** Whether there is neither a point nor an exponent. */
  plain: boolean;
}

/** A number to scan into; its content is worth something only until the next scan. */
export function emptyScan(): ScannedNumber {
  return { end: 0, negative: false, mantissa: 0, exponent: 0, plain: true };
}

/**
 * Reads the JSON number (RFC 8259, section 6) that begins at `start`.
 *
 * @throws {ShoalError} INVALID_REQUEST when there is none or it is longer than {@link MAX_NUMBER_BYTES}.
 */
export function scanNumber(text: JsonText, start: number, into: ScannedNumber): void {
  const { bytes } = text;
  const end = Math.min(text.end, start + MAX_NUMBER_BYTES + 1);
  let pos = start;
  const negative = bytes[pos] === 0x2d;
  if (negative) pos++;
  let from = pos;
  let mantissa = 0;
  while (pos < end && isDigit(bytes[pos]!)) mantissa = mantissa * 10 + (bytes[pos++]! - 0x30);
  if (pos === from) throw syntaxError(text, pos, 'a digit');
  if (bytes[from] === 0x30 && pos > from + 1) throw syntaxError(text, from + 1, 'no digit after a leading 0');
  let exponent = 0;
  let plain = true;
  if (pos < end && bytes[pos] === 0x2e) {
    plain = false;
    from = ++pos;
    while (pos < end && isDigit(bytes[pos]!)) mantissa = mantissa * 10 + (bytes[pos++]! - 0x30);
    if (pos === from) throw syntaxError(text, pos, 'a digit after the point');
    exponent = from - pos;
  }
  if (pos < end && (bytes[pos]! | 0x20) === 0x65) {
    plain = false;
    const sign = bytes[pos + 1];
    pos += sign === 0x2d || sign === 0x2b ? 2 : 1;
    from = pos;
    let value = 0;
    // Beyond every double after six digits; more change nothing.
    for (; pos < end && isDigit(bytes[pos]!); pos++) if (value < 100_000) value = value * 10 + (bytes[pos]! - 0x30);
    if (pos === from) throw syntaxError(text, pos, 'a digit in the exponent');
    exponent += sign === 0x2d ? -value : value;
  }
  if (pos - start > MAX_NUMBER_BYTES) {
    throw invalid(`the number at byte ${start} of the JSON text is longer than ${MAX_NUMBER_BYTES} bytes`);
  }
  into.end = pos;
  into.negative = negative;
  into.mantissa = mantissa;
  into.exponent = exponent;
  into.plain = plain;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

/**
 * The integer that the JSON number in `bytes[start, end)` is exactly, `1.50e1` for instance; undefined when it is none.
 * Whatever exceeds 64 bits comes back as ±10^20.
 */
export function exactInteger(bytes: Buffer, start: number, end: number): bigint | undefined {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(bytes.toString('latin1', start, end));
  if (match === null) return undefined;
  const [, sign, whole = '', fraction = '', power = '0'] = match;
  const padded = stripZeros(whole + fraction);
  if (padded.length === 0) return 0n;
  const digits = stripTrailingZeros(padded);
  const zeros = Number(power) - fraction.length + (padded.length - digits.length);
  if (zeros < 0) return undefined;
  const magnitude = digits.length + zeros > 20 ? 10n ** 20n : BigInt(digits) * 10n ** BigInt(zeros);
  return sign === '-' ? -magnitude : magnitude;
}

function stripZeros(digits: string): string {
  let start = 0;
  while (digits[start] === '0') start++;
  return digits.slice(start);
}

function stripTrailingZeros(digits: string): string {
  let end = digits.length;
  while (digits[end - 1] === '0') end--;
  return digits.slice(0, end);
}
