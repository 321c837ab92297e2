import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Rejoin } from '../../../src/batching/rejoin.ts';

/** The cost of a run that has so much to do whatever its size, and so much per row. */
function affine(fixedMs: number, perRowMs: number): (rows: number) => number {
  return (rows) => fixedMs + perRowMs * rows;
}

const memoryBound = { maxRows: 128, expectedMs: affine(6, 0.27) };
const cheap = { maxRows: 128, expectedMs: affine(0.03, 0.01) };

describe('collecting answered callers', () => {
  it('is worth it where a run costs much whatever its size, for groups that take turns and for one that comes apart', () => {
    assert.equal(new Rejoin().decide({ ...memoryBound, waiting: 32, answered: 32 }), true);
    assert.equal(new Rejoin().decide({ ...memoryBound, waiting: 0, answered: 64 }), true);
  });

  it('is not worth it for cheap runs, few rows, rows that do not fit together, or an unknown cost', () => {
    assert.equal(new Rejoin().decide({ ...cheap, waiting: 32, answered: 32 }), false);
    assert.equal(new Rejoin().decide({ ...memoryBound, waiting: 0, answered: 1 }), false);
    assert.equal(new Rejoin().decide({ ...memoryBound, waiting: 100, answered: 64 }), false);
    assert.equal(new Rejoin().decide({ maxRows: 128, expectedMs: () => undefined, waiting: 32, answered: 32 }), false);
  });

  it('ends when callers do not come back, and is tried again now and then', () => {
    const rejoin = new Rejoin();
    for (let i = 0; i < 10; i++) rejoin.observe(32, 0, 1.6);
    const decisions = Array.from({ length: 64 }, () => rejoin.decide({ ...memoryBound, waiting: 32, answered: 32 }));
    assert.equal(decisions.filter(Boolean).length, 2);
  });

  it('ends when it takes longer than it saves', () => {
    const rejoin = new Rejoin();
    for (let i = 0; i < 20; i++) rejoin.observe(32, 32, 12);
    assert.equal(rejoin.decide({ ...memoryBound, waiting: 32, answered: 32 }), false);
  });
});
