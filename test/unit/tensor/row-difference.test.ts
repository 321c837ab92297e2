import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compareRow, hasInformation } from '../../../src/tensor/row-difference.ts';
import { makeTensor } from '../../../src/tensor/typed.ts';
import {
  addVerdict,
  describeInfluence,
  type OutputVerdict,
  unknownOutput,
  worstOf,
} from '../../../src/tensor/verdict.ts';

const fp32 = (shape: readonly number[], ...values: number[]) => makeTensor('FP32', shape, Float32Array.from(values));
const fp64 = (...values: number[]) => makeTensor('FP64', [1, values.length], Float64Array.from(values));
const fp16 = (...bits: number[]) => makeTensor('FP16', [1, bits.length], Uint16Array.from(bits));

describe('a row compared with the same row alone', () => {
  it('is bit-exact, or differs by rounding, or is another', () => {
    const alone = fp32([1, 2], 1, 100);
    const together = (a: number, b: number) => fp32([2, 2], 0, 0, a, b);
    assert.equal(compareRow(alone, together(1, 100), 0, 1).verdict, 'bit-exact');
    assert.equal(compareRow(alone, together(1, 100), 0, 0).verdict, 'leaking');
    const near = compareRow(alone, together(1 + 2 ** -22, 100), 0, 1);
    assert.deepEqual(near, { verdict: 'rounding', largest: 2 ** -22, ulps: 2 });
    // Rounding is measured by the row's largest value.
    assert.equal(compareRow(alone, together(1.005, 100), 0, 1).verdict, 'rounding');
    assert.equal(compareRow(alone, together(1.02, 100), 0, 1).verdict, 'leaking');
    assert.equal(compareRow(alone, together(Number.NaN, 100), 0, 1).verdict, 'leaking');
    assert.equal(compareRow(alone, together(Number.POSITIVE_INFINITY, 100), 0, 1).verdict, 'leaking');
  });

  it('counts the steps between two numbers, across zero, too', () => {
    assert.equal(compareRow(fp32([1, 2], 2 ** -149, 1), fp32([1, 2], -(2 ** -149), 1), 0, 0).ulps, 2);
    assert.equal(compareRow(fp32([1, 2], 0, 1), fp32([1, 2], -0, 1), 0, 0).ulps, 0);
    assert.equal(compareRow(fp64(1, 5), fp64(1 + 2 ** -52, 5), 0, 0).ulps, 1);
    assert.equal(compareRow(fp64(2 ** 52 + 1), fp64(2 ** 52), 0, 0).ulps, 1);
    // 1 and the next half, 1 + 2^-10.
    assert.deepEqual(compareRow(fp16(0x3c00), fp16(0x3c01), 0, 0), { verdict: 'rounding', largest: 2 ** -10, ulps: 1 });
  });

  it('takes a NaN of other bits for the same answer, and no rounding for integers and strings', () => {
    const nan = (bits: number) => ({
      datatype: 'FP32' as const,
      shape: [1, 1],
      bytes: new Uint8Array(Uint32Array.of(bits).buffer),
    });
    assert.equal(compareRow(nan(0x7fc00000), nan(0x7fc00001), 0, 0).verdict, 'rounding');
    const int = (v: number) => makeTensor('INT64', [1], BigInt64Array.of(BigInt(v)));
    assert.equal(compareRow(int(1_000_000), int(1_000_001), 0, 0).verdict, 'leaking');
    assert.equal(
      compareRow(makeTensor('BYTES', [1], ['a']), makeTensor('BYTES', [2], ['b', 'a']), 0, 1).verdict,
      'bit-exact',
    );
  });

  it('says something only where there is a number', () => {
    assert.ok(hasInformation(fp32([1, 2], Number.NaN, 0)));
    assert.ok(!hasInformation(fp32([1, 2], Number.NaN, Number.POSITIVE_INFINITY)));
    assert.ok(!hasInformation(fp32([1, 0])));
    assert.ok(hasInformation(makeTensor('BOOL', [1], Uint8Array.of(0))));
  });
});

describe('verdicts', () => {
  it('add up: the unknown becomes known, and otherwise the worse one stays', () => {
    const of = (verdict: OutputVerdict['verdict'], largestDifference = 0): OutputVerdict => ({
      name: 'y',
      verdict,
      largestDifference,
      largestUlps: 0,
    });
    assert.equal(addVerdict(unknownOutput({ name: 'y' }), of('bit-exact')).verdict, 'bit-exact');
    assert.deepEqual(addVerdict(of('rounding', 3), of('bit-exact')), of('rounding', 3));
    assert.deepEqual(addVerdict(of('bit-exact'), of('rounding', 3)), of('rounding', 3));
    assert.equal(addVerdict(of('leaking'), of('bit-exact')).verdict, 'leaking');
    assert.equal(worstOf(['bit-exact', 'unknown', 'rounding']), 'unknown');
    assert.equal(worstOf(['unknown', 'leaking']), 'leaking');
    assert.equal(worstOf([]), 'unknown');
    assert.match(
      describeInfluence([of('leaking'), { ...of('leaking'), name: 'z' }]),
      /outputs 'y', 'z' of a row change/,
    );
  });
});
