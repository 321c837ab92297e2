import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CostEstimate } from '../../../src/batching/cost.ts';

describe('cost estimate', () => {
  it('knows nothing before the first run', () => {
    const cost = new CostEstimate();
    assert.equal(cost.upperMs(8, 100), 0);
    assert.equal(cost.leastMsPerRow(), 0);
  });

  it('expects of a size it has seen what that took, and more of larger ones', () => {
    const cost = new CostEstimate();
    cost.observe(4, 400, 10);
    assert.equal(cost.upperMs(4, 400), 10);
    assert.equal(cost.upperMs(1, 100), 10);
    assert.equal(cost.upperMs(8, 800), 20);
    assert.equal(cost.upperMs(4, 4000), 100);
  });

  it('takes the dearest view of what has been seen as the upper bound, and the cheapest row as the lower', () => {
    const cost = new CostEstimate();
    cost.observe(1, 100, 5);
    cost.observe(64, 6400, 64);
    assert.equal(cost.leastMsPerRow(), 1);
    assert.equal(cost.upperMs(64, 6400), 320);
  });

  it('follows a change within some runs, and a single outlier only in part', () => {
    const cost = new CostEstimate();
    for (let i = 0; i < 20; i++) cost.observe(8, 800, 8);
    cost.observe(8, 800, 108);
    assert.equal(cost.upperMs(8, 800), 28);
    for (let i = 0; i < 60; i++) cost.observe(8, 800, 16);
    assert.ok(Math.abs(cost.leastMsPerRow() - 2) < 0.01, String(cost.leastMsPerRow()));
  });

  it('counts runs of 2^i to 2^(i+1) − 1 rows together', () => {
    const cost = new CostEstimate();
    cost.observe(4, 4, 4);
    cost.observe(7, 7, 9);
    // A fifth of the way from the first to the second.
    assert.ok(Math.abs(cost.upperMs(4, 4) - 5) < 1e-9);
  });

  it('copes with inputs of no bytes', () => {
    const cost = new CostEstimate();
    cost.observe(1, 0, 2);
    assert.equal(cost.upperMs(1, 0), 2);
    assert.ok(Number.isFinite(cost.upperMs(1, 1000)));
  });
});
