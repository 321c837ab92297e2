import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CostEstimate } from '../../../src/batching/cost.ts';
import { type Random, seededRandom } from '../../../src/random.ts';

const ROW_BYTES = 100;

/** 6 ms whatever the size, and a quarter more for each row: what a model bound by memory looks like. */
const trueMs = (rows: number): number => 6 + 0.25 * rows;

/** A standard normal deviate (Box and Muller). */
function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Observes runs of random sizes from 1 to 64 rows, with what `disturb` makes of their times. */
function live(cost: CostEstimate, runs: number, disturb: (ms: number, random: Random, run: number) => number): void {
  const random = seededRandom(7);
  for (let run = 0; run < runs; run++) {
    const rows = Math.ceil(64 * random() ** 2) || 1;
    cost.observe(rows, rows * ROW_BYTES, disturb(trueMs(rows), random, run));
  }
}

/** The largest relative error of the curve at sizes from 1 to 64. */
function worstError(cost: CostEstimate, truth: (rows: number) => number = trueMs): number {
  let worst = 0;
  for (let rows = 1; rows <= 64; rows++) {
    worst = Math.max(worst, Math.abs(cost.expectedMs(rows)! / truth(rows) - 1));
  }
  return worst;
}

function assertRises(cost: CostEstimate): void {
  for (let rows = 2; rows <= 200; rows++) {
    assert.ok(cost.expectedMs(rows)! >= cost.expectedMs(rows - 1)!, `T(${rows}) is less than T(${rows - 1})`);
  }
}

describe('the cost curve', () => {
  it('knows nothing before the first run', () => {
    const cost = new CostEstimate();
    assert.equal(cost.upperMs(8, 100), 0);
    assert.equal(cost.leastMsPerRow(), 0);
    assert.equal(cost.expectedMs(4), undefined);
    assert.deepEqual(cost.lanes(), []);
  });

  it('expects nothing of sizes of which only one, or only such of nearly that size, have been seen', () => {
    const cost = new CostEstimate();
    for (let i = 0; i < 100; i++) cost.observe(50 + (i % 20), 100 * (50 + (i % 20)), 20 + i / 10);
    assert.equal(cost.expectedMs(8), undefined);
    cost.observe(4, 400, 7);
    assert.notEqual(cost.expectedMs(8), undefined);
  });

  it('lies on the line between sizes seen, and beyond them goes on in the same direction', () => {
    const cost = new CostEstimate();
    cost.observe(1, 100, 7);
    cost.observe(8, 800, 14);
    cost.observe(32, 3200, 20);
    assert.deepEqual(
      [1, 4, 8, 20, 32, 64].map((rows) => cost.expectedMs(rows)),
      [7, 10, 14, 17, 20, 28],
    );
  });

  it('expects of fewer rows than seen no more than of those, and no less than their share', () => {
    const cost = new CostEstimate();
    cost.observe(16, 1600, 10);
    cost.observe(64, 6400, 52);
    // The line through both would be below 0 here.
    assert.equal(cost.expectedMs(1), 10 / 16);
  });

  it('is right within 5 % under 5 % of noise', () => {
    const cost = new CostEstimate();
    live(cost, 2000, (ms, random) => ms * (1 + 0.05 * normal(random)));
    assert.ok(worstError(cost) < 0.05, String(worstError(cost)));
    assertRises(cost);
  });

  it('is right within 8 % when one run of ten is paused for 5 to 100 ms', () => {
    const cost = new CostEstimate();
    live(cost, 2000, (ms, random) => ms * (1 + 0.03 * normal(random)) + (random() < 0.1 ? 5 + 95 * random() : 0));
    assert.ok(worstError(cost) < 0.08, String(worstError(cost)));
    assertRises(cost);
  });

  it('is right within 10 % when a quota stops the process for 60 ms of each 100 ms of its work, now and then', () => {
    const cost = new CostEstimate();
    let usedMs = 0;
    live(cost, 4000, (ms, _random, run) => {
      usedMs += ms;
      const isThrottled = Math.floor(run / 200) % 2 === 0;
      if (!isThrottled || usedMs < 100) return ms;
      usedMs = 0;
      return ms + 60;
    });
    assert.ok(worstError(cost) < 0.1, String(worstError(cost)));
  });

  it('follows a change of all sizes within some runs of each', () => {
    const cost = new CostEstimate();
    live(cost, 2000, (ms) => ms);
    const { revision } = cost;
    live(cost, 2000, (ms) => 2 * ms);
    assert.ok(worstError(cost, (rows) => 2 * trueMs(rows)) < 0.02);
    assert.ok(cost.revision > revision);
    for (let i = 0; i < 20; i++) cost.observe(1, 100, 3);
    assert.equal(cost.expectedMs(1), 3);
  });

  it('has a revision that stands still while nothing changes', () => {
    const cost = new CostEstimate();
    live(cost, 2000, (ms) => ms);
    const { revision } = cost;
    live(cost, 2000, (ms, random) => ms * (1 + 0.01 * random()));
    assert.equal(cost.revision, revision);
  });

  it('never expects less of more rows, even where that was measured', () => {
    const cost = new CostEstimate();
    for (let i = 0; i < 16; i++)
      for (const [rows, ms] of [
        [1, 10],
        [2, 8],
        [4, 9],
        [8, 30],
      ] as const) {
        cost.observe(rows, rows * ROW_BYTES, ms);
      }
    assertRises(cost);
    assert.deepEqual(
      [1, 2, 4, 8].map((rows) => cost.expectedMs(rows)),
      [9, 9, 9, 30],
    );
    assert.deepEqual(
      cost
        .lanes()[0]!
        .points()
        .map(({ ms }) => ms),
      [10, 8, 9, 30],
    );
  });

  it('believes a probe until there are live runs of that size', () => {
    const cost = new CostEstimate();
    cost.assume([
      { rows: 1, bytes: 100, ms: 50 },
      { rows: 8, bytes: 800, ms: 60 },
    ]);
    assert.deepEqual([cost.expectedMs(1), cost.expectedMs(8), cost.liveRuns], [50, 60, 0]);
    for (let i = 0; i < 3; i++) cost.observe(1, 100, 5);
    assert.deepEqual([cost.expectedMs(1), cost.expectedMs(8), cost.liveRuns], [5, 60, 3]);
    cost.assume([{ rows: 1, bytes: 100, ms: 50 }]);
    assert.equal(cost.expectedMs(1), 5);
    assert.deepEqual(
      cost
        .lanes()[0]!
        .points()
        .map(({ rows, runs }) => [rows, runs]),
      [
        [1, 3],
        [8, 0],
      ],
    );
  });

  it('has a curve for rows of each size, and speaks of the rows that most runs have', () => {
    const cost = new CostEstimate();
    for (let i = 0; i < 20; i++) for (const rows of [1, 4, 16]) cost.observe(rows, rows * 1000, 10 * rows);
    for (let i = 0; i < 40; i++) for (const rows of [1, 4, 16]) cost.observe(rows, rows * 100, rows);
    assert.equal(cost.expectedMs(4), 4);
    assert.equal(cost.expectedMs(4, 400), 4);
    assert.equal(cost.expectedMs(4, 4000), 40);
    assert.deepEqual(
      cost.lanes().map(({ rowBytes }) => rowBytes),
      [100, 1000],
    );
    for (let i = 0; i < 2000; i++) cost.observe(8, 8000, 80);
    assert.equal(cost.expectedMs(4), 40);
  });

  it('takes over from other rows how the time grows, where too little is known of some', () => {
    const cost = new CostEstimate();
    cost.assume([
      { rows: 1, bytes: 100, ms: 10 },
      { rows: 8, bytes: 800, ms: 20 },
    ]);
    for (let i = 0; i < 10; i++) cost.observe(1, 5000, 30);
    assert.deepEqual([cost.expectedMs(1), cost.expectedMs(8)], [30, 60]);
  });

  it('keeps a bounded number of curves whatever sizes rows have', () => {
    const cost = new CostEstimate();
    const random = seededRandom(3);
    for (let i = 0; i < 5000; i++) cost.observe(1 + (i % 7), Math.exp(30 * random()), 1);
    assert.ok(cost.lanes().length <= 12, String(cost.lanes().length));
  });

  it('takes the dearest view of what has been seen as the upper bound, and the cheapest row as the lower', () => {
    const cost = new CostEstimate();
    cost.observe(1, 100, 5);
    cost.observe(64, 6400, 64);
    assert.equal(cost.leastMsPerRow(), 1);
    assert.equal(cost.upperMs(64, 6400), 320);
    assert.equal(cost.upperMs(4, 4000), 200);
  });

  it('has an upper bound that a single pause does not move, but regular slow runs do', () => {
    const cost = new CostEstimate();
    for (let i = 0; i < 40; i++) cost.observe(8, 800, i === 35 ? 1000 : 8);
    assert.equal(cost.upperMs(8, 800), 8);
    for (let i = 0; i < 40; i++) cost.observe(8, 800, i % 5 === 0 ? 40 : 8);
    assert.equal(cost.upperMs(8, 800), 40);
    assert.equal(cost.leastMsPerRow(), 1);
  });

  it('copes with inputs of no bytes', () => {
    const cost = new CostEstimate();
    cost.observe(1, 0, 2);
    assert.equal(cost.upperMs(1, 0), 2);
    assert.ok(Number.isFinite(cost.upperMs(1, 1000)));
  });

  it('takes sizes up to the largest integer', () => {
    const cost = new CostEstimate();
    for (let rows = 1; rows < 2 ** 31; rows *= 2) cost.observe(rows, rows, rows);
    assert.equal(cost.expectedMs(2 ** 30), 2 ** 30);
    assert.equal(cost.expectedMs(3 * 2 ** 20), 3 * 2 ** 20);
  });
});
