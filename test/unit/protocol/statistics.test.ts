import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PendingRequest } from '../../../src/batching/request.ts';
import { VersionMeters } from '../../../src/metrics/version-meters.ts';
import { versionStatistics } from '../../../src/protocol/statistics.ts';
import type { ModelVersion } from '../../../src/serving/model-version.ts';

const meters = (): VersionMeters => new VersionMeters({ name: 'm', version: '2' } as ModelVersion);

/** A request that was answered after these milliseconds in each stage. */
const answered = (rows: number, stages: readonly [number, number, number, number]): PendingRequest => {
  const [queue, handover, compute, handback] = stages;
  const enqueuedMs = 1000;
  const dispatchedMs = enqueuedMs + queue;
  const computeStartMs = dispatchedMs + handover;
  const computeEndMs = computeStartMs + compute;
  const stamps = {
    receivedMs: 999,
    enqueuedMs,
    dispatchedMs,
    computeStartMs,
    computeEndMs,
    settledMs: computeEndMs + handback,
  };
  return { inputs: { rows }, stamps } as PendingRequest;
};

interface Duration {
  readonly count: number;
  readonly ns: number;
}

interface Shown {
  readonly inference_count: number;
  readonly execution_count: number;
  readonly inference_stats: Readonly<Record<string, Duration>>;
  readonly batch_stats: readonly { readonly batch_size: number; readonly compute_infer: Duration }[];
}

/** All numbers of a reply, which clients read as unsigned integers. */
function* numbers(value: unknown): Generator<number> {
  if (typeof value === 'number') yield value;
  else if (typeof value === 'object' && value !== null) for (const one of Object.values(value)) yield* numbers(one);
}

describe('versionStatistics', () => {
  it('has every key at zero before the first request', () => {
    assert.deepEqual(versionStatistics(meters()), {
      name: 'm',
      version: '2',
      last_inference: 0,
      inference_count: 0,
      execution_count: 0,
      inference_stats: Object.fromEntries(
        ['success', 'fail', 'queue', 'compute_input', 'compute_infer', 'compute_output', 'cache_hit', 'cache_miss'].map(
          (name) => [name, { count: 0, ns: 0 }],
        ),
      ),
      response_stats: {},
      batch_stats: [],
      memory_usage: [],
    });
  });

  it('counts requests, rows and runs, in whole nanoseconds, with three equal compute counts', () => {
    const counted = meters();
    const result = { outputs: new Map(), computeStartMs: 10.1, computeEndMs: 12.7 };
    counted.batchEnded({ rows: 5, requests: 2, reason: 'idle' }, 10, 13.0001, result);
    counted.batchEnded({ rows: 3, requests: 1, reason: 'freed' }, 20, 21, undefined);
    counted.settled(answered(3, [0.1, 0.2, 2.6, 0.3001]), undefined);
    counted.settled(answered(2, [0.7, 0.2, 2.6, 0.3001]), undefined);
    counted.settled(answered(3, [0.5, 0, 0, 0]), 'INFERENCE_FAILED');
    const shown = versionStatistics(counted) as Shown;
    for (const n of numbers(shown)) assert.ok(Number.isSafeInteger(n) && n >= 0, `${n}`);
    assert.equal(shown.inference_count, 5);
    assert.equal(shown.execution_count, 1);
    const { success, fail, queue, compute_input, compute_infer, compute_output } = shown.inference_stats;
    assert.equal(fail!.count, 1);
    for (const stage of [success, queue, compute_input, compute_infer, compute_output]) assert.equal(stage!.count, 2);
    assert.equal(queue!.ns, 800_000);
    assert.equal(success!.ns, queue!.ns + compute_input!.ns + compute_infer!.ns + compute_output!.ns);
    assert.deepEqual(
      shown.batch_stats.map(({ batch_size, compute_infer: { count } }) => [batch_size, count]),
      [[5, 1]],
    );
  });
});
