import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeTensor, type Service } from '../../../src/index.ts';
import { holdExecutors } from '../../support/busy.ts';
import { gatherPoison, ident } from '../../support/models.ts';
import { startService } from '../../support/service.ts';
import { metersOf } from './helpers.ts';

/** `T_total = T_compute + T_switch`: every request's time is accounted for, whatever becomes of it. */

const rows = (count: number) => ({ x: makeTensor('FP32', [count, 1], new Float32Array(count)) });

/** Durations of all requests, and of all their stages, in seconds. */
function sums(service: Service, model: string): { readonly total: number; readonly parts: number } {
  const { duration, stages } = metersOf(service, model);
  return { total: duration.sum, parts: Object.values(stages).reduce((sum, stage) => sum + stage.sum, 0) };
}

describe('the account of a request', () => {
  it('holds in the metrics for requests that are answered, refused, expired, cancelled or fail', async (t) => {
    const models = { ident: ident('FP32'), gather: gatherPoison() };
    const service = await startService(t, models, { instances: 1, maxQueueRows: 4 });
    const ask = (count: number, options = {}) => service.infer('ident', rows(count), options);
    await Promise.all([ask(1), ask(2)]);
    const release = holdExecutors();
    const running = ask(1);
    const controller = new AbortController();
    const ends = [
      ask(1, { timeoutMs: 20 }),
      ask(1, { signal: controller.signal }),
      ask(2),
      ask(1),
      service.infer('ident', { x: makeTensor('FP32', [1, 2], new Float32Array(2)) }),
      service.infer('ident', {}),
    ].map((end) => end.then(() => 'ok').catch((error) => error.code));
    assert.equal(await ends[0], 'DEADLINE_EXCEEDED');
    controller.abort();
    assert.equal(await ends[1], 'CANCELLED');
    release();
    await running;
    const outcomes = await Promise.all(ends);
    assert.ok(
      outcomes.includes('ok') && outcomes.includes('INVALID_REQUEST') && outcomes.includes('QUEUE_FULL'),
      `${outcomes}`,
    );
    const ids = { ids: makeTensor('INT64', [1], new BigInt64Array([99n])) };
    await assert.rejects(service.infer('gather', ids), { code: 'INVALID_REQUEST' });
    for (const model of ['ident', 'gather']) {
      const { total, parts } = sums(service, model);
      assert.ok(total > 0 && Math.abs(total - parts) < 1e-9, `${model}: ${parts} of ${total} s`);
      const { stages, duration } = metersOf(service, model);
      assert.equal(stages.decode.count, duration.count);
    }
    assert.equal(metersOf(service, 'gather').stages.encode.count, 0);
  });

  it('shares a run’s compute by rows', async (t) => {
    const service = await startService(t, { ident: ident('FP32') }, { instances: 1 });
    const release = holdExecutors();
    const first = service.infer('ident', rows(1));
    await new Promise(setImmediate);
    const others = [1, 2, 5].map((count) => service.infer('ident', rows(count)));
    // They have to wait, so that they share the next run.
    await new Promise(setImmediate);
    release();
    const answers = await Promise.all(others);
    const { stamps, batch } = answers[0]!;
    assert.deepEqual([batch.rows, batch.requests], [8, 3]);
    const computeMs = stamps.computeEndMs - stamps.computeStartMs;
    for (const { costMs, rows: count } of answers) assert.ok(Math.abs(costMs - (computeMs * count) / 8) < 1e-9);
    const meters = metersOf(service, 'ident');
    const costMs = (await first).costMs + answers.reduce((sum, answer) => sum + answer.costMs, 0);
    assert.ok(Math.abs(meters.costMs - costMs) < 1e-9);
    assert.ok(Math.abs(meters.costMs - meters.runComputeMs) < 1e-9, 'nobody left, so that all compute is shared out');
    assert.ok(
      meters.switchMs > 0 && Math.abs(meters.switchRatio - meters.switchMs / (meters.switchMs + costMs)) < 1e-9,
    );
  });

  it('counts compute that nobody waits for any more as no request’s cost', async (t) => {
    const service = await startService(t, { ident: ident('FP32') }, { instances: 1 });
    const release = holdExecutors();
    const controller = new AbortController();
    const left = service.infer('ident', rows(1), { signal: controller.signal });
    await new Promise(setImmediate);
    controller.abort();
    await assert.rejects(left, { code: 'CANCELLED' });
    release();
    await service.infer('ident', rows(1));
    const meters = metersOf(service, 'ident');
    assert.equal(meters.runs, 2);
    assert.ok(meters.costMs < meters.runComputeMs);
  });

  it('waiting for room in a full queue is queue, not decoding', async (t) => {
    const service = await startService(t, { ident: ident('FP32') }, { instances: 1, maxQueueRows: 1, maxBatchSize: 1 });
    const release = holdExecutors();
    const first = service.infer('ident', rows(1));
    await new Promise(setImmediate);
    const waiting = Array.from({ length: 3 }, () => service.infer('ident', rows(1), { whenFull: 'wait' }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    release();
    await first;
    for (const { stamps } of await Promise.all(waiting)) {
      assert.ok(stamps.dispatchedMs - stamps.enqueuedMs >= 45, JSON.stringify(stamps));
      assert.ok(stamps.enqueuedMs - stamps.receivedMs < 30, JSON.stringify(stamps));
    }
  });
});
