import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { estimateMedian, median, mulberry32, pairwise, pairwiseRatio, quantile } from '../../../bench/statistics.ts';

describe('quantile', () => {
  it('is the middle value of an odd count, in any order', () => {
    assert.equal(median([3, 1, 2]), 2);
  });

  it('is the mean of the middle values of an even count', () => {
    assert.equal(median([4, 1, 3, 2]), 2.5);
  });

  it('lies between neighbours by straight line', () => {
    assert.equal(quantile([0, 10], 0.25), 2.5);
    assert.equal(quantile([10, 20, 30, 40, 50], 0.9), 46);
  });

  it('reaches from the smallest to the largest', () => {
    assert.equal(quantile([5, 1, 3], 0), 1);
    assert.equal(quantile([5, 1, 3], 1), 5);
  });

  it('is NaN for no values', () => {
    assert.equal(median([]), Number.NaN);
  });

  it('leaves its argument as it was', () => {
    const values = [3, 1, 2];
    median(values);
    assert.deepEqual(values, [3, 1, 2]);
  });
});

describe('estimateMedian', () => {
  it('has no width when all pairs agree', () => {
    assert.deepEqual(estimateMedian([0.8, 0.8, 0.8]), { median: 0.8, low: 0.8, high: 0.8 });
  });

  it('gives the same interval for the same values', () => {
    const values = [0.7, 0.9, 0.8, 0.85, 0.75, 0.95, 0.72];
    assert.deepEqual(estimateMedian(values), estimateMedian(values));
  });

  it('does not follow one wild pair', () => {
    const { median: middle, high } = estimateMedian([1, 1.01, 0.99, 1.02, 0.98, 1.005, 50]);
    assert.equal(middle, 1.005);
    assert.ok(high < 50, `${high} should leave the wild pair out`);
  });

  it('holds the true median in about 95 of 100 experiments', () => {
    const random = mulberry32(7);
    let held = 0;
    for (let experiment = 0; experiment < 100; experiment++) {
      // Of a uniform distribution from 0 to 1 the median is 0.5.
      const { low, high } = estimateMedian(Array.from({ length: 15 }, random));
      if (low <= 0.5 && 0.5 <= high) held++;
    }
    assert.ok(held > 88 && held < 100, `held in ${held} of 100`);
  });

  it('becomes narrower with more pairs', () => {
    const random = mulberry32(3);
    const many = Array.from({ length: 101 }, random);
    const width = ({ low, high }: { low: number; high: number }): number => high - low;
    assert.ok(width(estimateMedian(many)) < width(estimateMedian(many.slice(0, 7))));
  });
});

describe('pairs', () => {
  it('are divided one by one', () => {
    assert.deepEqual(pairwiseRatio([2, 9], [1, 3]), [2, 3]);
  });

  it('cancel a slowdown that both sides met', () => {
    const slow = [1, 0.5, 0.25];
    const ratios = pairwiseRatio(
      slow.map((s) => 300 * s),
      slow.map((s) => 100 * s),
    );
    assert.deepEqual(ratios, [3, 3, 3]);
  });

  it('are refused when one side has more', () => {
    assert.throws(() => pairwise([1], [1, 2], (a, b) => a - b), RangeError);
  });
});
