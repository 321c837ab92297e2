import { BRACKET, EXACT_POWERS, MAX_POWER, MIN_POWER, POWERS } from './decimal.ts';
import type { JsonArrayWalk } from './json-array.ts';

/** No number that a run reads, with the blocks of four bytes behind it, is longer than this. */
export const RUN_MARGIN_BYTES = 64;

/**
 * After so many elements a run returns. Entered once for a whole slice it would be compiled while it runs (OSR),
 * without having seen its own end, and be thrown out of the compiled code there each time.
 */
export const RUN_ELEMENTS = 256;

/** The most digits before the point that a run reads; with eight behind it they stay below 2^53. */
export const MAX_WHOLE_DIGITS = 7;

/**
 * Reads as many plain numbers, each directly followed by a comma and at most one space, as there are, into `out`
 * from `base` + the walk's index on: the fast way for FP32. Stops, with the walk in order, before anything else.
 *
 * Written for V8: constants are literals, nothing is called in the loop, and blocks of four digits are computed
 * without branches, which each change of a number's length would mislead:
 * - `block`, the first digit highest, has its bytes XORed with 0x30, so that digits become their values.
 * - Adding 0x76 sets the high bit of every byte that is no digit (`others`); the zeros above the first, by eight, count
 *   the digits. A byte above 0x7f may carry into the digit before it and hide it, which ends the run one byte early.
 * - Shifted right the digits end the block and zeros begin it. Times 266 (10 + 2^8) each pair is a number in every other
 *   byte, times 65636 (100 + 2^16) both are one number in the upper half.
 */
export function readFloat32Run(
  walk: JsonArrayWalk,
  view: DataView,
  out: Float32Array,
  base: number,
  stop: number,
): void {
  const { bytes, end } = walk.text;
  const last = Math.min(stop, end - RUN_MARGIN_BYTES);
  const exactPowers = EXACT_POWERS;
  const powers = POWERS;
  const leastPower = MIN_POWER;
  const greatestPower = MAX_POWER;
  const bracket = BRACKET;
  const maxWholeDigits = MAX_WHOLE_DIGITS;
  let pos = walk.pos;
  let slot = base + walk.index;
  const enough = base + Math.min(walk.target.count, walk.index + RUN_ELEMENTS);
  let c = bytes[pos]!;
  while (pos < last && slot < enough) {
    let at = pos;
    const negative = c === 0x2d;
    if (negative) c = bytes[++at]!;
    let whole = c - 0x30;
    if (whole >>> 0 > 9) break;
    c = bytes[++at]!;
    if (c !== 0x2e && c >= 0x30 && c <= 0x39) {
      if (whole === 0) break;
      const limit = at + maxWholeDigits;
      do {
        whole = (Math.imul(whole, 10) + (c - 0x30)) | 0;
        c = bytes[++at]!;
      } while (c >= 0x30 && c <= 0x39 && at < limit);
      if (at === limit) break;
    }
    // The number is mantissa · 10^−scale.
    let mantissa = whole;
    let scale = 0;
    let block = 0;
    let others = 0;
    let digits = 0;
    if (c === 0x2e) {
      block = view.getInt32(++at) ^ 0x30303030;
      others = ((block + 0x76767676) | block) & 0x80808080;
      if (others === 0) {
        mantissa = whole * 10_000 + (Math.imul((Math.imul(block, 266) >>> 8) & 0x00ff00ff, 65636) >>> 16);
        block = view.getInt32(at + 4) ^ 0x30303030;
        others = ((block + 0x76767676) | block) & 0x80808080;
        scale = 4;
      }
      digits = Math.clz32(others) >> 3;
      if (digits !== 0) {
        block >>>= -8 * digits;
        block = Math.imul((Math.imul(block, 266) >>> 8) & 0x00ff00ff, 65636) >>> 16;
        mantissa = mantissa * exactPowers[digits]! + block;
        scale += digits;
      } else if (scale === 0) break;
      at += scale;
      c = bytes[at]!;
    }
    let value: number;
    // At most fifteen digits so far.
    if (c === 0x2c) value = mantissa / exactPowers[scale]!;
    else {
      if (c >= 0x30 && c <= 0x39) {
        block = view.getInt32(at) ^ 0x30303030;
        others = ((block + 0x76767676) | block) & 0x80808080;
        while (others === 0 && scale < 20) {
          block = Math.imul((Math.imul(block, 266) >>> 8) & 0x00ff00ff, 65636) >>> 16;
          mantissa = mantissa * 10_000 + block;
          scale += 4;
          at += 4;
          block = view.getInt32(at) ^ 0x30303030;
          others = ((block + 0x76767676) | block) & 0x80808080;
        }
        digits = Math.clz32(others) >> 3;
        // In two shifts, since one by 32 would do nothing.
        block = (block >>> (16 - 4 * digits)) >>> (16 - 4 * digits);
        block = Math.imul((Math.imul(block, 266) >>> 8) & 0x00ff00ff, 65636) >>> 16;
        mantissa = mantissa * exactPowers[digits]! + block;
        scale += digits;
        at += digits;
        c = bytes[at]!;
        if (c >= 0x30 && c <= 0x39) break;
      }
      if (c !== 0x2c && (c | 0x20) === 0x65) {
        c = bytes[++at]!;
        const down = c === 0x2d;
        if (down || c === 0x2b) c = bytes[++at]!;
        let power = c - 0x30;
        if (power < 0 || power > 9) break;
        c = bytes[++at]!;
        for (let more = 0; more < 2 && c >= 0x30 && c <= 0x39; more++) {
          power = power * 10 + (c - 0x30);
          c = bytes[++at]!;
        }
        if (c >= 0x30 && c <= 0x39) break;
        scale = down ? scale + power : scale - power;
      }
      if (mantissa < 9007199254740992 && scale >>> 0 <= 22) value = mantissa / exactPowers[scale]!;
      else if (-scale >= leastPower && -scale <= greatestPower) {
        // See BRACKET.
        const middle = mantissa * powers[-scale - leastPower]!;
        value = Math.fround(middle - middle * bracket);
        if (value !== Math.fround(middle + middle * bracket) || value === Number.POSITIVE_INFINITY) break;
      } else break;
    }
    out[slot] = negative ? -value : value;
    slot++;
    if (c !== 0x2c) {
      walk.pauseAfterElement(at, slot - base);
      return;
    }
    pos = at + 1;
    c = bytes[pos]!;
    if (c === 0x20) c = bytes[++pos]!;
  }
  if (slot - base > walk.index) walk.pauseAfterComma(pos, slot - base);
}
