import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { add, countOf, difference, quantileBound, readHistogram } from '../../../bench/scrape.ts';

/** A scrape with a histogram of buckets 1, 2, 5 and +Inf, given as cumulated counts. */
function scrapeOf(counts: readonly number[], sum: number, labels = ''): string {
  const prefix = labels === '' ? '' : `${labels},`;
  const lines = ['1', '2', '5', '+Inf'].map((le, i) => `delay_seconds_bucket{${prefix}le="${le}"} ${counts[i]}`);
  lines.push(`delay_seconds_sum{${labels}} ${sum}`, `delay_seconds_count{${labels}} ${counts.at(-1)}`);
  return ['# TYPE delay_seconds histogram', ...lines, 'delay_seconds_other_bucket{le="1"} 99', ''].join('\n');
}

describe('readHistogram', () => {
  it('reads buckets and sum, and nothing of a metric with a longer name', () => {
    const { cumulative, sum } = readHistogram(scrapeOf([1, 3, 4, 4], 6.5), 'delay_seconds');
    assert.deepEqual(
      [...cumulative],
      [
        [1, 1],
        [2, 3],
        [5, 4],
        [Number.POSITIVE_INFINITY, 4],
      ],
    );
    assert.equal(sum, 6.5);
  });

  it('joins label sets', () => {
    const text = scrapeOf([1, 1, 1, 1], 1, 'model="a"') + scrapeOf([0, 2, 2, 3], 20, 'model="b"');
    const histogram = readHistogram(text, 'delay_seconds');
    assert.equal(countOf(histogram), 4);
    assert.equal(histogram.sum, 21);
  });
});

describe('histograms', () => {
  const before = readHistogram(scrapeOf([10, 10, 10, 10], 5), 'delay_seconds');
  const after = readHistogram(scrapeOf([108, 109, 110, 110], 60), 'delay_seconds');

  it('have a difference: what was observed in between', () => {
    const between = difference(before, after);
    assert.equal(countOf(between), 100);
    assert.equal(between.sum, 55);
  });

  it('add up', () => {
    const sum = add(before, after);
    assert.equal(countOf(sum), 120);
    assert.equal(sum.sum, 65);
  });

  it('bound a quantile by the bucket that holds it', () => {
    const between = difference(before, after);
    assert.equal(quantileBound(between, 0.98), 1);
    assert.equal(quantileBound(between, 0.99), 2);
    assert.equal(quantileBound(between, 1), 5);
  });

  it('have no quantile when nothing was observed', () => {
    assert.equal(quantileBound(difference(before, before), 0.99), Number.NaN);
  });
});
