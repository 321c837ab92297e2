import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CheckSchedule } from '../../../src/serving/check-schedule.ts';
import { ProvenSizes } from '../../../src/serving/proven-sizes.ts';

/** A schedule for a model whose runs take a millisecond and one more for each 10 rows. */
function simulate(
  runs: number,
  rowsOf: (run: number) => number,
): { checked: number[]; spentMs: number; computeMs: number } {
  let computeMs = 0;
  let spentMs = 0;
  const checked: number[] = [];
  const schedule = new CheckSchedule({ rowMs: () => 1.1, computeMs: () => computeMs });
  for (let run = 0; run < runs; run++) {
    const rows = rowsOf(run);
    const isDue = schedule.isDue(rows);
    computeMs += 1 + rows / 10;
    if (!isDue) continue;
    checked.push(run);
    schedule.checked(rows, 1.1);
    spentMs += 1.1;
  }
  return { checked, spentMs, computeMs };
}

describe('the schedule of checks', () => {
  it('has the first run of each class of sizes checked, two more when there is time, and then few', () => {
    const { checked, spentMs, computeMs } = simulate(20_000, () => 16);
    assert.equal(checked[0], 0);
    assert.ok(checked[2]! < 200, `${checked}`);
    for (const [i, run] of checked.entries()) if (i >= 3) assert.ok(run - checked[i - 1]! >= 1000, `${checked}`);
    assert.ok(checked.length >= 15 && checked.length <= 25, `${checked.length} checks`);
    assert.ok(spentMs <= 0.01 * computeMs);
  });

  it('stays within 1 % of the compute but for the first of each class', () => {
    const sizes = [2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127];
    const { checked, spentMs, computeMs } = simulate(3000, (run) => sizes[(run * 7) % sizes.length]!);
    assert.deepEqual(
      new Set(checked.slice(0, 6).map((run) => Math.floor(Math.log2(sizes[(run * 7) % sizes.length]!)))).size,
      6,
    );
    assert.ok(spentMs <= 0.01 * computeMs + 6 * 1.1, `${spentMs} of ${computeMs}`);
  });

  it('looks at every place of a run, the last one first', () => {
    const schedule = new CheckSchedule({ rowMs: () => 1, computeMs: () => 0 });
    assert.equal(schedule.rowToCheck(8), 7);
    const places = new Set(Array.from({ length: 8 }, () => schedule.rowToCheck(8)));
    assert.deepEqual(
      [...places].sort((a, b) => a - b),
      [0, 1, 2, 3, 4, 5, 6, 7],
    );
  });

  it('tries sizes within a tenth of the compute', () => {
    let computeMs = 0;
    const schedule = new CheckSchedule({ rowMs: () => 1, computeMs: () => computeMs });
    assert.ok(schedule.mayProve(8));
    schedule.checked(undefined, 10);
    computeMs = 150;
    assert.ok(!schedule.mayProve(8));
    computeMs = 200;
    assert.ok(schedule.mayProve(8));
  });
});

describe('proven sizes', () => {
  it('are the only ones used; a larger one that could be is wanted', () => {
    const sizes = new ProvenSizes([1, 2, 3]);
    assert.equal(sizes.limit([1, 1, 1, 1, 1], 8), 3);
    assert.equal(sizes.wanted, 5);
    sizes.tried(5, true);
    assert.equal(sizes.wanted, undefined);
    assert.equal(sizes.limit([1, 1, 1, 1, 1], 8), 5);
    assert.equal(sizes.wanted, undefined);
    assert.deepEqual(sizes.proven, [1, 2, 3, 5]);
  });

  it('do not come back once they have been seen not to be exact', () => {
    const sizes = new ProvenSizes([1, 2]);
    sizes.limit([1, 1, 1], 8);
    sizes.tried(3, false);
    assert.equal(sizes.limit([1, 1, 1], 8), 2);
    assert.equal(sizes.wanted, undefined);
    sizes.tried(2, false);
    assert.equal(sizes.limit([1, 1, 1], 8), 1);
    assert.deepEqual(sizes.proven, [1]);
  });

  it('leave a request of another size alone, which is the answer it would have', () => {
    const sizes = new ProvenSizes([1, 2, 8]);
    assert.equal(sizes.limit([5, 1, 1], 8), 5);
    assert.equal(sizes.limit([1, 5, 2], 8), 1);
    assert.equal(sizes.limit([2, 2, 2, 2], 8), 8);
    assert.equal(sizes.limit([2, 2, 2], 8), 2);
    assert.equal(sizes.limit([20], 8), 20);
    assert.equal(sizes.limit([], 8), 1);
  });
});
