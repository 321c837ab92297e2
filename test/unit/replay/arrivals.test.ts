import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeArrivals, type Pattern } from '../../../src/replay/arrivals.ts';
import { affineCurve, curveThrough, sizeClass } from '../../../src/replay/curve.ts';

const PATTERNS: readonly Pattern[] = [
  { kind: 'poisson' },
  { kind: 'bursts', size: 4, spreadMs: 1.5 },
  { kind: 'on-off', onMs: 30, offMs: 60 },
];

describe('made-up arrivals', () => {
  for (const pattern of PATTERNS) {
    it(`come in order, at the rate asked for, the same for a seed: ${pattern.kind}`, () => {
      const { atMs, rows } = makeArrivals(pattern, 0.5, 40_000, 5);
      assert.ok(atMs.every((at, i) => i === 0 || at >= atMs[i - 1]!));
      assert.ok(rows.every((count) => count === 1));
      assert.ok(Math.abs(atMs.length / atMs.at(-1)! / 0.5 - 1) < 0.06, `${atMs.length / atMs.at(-1)!} a millisecond`);
      assert.deepEqual(makeArrivals(pattern, 0.5, 40_000, 5).atMs, atMs);
      assert.notDeepEqual(makeArrivals(pattern, 0.5, 40_000, 6).atMs, atMs);
    });
  }

  it('come close together in bursts, and not at all between times that are on', () => {
    const gaps = (pattern: Pattern): Float64Array => {
      const { atMs } = makeArrivals(pattern, 0.02, 20_000, 1);
      return atMs.subarray(1).map((at, i) => at - atMs[i]!);
    };
    const short = (all: Float64Array): number => all.filter((gap) => gap < 2).length / all.length;
    assert.ok(short(gaps(PATTERNS[0]!)) < 0.1);
    assert.ok(short(gaps(PATTERNS[1]!)) > 0.7);
  });
});

describe('a curve', () => {
  it('goes straight from point to point, and on', () => {
    const curve = curveThrough([
      { rows: 8, ms: 4 },
      { rows: 1, ms: 0.5 },
      { rows: 4, ms: 2 },
    ]);
    assert.deepEqual([1, 2, 4, 6, 8, 12].map(curve), [0.5, 1, 2, 3, 4, 6]);
    assert.equal(curveThrough([{ rows: 2, ms: 5 }])(4), 10);
    assert.equal(affineCurve(3, 0.5)(4), 5);
  });

  it('has classes of sizes that rise by a quarter at most', () => {
    let last = -1;
    for (let rows = 1; rows <= 1000; rows++) {
      const now = sizeClass(rows);
      assert.ok(now === last || now === last + 1, `${rows} rows`);
      last = now;
    }
    assert.notEqual(sizeClass(6), sizeClass(7));
    assert.equal(sizeClass(8), sizeClass(9));
  });
});
