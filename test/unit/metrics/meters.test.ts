import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PendingRequest, Stamps } from '../../../src/batching/request.ts';
import type { ErrorCode } from '../../../src/errors.ts';
import { STATUS } from '../../../src/errors.ts';
import { HotHistogram, SECONDS, SIZES } from '../../../src/metrics/histogram.ts';
import { failureReason, OUTCOMES, outcomeOf, STAGES, VersionMeters } from '../../../src/metrics/version-meters.ts';
import type { ModelVersion } from '../../../src/serving/model-version.ts';
import { makeRequest, rowsOf } from '../../support/make-request.ts';

/** Only its identity matters here. */
const VERSION = {} as ModelVersion;

/** A request that was answered at these instants. */
function answered(rows: number, stamps: Partial<Stamps>): PendingRequest {
  const request = makeRequest(rowsOf(...Array.from({ length: rows }, () => [1])));
  Object.assign(request.stamps, stamps);
  return request;
}

const STAMPS: Stamps = {
  receivedMs: 100,
  fetchMs: 0,
  enqueuedMs: 101,
  dispatchedMs: 105,
  computeStartMs: 107,
  computeEndMs: 117,
  settledMs: 120,
};

describe('hot histogram', () => {
  it('counts each value in the bucket whose bound it does not exceed', () => {
    const histogram = new HotHistogram([1, 2, 4]);
    for (const value of [0, 1, 1.5, 2, 3, 4, 4.1, 1000]) histogram.observe(value);
    assert.deepEqual([...histogram.counts], [2, 2, 2, 2]);
    assert.equal(histogram.count, 8);
    assert.equal(histogram.sum, 1015.6);
  });

  it('has rising bounds for durations and for sizes', () => {
    for (const bounds of [SECONDS, SIZES]) {
      assert.deepEqual(
        bounds,
        bounds.toSorted((a, b) => a - b),
      );
      assert.equal(new Set(bounds).size, bounds.length);
    }
    assert.ok(SECONDS.at(-1)! >= 30);
    assert.ok(SIZES.includes(128));
  });
});

describe('counters of a version', () => {
  it('count requests by how they ended', () => {
    const meters = new VersionMeters(VERSION);
    meters.finished('v2', 100, 121, undefined, STAMPS);
    meters.finished('v2', 100, 101, 'QUEUE_FULL', undefined);
    meters.finished('v2', 100, 101, 'INVALID_REQUEST', undefined);
    meters.finished('library', 100, 101, 'EXECUTOR_LOST', undefined);
    const [v2, library] = [meters.outcomes.get('v2')!, meters.outcomes.get('library')!];
    assert.deepEqual(
      { ...v2 },
      { ok: 1, invalid: 1, rejected: 1, expired: 0, cancelled: 0, failed: 0, lost: 0, unavailable: 0 },
    );
    assert.equal(library.lost, 1);
    assert.equal(meters.duration.count, 4);
  });

  it('have an outcome for every error code', () => {
    for (const code of [undefined, ...Object.keys(STATUS)]) {
      assert.ok(OUTCOMES.includes(outcomeOf(code as ErrorCode | undefined)), code);
    }
    assert.equal(outcomeOf('INTERNAL'), 'failed');
    assert.equal(outcomeOf('SHUTTING_DOWN'), 'unavailable');
  });

  it("have Triton's word for every failure", () => {
    const words = (ran: boolean): Record<string, string> =>
      Object.fromEntries(Object.keys(STATUS).map((code) => [code, failureReason(code as ErrorCode, ran)]));
    const of = (word: string, ran: boolean): string[] =>
      Object.entries(words(ran)).flatMap(([code, one]) => (one === word ? [code] : []));
    assert.deepEqual(of('REJECTED', false), ['QUEUE_FULL', 'DEADLINE_UNREACHABLE', 'DEADLINE_EXCEEDED']);
    assert.deepEqual(of('REJECTED', true), ['QUEUE_FULL', 'DEADLINE_UNREACHABLE']);
    assert.deepEqual(of('CANCELED', true), ['CANCELLED']);
    assert.deepEqual(of('BACKEND', true), ['INVALID_REQUEST', 'INFERENCE_FAILED', 'EXECUTOR_LOST']);
    assert.equal(failureReason('SHUTTING_DOWN', false), 'OTHER');
  });

  it('count failures by that word, whether they had been accepted or not', () => {
    const meters = new VersionMeters(VERSION);
    meters.refused('QUEUE_FULL');
    meters.refused('MODEL_NOT_READY');
    meters.refused('SHUTTING_DOWN');
    meters.settled(answered(1, { dispatchedMs: 0 }), 'DEADLINE_EXCEEDED');
    meters.settled(answered(1, { dispatchedMs: 105 }), 'DEADLINE_EXCEEDED');
    meters.settled(answered(1, {}), 'CANCELLED');
    meters.settled(answered(1, {}), 'INVALID_REQUEST');
    assert.deepEqual({ ...meters.failures }, { REJECTED: 2, CANCELED: 1, BACKEND: 1, OTHER: 1 });
    assert.equal(meters.fail.count, 4);
  });

  it('keep a histogram of first responses only where it is asked for', () => {
    const [plain, triton] = [new VersionMeters(VERSION), new VersionMeters(VERSION, [10, 100])];
    for (const meters of [plain, triton]) meters.settled(answered(1, STAMPS), undefined);
    assert.equal(plain.firstResponseMs, undefined);
    assert.deepEqual([...triton.firstResponseMs!.counts], [0, 1, 0]);
    assert.equal(triton.firstResponseMs!.sum, 19);
  });

  it('split an answered request into stages that add up to its duration', () => {
    const meters = new VersionMeters(VERSION);
    meters.finished('v2', 100, 121.5, undefined, STAMPS);
    assert.deepEqual(
      STAGES.map((stage) => Number((1000 * meters.stages[stage].sum).toFixed(6))),
      [0, 1, 4, 2, 10, 3, 1.5],
    );
    const total = STAGES.reduce((sum, stage) => sum + meters.stages[stage].sum, 0);
    assert.ok(Math.abs(total - meters.duration.sum) < 1e-12);
    meters.finished('v2', 100, 130, 'DEADLINE_EXCEEDED', undefined);
    assert.equal(meters.stages.queue.count, 1);
  });

  it('tell the time of fetching inputs apart from decoding, also where that fails', () => {
    const meters = new VersionMeters(VERSION);
    meters.finished('v2', 100, 121.5, undefined, { ...STAMPS, fetchMs: 0.75 });
    assert.equal(Number((1000 * meters.stages.fetch.sum).toFixed(6)), 0.75);
    assert.equal(Number((1000 * meters.stages.decode.sum).toFixed(6)), 0.25);
    assert.equal(meters.codecMs, 1.75, 'fetching is no work of the codec');
    meters.finished('v2', 100, 110, 'REMOTE_FAILED', undefined, 9);
    assert.equal(Number((1000 * meters.stages.fetch.sum).toFixed(6)), 9.75);
    assert.equal(Number((1000 * meters.stages.decode.sum).toFixed(6)), 1.25);
  });

  it('count runs by rows, requests, reason and size, failed ones without their compute', () => {
    const meters = new VersionMeters(VERSION);
    const result = { outputs: new Map(), computeStartMs: 12, computeEndMs: 19 };
    meters.batchEnded({ rows: 8, requests: 3, reason: 'freed' }, 10, 20, result);
    meters.batchEnded({ rows: 8, requests: 8, reason: 'freed' }, 20, 30, {
      ...result,
      computeStartMs: 21,
      computeEndMs: 29,
    });
    meters.batchEnded({ rows: 1, requests: 1, reason: 'retry' }, 30, 35, undefined);
    assert.equal(meters.batchRows.sum, 17);
    assert.equal(meters.batchRequests.sum, 12);
    assert.deepEqual({ ...meters.reasons }, { idle: 0, freed: 2, full: 0, split: 0, window: 0, alone: 0, retry: 1 });
    assert.equal(meters.busyMs, 25);
    assert.equal(meters.runs, 2);
    assert.equal(meters.runComputeMs, 15);
    assert.deepEqual(meters.sizes.get(8), { runs: 2, handoverMs: 3, computeMs: 15, handbackMs: 2 });
    assert.equal(meters.sizes.has(1), false);
  });

  it('tell which share of the work was not compute', () => {
    const meters = new VersionMeters(VERSION);
    assert.equal(meters.switchRatio, 0);
    const result = { outputs: new Map(), computeStartMs: 107, computeEndMs: 117 };
    meters.batchEnded({ rows: 1, requests: 1, reason: 'idle' }, 105, 120, result);
    meters.finished('v2', 100, 122, undefined, STAMPS);
    // 15 ms busy, of which 10 ms compute, and 1 + 2 ms of decoding and encoding.
    assert.ok(Math.abs(meters.switchRatio - (1 - 10 / 18)) < 1e-12);
  });

  it('keep what statistics ask for of settled requests', () => {
    const meters = new VersionMeters(VERSION);
    meters.settled(answered(3, STAMPS), undefined);
    meters.settled(answered(1, { enqueuedMs: 100, settledMs: 130 }), 'CANCELLED');
    meters.settled(answered(1, { enqueuedMs: 100, settledMs: 140 }), 'INFERENCE_FAILED');
    assert.equal(meters.successes, 1);
    assert.deepEqual(meters.fail, { count: 2, ms: 70 });
    assert.deepEqual([meters.queueMs, meters.handoverMs, meters.computeMs, meters.handbackMs], [4, 2, 10, 3]);
    assert.equal(meters.rows, 3);
    assert.equal(meters.cancelled, 1);
    assert.ok(Math.abs(meters.lastRequestMs - Date.now()) < 1000);
  });

  it('count refusals and restarts', () => {
    const meters = new VersionMeters(VERSION);
    meters.refused('QUEUE_FULL');
    meters.refused('QUEUE_FULL');
    meters.refused('EXECUTOR_LOST');
    meters.restarted();
    assert.equal(meters.rejections.get('QUEUE_FULL'), 2);
    assert.equal(meters.rejections.get('EXECUTOR_LOST'), 1);
    assert.equal(meters.rejections.get('DEADLINE_UNREACHABLE'), 0);
    assert.equal(meters.restarts, 1);
  });

  it('trap 18: cost some microseconds a request at most', () => {
    const meters = new VersionMeters(VERSION);
    const request = answered(1, STAMPS);
    const info = { rows: 1, requests: 1, reason: 'idle' } as const;
    const result = { outputs: new Map(), computeStartMs: 107, computeEndMs: 117 };
    const one = (): void => {
      // The worst case: each request a batch of its own.
      meters.batchEnded(info, 105, 120, result);
      meters.settled(request, undefined);
      meters.finished('v2', 100, 121, undefined, STAMPS);
    };
    for (let i = 0; i < 20_000; i++) one();
    const rounds = Array.from({ length: 5 }, () => {
      const start = process.hrtime.bigint();
      for (let i = 0; i < 20_000; i++) one();
      return Number(process.hrtime.bigint() - start) / 20_000;
    });
    // Some hundred nanoseconds are usual; a busy machine gets ten times as much.
    assert.ok(Math.min(...rounds) < 5000, `${Math.min(...rounds)} ns a request`);
  });
});
