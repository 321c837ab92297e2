import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { halfToNumber, numberToHalf } from '../../../src/tensor/float16.ts';

describe('half precision', () => {
  it('every value reads back as its own bits', () => {
    for (let bits = 0; bits < 65_536; bits++) {
      const value = halfToNumber(bits);
      if (Number.isNaN(value)) assert.equal(numberToHalf(value), 0x7e00);
      else assert.equal(numberToHalf(value), bits, `0x${bits.toString(16)} = ${value}`);
    }
  });

  it('has the values of the standard', () => {
    for (const [bits, value] of [
      [0x3c00, 1],
      [0xc000, -2],
      [0x7bff, 65504],
      [0x0400, 2 ** -14],
      [0x03ff, 1023 * 2 ** -24],
      [0x0001, 2 ** -24],
      [0x3555, 0.333251953125],
      [0x7c00, Number.POSITIVE_INFINITY],
      [0xfc00, Number.NEGATIVE_INFINITY],
      [0x8000, -0],
    ] as const) {
      assert.equal(halfToNumber(bits), value);
      assert.equal(numberToHalf(value), bits);
    }
  });

  it('rounds to the nearest, ties to even', () => {
    for (let bits = 0; bits < 0x7bff; bits++) {
      const below = halfToNumber(bits);
      const above = halfToNumber(bits + 1);
      const middle = (below + above) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      assert.equal(numberToHalf(middle), even);
      assert.equal(numberToHalf(-middle), 0x8000 | even);
      assert.equal(numberToHalf(middle * (1 - 2 ** -50)), bits);
      assert.equal(numberToHalf(middle * (1 + 2 ** -50)), bits + 1);
    }
    assert.equal(numberToHalf(65519.999), 0x7bff);
    assert.equal(numberToHalf(65520), 0x7c00);
    assert.equal(numberToHalf(1e300), 0x7c00);
    assert.equal(numberToHalf(2 ** -26), 0);
  });
});
