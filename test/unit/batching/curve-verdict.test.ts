import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judge, type SizeCost, sayVerdict } from '../../../src/batching/curve-verdict.ts';

/** A curve at 1, 2, 4 … `most` rows. */
function curve(most: number, msOf: (rows: number) => number): SizeCost[] {
  const points: SizeCost[] = [];
  for (let rows = 1; rows <= most; rows *= 2) points.push({ rows, ms: msOf(rows) });
  return points;
}

describe('the verdict on a curve', () => {
  it('is that batching pays where the time hardly grows, with the knee where rows per second rise no more', () => {
    // 6 + rows / 4: 3.84 rows/ms at 512, within 5 % of the limit; 3.66 at 256 is not within 5 % of 3.84.
    const verdict = judge(
      curve(512, (rows) => 6 + rows / 4),
      512,
    );
    assert.equal(verdict.kind, 'pays');
    assert.equal(verdict.kneeRows, 256);
    assert.ok(Math.abs(verdict.gain - 256 / 70 / (1 / 6.25)) < 1e-9);
    assert.equal(verdict.isOpen, false);
  });

  it('is open where the largest size seen is still the best, unless no run may be larger', () => {
    const points = curve(16, (rows) => 6 + rows / 4);
    assert.deepEqual([judge(points).kneeRows, judge(points).isOpen], [16, true]);
    assert.equal(judge(points, 16).isOpen, false);
  });

  it('is that batching does not pay where the time grows as the rows do, or faster', () => {
    for (const msOf of [(rows: number) => 3 * rows, (rows: number) => 3 * rows ** 1.1]) {
      const verdict = judge(curve(64, msOf), 64);
      assert.deepEqual([verdict.kind, verdict.kneeRows, verdict.gain, verdict.isOpen], ['no', 1, 1, false]);
    }
    assert.equal(judge(curve(64, (rows) => 3 * rows ** 1.1)).largestGain < 0.7, true);
  });

  it('is that it pays little between 5 and 25 %', () => {
    const verdict = judge(
      curve(64, (rows) => 0.15 + rows),
      64,
    );
    assert.equal(verdict.kind, 'little');
    assert.ok(verdict.gain > 1.05 && verdict.gain < 1.25);
  });

  it('has the knee before a curve falls again', () => {
    const verdict = judge(curve(64, (rows) => 1 + rows / 8 + (rows / 24) ** 3));
    assert.ok(verdict.kneeRows <= 32 && verdict.largestGain < verdict.gain, JSON.stringify(verdict));
    assert.equal(verdict.isOpen, false);
  });

  it('is unknown without runs of few rows and of at least four times as many', () => {
    for (const points of [
      [],
      [[1, 2]],
      [
        [1, 2],
        [2, 3],
      ],
      [
        [4, 2],
        [64, 3],
      ],
      [
        [1, 0],
        [8, 1],
      ],
    ] as const) {
      const sizes = points.map(([rows, ms]) => ({ rows, ms }));
      assert.equal(judge(sizes).kind, 'unknown', JSON.stringify(points));
    }
  });
});

describe('the verdict in a sentence', () => {
  const pays = judge(
    curve(64, (rows) => 7.36 + rows / 4),
    64,
  );
  const cases: [string, string][] = [
    [
      sayVerdict(pays, { instances: 1, threads: 2 }),
      'Batching pays: 64 rows share a run for 21× the rows per second of one; best with 1 executor of 2 threads.',
    ],
    [
      sayVerdict(judge(curve(8, (rows) => 6 + rows / 4))),
      'Batching pays: 8 rows share a run for 6.3× the rows per second of one, and they still rise there, the largest run seen.',
    ],
    [
      sayVerdict(judge(curve(64, (rows) => 3 * rows ** 1.1)), { instances: 2, threads: 1 }),
      'Batching does not pay, one row alone is as fast: 64 rows in a run have 0.66× its rows per second; best with 2 executors of 1 thread each.',
    ],
    [
      sayVerdict(
        judge(
          curve(32, (rows) => 0.15 + rows),
          32,
        ),
      ),
      'Batching pays little: 4 rows share a run for 1.1× the rows per second of one.',
    ],
    [sayVerdict(judge([])), 'It is not known yet whether batching pays: too few sizes of runs have been seen.'],
  ];
  for (const [said, expected] of cases) it(`says: ${expected}`, () => assert.equal(said, expected));
});
