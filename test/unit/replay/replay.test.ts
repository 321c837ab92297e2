import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeArrivals } from '../../../src/replay/arrivals.ts';
import { affineCurve } from '../../../src/replay/curve.ts';
import { type ReplaySettings, replay } from '../../../src/replay/replay.ts';

const SETTINGS: ReplaySettings = {
  maxBatchRows: 32,
  preferredRows: [],
  windowMs: 0,
  splits: false,
  executors: 1,
  maxQueueRows: 16_384,
};

function arrivalsAt(...atMs: readonly number[]): { atMs: Float64Array; rows: Uint32Array } {
  return { atMs: Float64Array.from(atMs), rows: new Uint32Array(atMs.length).fill(1) };
}

describe('a replay', () => {
  it('serves by the rules of the batcher, by hand', () => {
    // The first is run alone from 1 to 10; the two that come meanwhile share the next run, from 10 to 19.5.
    const result = replay({ arrivals: arrivalsAt(1, 2, 3), curve: affineCurve(8.5, 0.5) }, SETTINGS);
    assert.deepEqual([result.answered, result.batches, result.sizes], [3, 2, { 1: 1, 2: 1 }]);
    assert.deepEqual([result.p50Ms, result.p99Ms, result.spanMs], [16.5, 17.5, 18.5]);
    assert.ok(Math.abs(result.meanMs - (9 + 17.5 + 16.5) / 3) < 1e-9);
    assert.deepEqual(result.reasons, { idle: 1, freed: 1 });
  });

  it('agrees with queueing theory where that has a formula: one server, no batches, constant times', () => {
    const curve = affineCurve(0, 2);
    const arrivals = makeArrivals({ kind: 'poisson' }, 0.3, 200_000, 11);
    const { meanMs } = replay({ arrivals, curve }, { ...SETTINGS, maxBatchRows: 1 });
    // Pollaczek and Khinchine: time of a run and ρ/(2(1 − ρ)) of it, with ρ = 0.6.
    const expected = 2 + (2 * 0.6) / (2 * 0.4);
    assert.ok(Math.abs(meanMs / expected - 1) < 0.02, `${meanMs} ms, expected ${expected}`);
  });

  it('is the same each time, with noise, too', () => {
    const workload = {
      arrivals: makeArrivals({ kind: 'poisson' }, 0.2, 5000, 1),
      curve: affineCurve(3, 1),
      noise: 0.3,
    };
    const settings = { ...SETTINGS, splits: true, executors: 2 };
    assert.deepEqual(replay(workload, settings), replay(workload, settings));
    assert.notDeepEqual(replay({ ...workload, seed: 9 }, settings), replay(workload, settings));
  });

  it('has clients send when they were answered, so that no more requests are under way than clients', () => {
    const clients = { count: 8, requests: 4000, thinkMs: 0 };
    const result = replay({ clients, curve: affineCurve(5, 0), turnMs: 0.25 }, SETTINGS);
    assert.equal(result.answered, 4000);
    assert.ok(Object.keys(result.sizes).every((rows) => Number(rows) <= 8));
    assert.ok(result.p99Ms <= 11);
  });

  it('keeps to a window, a largest size and a queue with an end', () => {
    const curve = affineCurve(1, 0);
    const windowed = replay({ arrivals: arrivalsAt(0, 1, 2), curve }, { ...SETTINGS, windowMs: 5 });
    assert.deepEqual([windowed.sizes, windowed.reasons], [{ 3: 1 }, { window: 1 }]);
    const single = replay({ arrivals: arrivalsAt(0, 0, 0), curve }, { ...SETTINGS, maxBatchRows: 1 });
    assert.deepEqual(single.sizes, { 1: 3 });
    const full = replay({ arrivals: arrivalsAt(0, 0, 0, 0), curve }, { ...SETTINGS, maxQueueRows: 3 });
    assert.deepEqual([full.answered, full.errors], [3, { QUEUE_FULL: 1 }]);
  });

  it('keeps lanes apart, and lets go who would not wait', () => {
    const arrivals = { ...arrivalsAt(0, 0, 0), lanes: Uint32Array.of(0, 1, 0) };
    assert.deepEqual(replay({ arrivals, curve: affineCurve(1, 0) }, SETTINGS).sizes, { 1: 1, 2: 1 });
    const hasty = { ...arrivalsAt(0, 1, 1), timeoutMs: Float64Array.of(Infinity, 2, Infinity) };
    const result = replay({ arrivals: hasty, curve: affineCurve(10, 0) }, SETTINGS);
    assert.deepEqual([result.answered, result.errors], [2, { DEADLINE_EXCEEDED: 1 }]);
  });
});
