import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CostEstimate } from '../../../src/batching/cost.ts';
import type { CurveVerdict } from '../../../src/batching/curve-verdict.ts';
import { VerdictWatch } from '../../../src/serving/verdict-watch.ts';

function watch(): {
  told: CurveVerdict[];
  run: (runs: number, sizes: readonly number[], msOf: (rows: number) => number) => void;
} {
  const cost = new CostEstimate();
  const told: CurveVerdict[] = [];
  const watching = new VerdictWatch(cost, 64, (verdict) => told.push(verdict));
  return {
    told,
    run: (runs, sizes, msOf) => {
      for (let i = 0; i < runs; i++) {
        const rows = sizes[i % sizes.length]!;
        cost.observe(rows, rows * 4, msOf(rows));
        watching.runEnded();
      }
    },
  };
}

const strong = (rows: number): number => 6 + rows / 8;
const linear = (rows: number): number => 2 * rows;

describe('the watch over a verdict', () => {
  it('tells the first one once, however long the runs go on', () => {
    const { told, run } = watch();
    run(50, [1, 8, 64], strong);
    assert.deepEqual(told, []);
    run(5000, [1, 8, 64], strong);
    assert.deepEqual(
      told.map(({ kind, kneeRows }) => [kind, kneeRows]),
      [['pays', 64]],
    );
  });

  it('tells when the kind changes, and when the knee comes into sight', () => {
    const { told, run } = watch();
    run(1000, [1, 8], strong);
    run(1000, [1, 8, 64], strong);
    run(1000, [1, 8, 64], linear);
    assert.deepEqual(
      told.map(({ kind, isOpen }) => [kind, isOpen]),
      [
        ['pays', true],
        ['pays', false],
        ['no', false],
      ],
    );
  });

  it('does not tell what lasts for a moment only', () => {
    const { told, run } = watch();
    run(1000, [1, 8, 64], strong);
    run(90, [1, 8, 64], linear);
    run(2000, [1, 8, 64], strong);
    assert.equal(told.length, 1);
  });

  it('tells nothing while nothing can be said', () => {
    const { told, run } = watch();
    run(5000, [16], strong);
    assert.deepEqual(told, []);
  });
});
