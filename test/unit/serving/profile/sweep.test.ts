import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Split } from '../../../../src/batching/curve-verdict.ts';
import { splitsFor } from '../../../../src/serving/profile/splits.ts';
import { bestOf, kneeOf, type SweepTarget, sweep } from '../../../../src/serving/profile/sweep.ts';

interface Fake extends SweepTarget {
  /** Sizes in the order in which they were measured. */
  readonly asked: number[];
}

/** A clock that only runs while targets are measured. */
let nowMs = 0;

function target(split: Split, msOf: (rows: number) => number, bytesOf: (rows: number) => number = () => 0): Fake {
  const asked: number[] = [];
  let largest = 0;
  return {
    split,
    asked,
    async measure(rows, forMs) {
      asked.push(rows);
      largest = Math.max(largest, rows);
      const runs = Math.max(1, Math.round(forMs / msOf(rows)));
      nowMs += runs * msOf(rows);
      return Array.from({ length: runs * split.instances }, () => msOf(rows));
    },
    residentBytes: () => bytesOf(largest),
  };
}

const ONE: Split = { instances: 1, threads: 2 };
const TWO: Split = { instances: 2, threads: 1 };

function run(targets: readonly SweepTarget[], limits: { maxRows?: number; memoryBytes?: number; forMs?: number } = {}) {
  const { maxRows = 128, memoryBytes = 1e9, forMs = 20_000 } = limits;
  nowMs = 0;
  return sweep(targets, { maxRows, memoryBytes, endMs: forMs, now: () => nowMs });
}

describe('a sweep', () => {
  it('goes on to the largest size while rows per second rise, and again over all sizes', async () => {
    const strong = target(ONE, (rows) => 6 + rows / 8);
    const up = [1, 2, 4, 8, 16, 32, 64, 100];
    const down = up.toReversed();
    const [split] = await run([strong], { maxRows: 100 });
    assert.deepEqual(
      split!.sizes.map(({ rows }) => rows),
      [1, 2, 4, 8, 16, 32, 64, 100],
    );
    assert.deepEqual(strong.asked, [...up, ...down, ...up, ...down]);
    assert.equal(split!.stop, 'largest');
    const first = split!.sizes[0]!;
    assert.deepEqual([first.ms, first.highMs, first.rowsPerSecond], [6.125, 6.125, 1e3 / 6.125]);
  });

  it('ends two sizes after rows per second have ceased to rise', async () => {
    const [linear, knee] = await run([target(ONE, (rows) => 2 * rows), target(TWO, (rows) => Math.max(8, rows))]);
    assert.deepEqual([linear!.stop, linear!.sizes.length, kneeOf(linear!)], ['flat', 3, 1]);
    assert.deepEqual([knee!.stop, knee!.sizes.at(-1)!.rows, kneeOf(knee!)], ['flat', 32, 8]);
  });

  it('is not ended by one size that is no better', async () => {
    const [split] = await run([target(ONE, (rows) => (rows === 2 ? 20 : 10))]);
    assert.equal(split!.stop, 'largest');
  });

  it('ends before the memory budget is passed', async () => {
    const growing = target(
      ONE,
      () => 10,
      (rows) => 1e6 * rows,
    );
    const [split] = await run([growing], { memoryBytes: 40e6 });
    // 32 rows hold 32 MB, 16 more than 16 rows did; 64 would hold 64 MB.
    assert.deepEqual([split!.stop, split!.sizes.at(-1)!.rows], ['memory', 32]);
  });

  it('keeps to its time, with what could be measured', async () => {
    const slow = target(ONE, (rows) => 900 + rows);
    const [split] = await run([slow], { forMs: 3000 });
    assert.equal(split!.stop, 'time');
    assert.ok(split!.sizes.length >= 3 && nowMs < 4000, `${split!.sizes.length} sizes in ${nowMs} ms`);
  });

  it('keeps what it knows when a run fails, and measures the others', async () => {
    const failing = target(ONE, () => 10);
    const { measure } = failing;
    failing.measure = async (rows, forMs) => {
      if (rows === 8) throw new Error('no memory');
      return measure(rows, forMs);
    };
    const [one, two] = await run([failing, target(TWO, () => 10)]);
    assert.deepEqual([one!.stop, one!.failure, one!.sizes.length], ['failed', 'no memory', 3]);
    assert.equal(two!.stop, 'largest');
  });

  it('reckons rows per second of all executors together, from the quieter runs', async () => {
    const noisy = target(TWO, () => 10);
    noisy.measure = async () => [10, 10, 10, 500];
    const [split] = await run([noisy], { maxRows: 1 });
    assert.deepEqual([split!.sizes[0]!.rowsPerSecond, split!.sizes[0]!.highMs], [200, 500]);
  });
});

describe('the best split', () => {
  it('is the one with the most rows per second, or the one of the fastest single rows among equals', async () => {
    const splits = await run([target(ONE, (rows) => 5 + 0.5 * rows), target(TWO, (rows) => 9 + 0.5 * rows)]);
    assert.deepEqual([bestOf(splits)!.instances, bestOf(splits)!.threads], [2, 1]);
    const equals = await run([target(TWO, (rows) => 10 + rows), target(ONE, (rows) => 5 + rows / 2)]);
    assert.equal(bestOf(equals)!.threads, 2);
    assert.equal(bestOf([{ ...ONE, sizes: [], stop: 'failed' }]), undefined);
  });
});

describe('the splits worth trying', () => {
  const limits = { cores: 4, instances: 'auto', threads: 'auto', memoryBytes: 1e9, modelBytes: 1e6 } as const;
  const cases: [string, Partial<Parameters<typeof splitsFor>[0]>, [number, number][]][] = [
    ['one core', { cores: 1 }, [[1, 1]]],
    [
      'two cores',
      { cores: 2 },
      [
        [1, 2],
        [2, 1],
      ],
    ],
    [
      'three cores',
      { cores: 3 },
      [
        [1, 3],
        [1, 2],
        [3, 1],
      ],
    ],
    [
      'four cores',
      {},
      [
        [1, 4],
        [2, 2],
        [4, 1],
      ],
    ],
    [
      'little memory',
      { modelBytes: 400e6 },
      [
        [1, 4],
        [2, 2],
        [2, 1],
      ],
    ],
    [
      'a model larger than that',
      { modelBytes: 4e9 },
      [
        [1, 4],
        [1, 2],
        [1, 1],
      ],
    ],
    ['threads as given', { threads: 1 }, [[4, 1]]],
    ['both as given', { instances: 3, threads: 2 }, [[3, 2]]],
  ];
  for (const [name, some, expected] of cases) {
    it(`of ${name}`, () => {
      assert.deepEqual(
        splitsFor({ ...limits, ...some }).map(({ instances, threads }) => [instances, threads]),
        expected,
      );
    });
  }
});
