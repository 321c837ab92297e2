import { SMALL_POWERS } from './decimal.ts';
import type { JsonArrayWalk } from './json-array.ts';
import { RUN_ELEMENTS, RUN_MARGIN_BYTES } from './json-float32-run.ts';
import type { TensorMemory } from './memory.ts';

/**
 * Reads as many integers of up to eight digits, each directly followed by a comma and at most one space, as there are:
 * the fast way for all integer datatypes. Stops, with the walk in order, before anything else.
 * See `readFloat32Run` for how it is written and why.
 *
 * @param size bytes per element.
 * @param base where the tensor begins, in elements; in words of 32 bits where an element has two.
 * @param least, greatest the datatype's range.
 */
export function readIntegerRun(
  walk: JsonArrayWalk,
  view: DataView,
  memory: TensorMemory,
  size: number,
  base: number,
  least: number,
  greatest: number,
  stop: number,
): void {
  const { bytes, end } = walk.text;
  const last = Math.min(stop, end - RUN_MARGIN_BYTES);
  const enough = Math.min(walk.target.count, walk.index + RUN_ELEMENTS);
  const { int8, int16, int32 } = memory;
  const smallPowers = SMALL_POWERS;
  let pos = walk.pos;
  let index = walk.index;
  let c = bytes[pos]!;
  while (pos < last && index < enough) {
    let at = pos;
    const negative = c === 0x2d;
    if (negative) at++;
    let block = view.getInt32(at) ^ 0x30303030;
    let others = ((block + 0x76767676) | block) & 0x80808080;
    let digits = Math.clz32(others) >> 3;
    // No digits, or more than one of which the first is 0.
    if (digits === 0 || (((block >>> 24) - 1) & (1 - digits)) < 0) break;
    block >>>= -8 * digits;
    let value = Math.imul((Math.imul(block, 266) >>> 8) & 0x00ff00ff, 65636) >>> 16;
    at += digits;
    if (digits === 4) {
      block = view.getInt32(at) ^ 0x30303030;
      others = ((block + 0x76767676) | block) & 0x80808080;
      digits = Math.clz32(others) >> 3;
      block = (block >>> (16 - 4 * digits)) >>> (16 - 4 * digits);
      block = Math.imul((Math.imul(block, 266) >>> 8) & 0x00ff00ff, 65636) >>> 16;
      value = (Math.imul(value, smallPowers[digits]!) + block) | 0;
      at += digits;
    }
    c = bytes[at]!;
    // Also a ninth digit, a point or an exponent.
    if (c !== 0x2c && c !== 0x5d && c > 0x20) break;
    if (negative) value = -value | 0;
    if (value < least || value > greatest) break;
    if (size === 8) {
      int32[base + 2 * index] = value;
      int32[base + 2 * index + 1] = value >> 31;
    } else if (size === 4) int32[base + index] = value;
    else if (size === 2) int16[base + index] = value;
    else int8[base + index] = value;
    index++;
    if (c !== 0x2c) {
      walk.pauseAfterElement(at, index);
      return;
    }
    pos = at + 1;
    c = bytes[pos]!;
    if (c === 0x20) c = bytes[++pos]!;
  }
  if (index > walk.index) walk.pauseAfterComma(pos, index);
}
