import { EXACT_POWERS, FINE_BRACKET, MIN_POWER, POWERS, POWERS_REST } from './decimal.ts';
import type { JsonArrayWalk } from './json-array.ts';
import { MAX_WHOLE_DIGITS, RUN_ELEMENTS, RUN_MARGIN_BYTES } from './json-float32-run.ts';

/**
 * Reads as many plain numbers, each directly followed by a comma and at most one space, as there are, into `out`
 * from `base` + the walk's index on: the fast way for FP64. Stops, with the walk in order, before anything else.
 *
 * `readFloat32Run` says how the digits are read and why so.
 */
export function readFloat64Run(
  walk: JsonArrayWalk,
  view: DataView,
  out: Float64Array,
  base: number,
  stop: number,
): void {
  const { bytes, end } = walk.text;
  const last = Math.min(stop, end - RUN_MARGIN_BYTES);
  const exactPowers = EXACT_POWERS;
  const maxWholeDigits = MAX_WHOLE_DIGITS;
  const highs = POWERS;
  const lows = POWERS_REST;
  const leastPower = MIN_POWER;
  const fineBracket = FINE_BRACKET;
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
    // The number is (first · 10^count + second) · 10^−scale; both parts are exact.
    let first = whole;
    let second = 0;
    let count = 0;
    let scale = 0;
    let block = 0;
    let others = 0;
    let digits = 0;
    if (c === 0x2e) {
      block = view.getInt32(++at) ^ 0x30303030;
      others = ((block + 0x76767676) | block) & 0x80808080;
      if (others === 0) {
        first = whole * 10_000 + (Math.imul((Math.imul(block, 266) >>> 8) & 0x00ff00ff, 65636) >>> 16);
        block = view.getInt32(at + 4) ^ 0x30303030;
        others = ((block + 0x76767676) | block) & 0x80808080;
        scale = 4;
      }
      digits = Math.clz32(others) >> 3;
      if (digits !== 0) {
        block >>>= -8 * digits;
        block = Math.imul((Math.imul(block, 266) >>> 8) & 0x00ff00ff, 65636) >>> 16;
        first = first * exactPowers[digits]! + block;
        scale += digits;
      } else if (scale === 0) break;
      at += scale;
      c = bytes[at]!;
    }
    let value: number;
    // At most fifteen digits so far.
    if (c === 0x2c) value = first / exactPowers[scale]!;
    else {
      if (c >= 0x30 && c <= 0x39) {
        block = view.getInt32(at) ^ 0x30303030;
        others = ((block + 0x76767676) | block) & 0x80808080;
        while (others === 0 && scale < 16) {
          block = Math.imul((Math.imul(block, 266) >>> 8) & 0x00ff00ff, 65636) >>> 16;
          second = second * 10_000 + block;
          scale += 4;
          at += 4;
          block = view.getInt32(at) ^ 0x30303030;
          others = ((block + 0x76767676) | block) & 0x80808080;
        }
        digits = Math.clz32(others) >> 3;
        // In two shifts, since one by 32 would do nothing.
        block = (block >>> (16 - 4 * digits)) >>> (16 - 4 * digits);
        block = Math.imul((Math.imul(block, 266) >>> 8) & 0x00ff00ff, 65636) >>> 16;
        second = second * exactPowers[digits]! + block;
        scale += digits;
        count = scale - 8;
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
      const mantissa = first * exactPowers[count]! + second;
      if (mantissa < 9007199254740992 && scale >>> 0 <= 22) value = mantissa / exactPowers[scale]!;
      else {
        // As `bracketFloat64`, but here zeros may begin the digits, so that the second part may weigh more.
        const power = count - scale - leastPower;
        if (scale > 250 || count - scale > 250) break;
        const factor = highs[power]!;
        const high = first * factor;
        const firstSplit = 134217729 * first;
        const firstHigh = firstSplit - (firstSplit - first);
        const firstLow = first - firstHigh;
        const factorSplit = 134217729 * factor;
        const factorHigh = factorSplit - (factorSplit - factor);
        const factorLow = factor - factorHigh;
        const rest =
          firstLow * factorLow - (high - firstHigh * factorHigh - firstLow * factorHigh - firstHigh * factorLow);
        const tail = second * highs[power - count]!;
        const low = rest + first * lows[power]! + tail;
        const error = high * fineBracket + tail * 2 ** -50;
        value = high + (low - error);
        if (value !== high + (low + error)) break;
      }
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
