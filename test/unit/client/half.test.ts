import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fromHalf, toHalf } from '../../../src/client/half.ts';

describe('half precision', () => {
  it('every bit pattern is a number, and the number has that pattern', () => {
    const all = Uint16Array.from({ length: 65_536 }, (_, i) => i);
    const back = toHalf(fromHalf(all));
    for (const bits of all) {
      const isNone = (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0;
      assert.equal(back[bits], isNone ? 0x7e00 : bits);
    }
  });

  it('numbers become the nearest, ties the even one, the largest infinity', () => {
    const cases: readonly (readonly [number, number])[] = [
      [0, 0],
      [-0, 0x8000],
      [1, 0x3c00],
      [-2, 0xc000],
      [65_504, 0x7bff],
      [65_519.99, 0x7bff],
      [65_520, 0x7c00],
      [-1e300, 0xfc00],
      [Number.POSITIVE_INFINITY, 0x7c00],
      [2 ** -24, 1],
      [2 ** -25, 0],
      [1.5 * 2 ** -24, 2],
      [2 ** -25 + 2 ** -60, 1],
      [2 ** -14, 0x400],
      [1 + 2 ** -11, 0x3c00],
      [1 + 3 * 2 ** -11, 0x3c02],
      // Rounding to a float first would end at the tie, and then at the even neighbour.
      [1 + 2 ** -11 + 2 ** -40, 0x3c01],
      [2 - 2 ** -30, 0x4000],
    ];
    for (const [value, bits] of cases) assert.equal(toHalf([value])[0], bits, `${value}`);
    assert.ok(Number.isNaN(fromHalf(toHalf([Number.NaN]))[0]));
  });
});
