/**
 * Decimal text to binary floating point, exactly as `Number(text)` rounds it, without making strings.
 *
 * Three steps, each only where the one before cannot decide:
 * 1. Clinger (1990): digits below 2^53 and |exponent| ≤ 22 are two exact doubles, so one operation rounds once.
 * 2. Brackets: a value with a proven error bound decides when both ends of the bracket round to the same number.
 * 3. `Number` over the text.
 */

/** 10^0 … 10^22: all that are exact doubles. */
export const EXACT_POWERS: Float64Array = Float64Array.from({ length: 23 }, (_, i) => Number(`1e${i}`));

/** 10^0 … 10^4 as int32. */
export const SMALL_POWERS: Int32Array = Int32Array.of(1, 10, 100, 1000, 10_000);

/** The least and the greatest exponent of the tables of powers. */
export const MIN_POWER = -290;
export const MAX_POWER = 290;

/** 10^(i + MIN_POWER), with a relative error below 2^-52. */
export const POWERS: Float64Array = new Float64Array(MAX_POWER - MIN_POWER + 1);

/**
 * What the same place of {@link POWERS} lacks: their sum is right to 2^-94. Each is made from its neighbour by
 * multiplying or dividing by ten with a relative error below 2^-103, at most 290 times.
 */
export const POWERS_REST: Float64Array = new Float64Array(MAX_POWER - MIN_POWER + 1);

const HIGH = POWERS;
const LOW = POWERS_REST;

const SPLITTER = 134_217_729; // 2^27 + 1, Dekker (1971)

/** The exact rounding error of `product`, which is a·b rounded: a·b = product + error. Dekker (1971). */
function productError(a: number, b: number, product: number): number {
  const ac = SPLITTER * a;
  const aHigh = ac - (ac - a);
  const aLow = a - aHigh;
  const bc = SPLITTER * b;
  const bHigh = bc - (bc - b);
  const bLow = b - bHigh;
  return aLow * bLow - (product - aHigh * bHigh - aLow * bHigh - aHigh * bLow);
}

function fillPowers(): void {
  HIGH[-MIN_POWER] = 1;
  for (let e = 1; e <= MAX_POWER; e++) {
    const high = HIGH[e - 1 - MIN_POWER]!;
    const product = high * 10;
    const rest = productError(high, 10, product) + LOW[e - 1 - MIN_POWER]! * 10;
    HIGH[e - MIN_POWER] = product + rest;
    LOW[e - MIN_POWER] = rest - (product + rest - product);
  }
  for (let e = -1; e >= MIN_POWER; e--) {
    const high = HIGH[e + 1 - MIN_POWER]!;
    const quotient = high / 10;
    const product = quotient * 10;
    const rest = (high - product - productError(quotient, 10, product) + LOW[e + 1 - MIN_POWER]!) / 10;
    HIGH[e - MIN_POWER] = quotient + rest;
    LOW[e - MIN_POWER] = rest - (quotient + rest - quotient);
  }
}
fillPowers();

/** 10^e with a relative error below 2^-52, for MIN_POWER ≤ e ≤ MAX_POWER. */
export function powerOfTen(e: number): number {
  return HIGH[e - MIN_POWER]!;
}

/**
 * Decides FP32: the exact value of a number lies within `v ± v · BRACKET`, where v is its mantissa times `POWERS[…]`
 * and the mantissa was summed from up to eight blocks of digits, each multiplied and added with rounding (16 · 2^-53;
 * 2^-52 for the power; 2^-53 each for the product and the ends). Rounding is monotonic, so when both ends round
 * to the same float, that is `Math.fround(Number(text))`.
 */
export const BRACKET: number = 2 ** -45;

/**
 * As {@link BRACKET} for FP64, where the value is the sum of two doubles: 2^-94 from the power, and 2^-98 from the
 * additions of low parts and the product of the second digits, as long as fifteen digits stand before them.
 */
export const FINE_BRACKET: number = 2 ** -88;

/**
 * The double nearest to `(first · 10^count + second) · 10^exponent`, where `first` < 10^15 and `second` has
 * `count` ≤ 15 digits, some only if `first` has 15; NaN when double-double arithmetic does not decide.
 */
function bracketFloat64(first: number, second: number, count: number, exponent: number): number {
  const power = exponent + count - MIN_POWER;
  // Away from the ends of the range neither the products nor their errors overflow or become subnormal.
  if (exponent < MIN_POWER + 40 || exponent + count > MAX_POWER - 20) return Number.NaN;
  const high = first * HIGH[power]!;
  const low = productError(first, HIGH[power]!, high) + first * LOW[power]! + second * HIGH[power - count]!;
  const error = high * FINE_BRACKET;
  const below = high + (low - error);
  return below === high + (low + error) ? below : Number.NaN;
}

/** `Number` of the JSON number that is exactly `bytes[start, end)`, for what one exact operation does not decide. */
export function parseLongNumber(bytes: Buffer, start: number, end: number): number {
  const negative = bytes[start] === 0x2d;
  let pos = negative ? start + 1 : start;
  let first = 0;
  let second = 0;
  let digits = 0;
  let exponent = 0;
  let afterPoint = false;
  for (; pos < end; pos++) {
    const c = bytes[pos]!;
    if (c === 0x2e) {
      afterPoint = true;
      continue;
    }
    if (c > 0x39) break;
    if (afterPoint) exponent--;
    if (digits < 15) {
      first = first * 10 + (c - 0x30);
      if (first !== 0) digits++;
    } else if (digits < 30) {
      second = second * 10 + (c - 0x30);
      digits++;
    } else return parseText(bytes, start, end);
  }
  if (pos < end) exponent += parseExponent(bytes, pos + 1, end);
  const value = bracketFloat64(first, second, Math.max(0, digits - 15), exponent);
  if (Number.isNaN(value)) return parseText(bytes, start, end);
  return negative ? -value : value;
}

function parseExponent(bytes: Buffer, start: number, end: number): number {
  const signed = bytes[start] === 0x2d || bytes[start] === 0x2b;
  let value = 0;
  for (let pos = signed ? start + 1 : start; pos < end && value < 100_000; pos++) {
    value = value * 10 + (bytes[pos]! - 0x30);
  }
  return bytes[start] === 0x2d ? -value : value;
}

function parseText(bytes: Buffer, start: number, end: number): number {
  return Number(bytes.toString('latin1', start, end));
}
