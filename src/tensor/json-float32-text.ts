import { powerOfTen } from './decimal.ts';
import { piece, pieceView, putEightDigits, putSmallInteger } from './json-digits.ts';

// Tables by the eight exponent bits of a float; twice as long where a power of ten lies between 2^e and 2^(e+1):
// the second entry is for values from that power on.
/** floor(log10(x)). */
const DECIMAL_EXPONENT = new Int32Array(512);
/** The first power of ten above 2^e. */
const NEXT_POWER = new Float64Array(256);
/** 10^(7 − floor(log10(x))): times x it has eight digits before the point. */
const SCALE = new Float64Array(512);
/** Half the distance between neighbouring floats, times SCALE: how far a decimal of eight digits may be from x. */
const TOLERANCE = new Float64Array(512);

for (let bits = 1; bits < 255; bits++) {
  const least = 2 ** (bits - 127);
  const exponent = Math.floor(Math.log10(least) + 1e-9);
  NEXT_POWER[bits] = powerOfTen(exponent + 1);
  for (const [i, e] of [exponent, exponent + 1].entries()) {
    DECIMAL_EXPONENT[2 * bits + i] = e;
    SCALE[2 * bits + i] = powerOfTen(7 - e);
    TOLERANCE[2 * bits + i] = 2 ** (bits - 151) * powerOfTen(7 - e);
  }
}

const DIGIT_LIMITS = Int32Array.of(1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000);

// The scaled value is wrong by less than 10^8 · 2^-51 and the tolerance by less; what is nearer than this to
// the edge of the tolerance is decided by converting the decimal back.
const UNSURE = 1e-6;

/** The bits of −0 as an integer. */
const NEGATIVE_ZERO = 0x80000000 | 0;

/**
 * Writes `count` floats as JSON numbers, each with a comma behind it, into the shared piece from its begin;
 * the result is where the text ends. Not-a-number and infinities become `null`.
 *
 * Each number is a shortest decimal s (of at most nine digits) with `Math.fround(Number(s)) === x`, in the form in which
 * JavaScript writes numbers. −0 is `-0.0`: many readers, Python's among them, take `-0` for an integer without a sign.
 *
 * A decimal of D digits reads back as x when it is nearer to x than half the distance to x's neighbours. The nearest
 * one decides, as that distance is the same on both sides unless x is a power of two, which has its own way.
 */
export function putFloat32s(floats: Float32Array, bits: Int32Array, count: number): number {
  const out = piece;
  const view = pieceView;
  const limits = DIGIT_LIMITS;
  const exponents = DECIMAL_EXPONENT;
  const nextPowers = NEXT_POWER;
  const scales = SCALE;
  const tolerances = TOLERANCE;
  const unsureBelow = UNSURE;
  let at = 0;
  for (let i = 0; i < count; i++) {
    const word = bits[i]!;
    if (word < 0) out[at++] = 0x2d;
    const x = Math.abs(floats[i]!);
    const whole = x | 0;
    if (whole === x && whole < 10_000_000) {
      at = putSmallInteger(at, whole);
      if (word === NEGATIVE_ZERO) {
        out[at++] = 0x2e;
        out[at++] = 0x30;
      }
      out[at++] = 0x2c;
      continue;
    }
    const binaryExponent = (word >>> 23) & 0xff;
    if (binaryExponent === 0xff) {
      if (word < 0) at--;
      out[at] = 0x6e;
      out[at + 1] = 0x75;
      out[at + 2] = 0x6c;
      out[at + 3] = 0x6c;
      out[at + 4] = 0x2c;
      at += 5;
      continue;
    }
    const entry = 2 * binaryExponent + (x >= nextPowers[binaryExponent]! ? 1 : 0);
    let exponent = exponents[entry]!;
    let scaled = x * scales[entry]!;
    let tolerance = tolerances[entry]!;
    if (binaryExponent === 0) {
      // Subnormals lie between many powers of ten, at one distance from each other.
      exponent = Math.floor(Math.log10(x));
      const scale = powerOfTen(7 - exponent);
      scaled = x * scale;
      tolerance = 2 ** -150 * scale;
    }
    let n = (scaled + 0.5) | 0;
    let distance = Math.abs(n - scaled);
    let digits = 8;
    let unsure = (word & 0x7fffff) === 0 || n >= 100_000_000;
    if (distance < tolerance - unsureBelow) {
      // Eight digits suffice, perhaps fewer.
      for (;;) {
        scaled *= 0.1;
        tolerance *= 0.1;
        const shorter = (scaled + 0.5) | 0;
        distance = Math.abs(shorter - scaled);
        if (distance >= tolerance + unsureBelow) break;
        digits--;
        n = shorter;
        if (distance > tolerance - unsureBelow || n >= limits[digits]!) {
          unsure = true;
          break;
        }
      }
    } else if (distance <= tolerance + unsureBelow) unsure = true;
    else {
      n = (scaled * 10 + 0.5) | 0;
      digits = 9;
    }
    if (unsure || (exponent > 7 && exponent < 21)) {
      at = unsure ? putShortest(at, x, word) : putLargeInteger(at, n, digits, exponent);
      out[at++] = 0x2c;
      continue;
    }
    const scientific = exponent < -6 || exponent > 7;
    // `0.00000`, of which the point and as many zeros as are needed stay; or one place for a digit to move to.
    const isFraction = exponent < 0 && !scientific;
    if (isFraction) {
      view.setInt32(at, 0x30302e30, true);
      view.setInt32(at + 4, 0x30303030, true);
      at += 1 - exponent;
    } else at++;
    // Nine digits, in blocks of four as `putEightDigits` does; behind the last that counts the next number begins.
    n = Math.imul(n, limits[9 - digits]!);
    const first = (n / 100_000_000) | 0;
    n = (n - first * 100_000_000) | 0;
    out[at] = 0x30 + first;
    let four = (n / 10_000) | 0;
    const last = n - four * 10_000;
    let hundreds = (four * 5243) >> 19;
    let pairs = hundreds | ((four - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f000f;
    view.setInt32(at + 1, tens | ((pairs - tens * 10) << 8) | 0x30303030, true);
    four = last;
    hundreds = (four * 5243) >> 19;
    pairs = hundreds | ((four - hundreds * 100) << 16);
    tens = ((pairs * 103) >> 10) & 0x000f000f;
    view.setInt32(at + 5, tens | ((pairs - tens * 10) << 8) | 0x30303030, true);
    if (isFraction) at += digits;
    else {
      const before = scientific ? 0 : exponent;
      const point = at + before;
      for (let to = at - 1; to < point; to++) out[to] = out[to + 1]!;
      if (digits > before + 1) {
        out[point] = 0x2e;
        at += digits;
      } else at = point;
    }
    if (scientific) {
      out[at] = 0x65;
      out[at + 1] = exponent < 0 ? 0x2d : 0x2b;
      at += 2;
      const power = Math.abs(exponent);
      const powerTens = (power * 205) >> 11;
      if (powerTens > 0) out[at++] = 0x30 + powerTens;
      out[at++] = 0x30 + power - powerTens * 10;
    }
    out[at++] = 0x2c;
  }
  return at;
}

/** Writes the `digits` ≤ 9 digits of `n` and the zeros of an integer whose first digit counts 10^exponent. */
function putLargeInteger(at: number, n: number, digits: number, exponent: number): number {
  const first = (n / 100_000_000) | 0;
  if (digits > 8) piece[at] = 0x30 + first;
  putEightDigits(
    digits > 8 ? at + 1 : at,
    digits > 8 ? n - first * 100_000_000 : Math.imul(n, DIGIT_LIMITS[8 - digits]!),
  );
  piece.fill(0x30, at + digits, at + exponent + 1);
  return at + exponent + 1;
}

/** The slow way, for close calls and powers of two; the texts of the latter, of which there are few, are kept. */
function putShortest(at: number, x: number, word: number): number {
  const power = (word & 0x7fffff) === 0 ? (word >>> 23) & 0xff : -1;
  const text = powerTexts[power] ?? shortestText(x);
  if (power >= 0) powerTexts[power] = text;
  for (let i = 0; i < text.length; i++) piece[at + i] = text.charCodeAt(i);
  return at + text.length;
}

const powerTexts: (string | undefined)[] = new Array(256).fill(undefined);

/** A shortest decimal, found by reading back decimals of each length. */
function shortestText(x: number): string {
  for (let digits = 1; ; digits++) {
    const [nearest = '', exponent = ''] = x.toExponential(digits - 1).split('e');
    const n = Number(nearest.replace('.', ''));
    // Beside the nearest decimal the next greater one may do: above a power of two floats are twice as far apart.
    for (const candidate of [n, n + 1]) {
      const value = Number(`${candidate}e${Number(exponent) - digits + 1}`);
      if (Math.fround(value) === x) return String(value);
    }
  }
}
