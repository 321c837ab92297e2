import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ArrivalRate } from '../../../src/batching/arrival-rate.ts';
import { CostEstimate } from '../../../src/batching/cost.ts';
import { DrainPlan, type DrainQuery } from '../../../src/batching/drain-plan.ts';

const linear = (rows: number): number => 1 + 4 * rows;

const QUERY: DrainQuery = {
  waiting: 8,
  rowBytes: 4,
  runners: 1,
  otherFreeInMs: Number.POSITIVE_INFINITY,
  othersBusyMs: 0,
  nowMs: 1000,
};

function setUp(
  besideMs = 0,
  maxRows = 16,
): { plan: DrainPlan; run: (rows: number, times: number, ms?: number) => void } {
  const cost = new CostEstimate();
  cost.assume([1, 2, 8].map((rows) => ({ rows, bytes: 4 * rows, ms: linear(rows) })));
  const plan = new DrainPlan(cost, maxRows);
  const run = (rows: number, times: number, ms = linear(rows)): void => {
    for (let i = 0; i < times; i++) {
      cost.observe(rows, 4 * rows, ms);
      plan.ran(rows, 4 * rows, besideMs);
    }
  };
  return { plan, run };
}

describe('the drain plan', () => {
  it('says nothing before runs of about the size have been seen', () => {
    const { plan, run } = setUp();
    run(1, 100);
    run(8, 2);
    assert.equal(plan.state(QUERY), undefined);
    run(8, 1);
    assert.notEqual(plan.state(QUERY), undefined);
    assert.equal(plan.state({ ...QUERY, waiting: 16 }), undefined);
    assert.equal(plan.state({ ...QUERY, rowBytes: 4000 }), undefined, 'rows of another size');
  });

  it('has nothing to say of one row', () => {
    const { plan, run } = setUp();
    run(1, 100);
    assert.equal(plan.state({ ...QUERY, waiting: 1 }), undefined);
  });

  it('keeps its table while the curve stays, and makes a new one when it has moved', () => {
    const { plan, run } = setUp();
    run(8, 50);
    const { table } = plan.state(QUERY)!;
    run(8, 50, linear(8) * 1.01);
    assert.equal(plan.state(QUERY)!.table, table);
    run(8, 50, linear(8) / 3);
    const moved = plan.state(QUERY)!.table;
    assert.notEqual(moved, table);
    assert.ok(Math.abs(moved.runMs[8]! / (linear(8) / 3) - 1) < 0.1);
    assert.notEqual(plan.state({ ...QUERY, runners: 2 })!.table, moved);
  });

  it('reckons with what a runner is busy beside the compute', () => {
    const { plan, run } = setUp(5);
    run(8, 200);
    const { runMs } = plan.state(QUERY)!.table;
    assert.ok(Math.abs(runMs[8]! - linear(8) - 5) < 0.6, `${runMs[8]} ms`);
  });

  it('looks at larger sizes now and then', () => {
    const { plan, run } = setUp();
    run(8, 3);
    const looks = Array.from({ length: 300 }, () => plan.state(QUERY)!.looks);
    assert.equal(looks.filter(Boolean).length, 3);
  });

  it('knows the rate at which rows arrive', () => {
    const { plan, run } = setUp();
    run(8, 3);
    for (let ms = 0; ms <= 1000; ms += 4) plan.arrived(2, ms);
    assert.ok(Math.abs(plan.state(QUERY)!.arrivalsPerMs / 0.5 - 1) < 0.05);
  });
});

describe('the rate of arrivals', () => {
  it('is that of all rows while it is young, and of the latest when it is old', () => {
    const rate = new ArrivalRate();
    assert.equal(rate.perMs(5, 100), 0);
    rate.observe(1, 10, 1000);
    assert.equal(rate.perMs(10, 1000), 0, 'one instant has no rate');
    for (let ms = 12; ms <= 110; ms += 2) rate.observe(1, ms, 1000);
    assert.ok(Math.abs(rate.perMs(110, 1000) / 0.5 - 1) < 0.06);
    for (let ms = 110; ms <= 10_000; ms += 10) rate.observe(1, ms, 1000);
    assert.ok(Math.abs(rate.perMs(10_000, 1000) / 0.1 - 1) < 0.06);
    assert.ok(rate.perMs(15_000, 1000) < 0.001);
  });
});
