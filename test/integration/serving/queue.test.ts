import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { before, describe, it } from 'node:test';
import type { InferResult, Service } from '../../../src/service.ts';
import { readTensor } from '../../../src/tensor/typed.ts';
import { rowsOf } from '../../support/make-request.ts';
import { add2, ident, mlp, slow } from '../../support/models.ts';
import { iterationsFor } from '../../support/run-model.ts';
import { type Scope, startService } from '../../support/service.ts';
import { countingEntry, type RuntimeCall } from './counting-entry.ts';
import { errorOf, metersOf, row, waitFor } from './helpers.ts';

/**
 * A service whose executors note each call of the runtime; `calls` gives those since the models were loaded. Live runs
 * are not checked, which would be further calls.
 */
async function startCounted(
  scope: Scope,
  ...rest: [models: Parameters<typeof startService>[1], config?: Parameters<typeof startService>[2]]
): Promise<{ service: Service; calls: () => RuntimeCall[] }> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-calls-'));
  scope.after(async () => rmSync(folder, { recursive: true }));
  const { entry, calls } = countingEntry(folder);
  const service = await startService(scope, rest[0], { batchingCheck: 'load', ...rest[1] }, { executorEntry: entry });
  const probed = calls().length;
  return { service, calls: () => calls().slice(probed) };
}

function sumOf(calls: readonly RuntimeCall[]): number {
  return calls.reduce((sum, { rows }) => sum + rows, 0);
}

function firstOf({ outputs }: InferResult): number {
  return Number(readTensor(Object.values(outputs)[0]!)[0]);
}

/** So many callers that each send the next request when they have the last answer, until `until`. */
async function closedLoop(callers: number, call: (n: number) => Promise<void>, until: () => boolean): Promise<number> {
  let n = 0;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (!until()) await call(n++);
    }),
  );
  return n;
}

describe('concurrent callers', () => {
  it('trap 21: share one call of the runtime per batch, at least 8 rows on average of 64 callers', async (t) => {
    const { service, calls } = await startCounted(t, { add2: add2() }, { instances: 1 });
    const requests = 4000;
    let sent = 0;
    await closedLoop(
      64,
      async () => {
        const value = ++sent;
        const { outputs } = await service.infer('add2', { a: row(value), b: row(2) });
        assert.equal(readTensor(outputs['sum']!)[0], value + 2);
      },
      () => sent >= requests,
    );
    const noted = calls();
    const meters = metersOf(service, 'add2');
    assert.equal(noted.length, meters.runs);
    assert.equal(sumOf(noted), sent);
    assert.equal(meters.batchRows.sum, sent);
    assert.ok(sent / noted.length >= 8, `${sent / noted.length} rows per run`);
  });

  it('may be 10,000 at once', async (t) => {
    const { service, calls } = await startCounted(t, { add2: add2() });
    const answers = await Promise.all(
      Array.from({ length: 10_000 }, (_, i) => service.infer('add2', { a: row(i), b: row(1) })),
    );
    for (const [i, answer] of answers.entries()) assert.equal(firstOf(answer), i + 1);
    const noted = calls();
    assert.equal(sumOf(noted), 10_000);
    assert.equal(noted.length, Math.ceil(10_000 / 128));
    const version = service.registry.get('add2', undefined);
    assert.deepEqual([version.queuedRows, version.inflightRequests], [0, 0]);
  });

  it('may be 10,000 of other shapes each', async (t) => {
    const { service } = await startCounted(t, { ident: ident('FP32') });
    const answers = await Promise.all(
      Array.from({ length: 10_000 }, (_, i) => service.infer('ident', { x: rowsOf(Array(1 + (i % 500)).fill(i)) })),
    );
    for (const [i, { outputs }] of answers.entries()) {
      assert.deepEqual(outputs['y']!.shape, [1, 1 + (i % 500)]);
      assert.equal(readTensor(outputs['y']!)[0], i);
    }
  });

  it('are refused beyond the limits of the queue, at once and with a time to come back', async (t) => {
    const { service, calls } = await startCounted(t, { add2: add2() }, { maxQueueRows: 100 });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 150 }, () => service.infer('add2', { a: row(1), b: row(1) })),
    );
    const refused = outcomes.filter(({ status }) => status === 'rejected');
    assert.equal(refused.length, 50);
    for (const { reason } of refused as PromiseRejectedResult[]) {
      assert.equal(reason.code, 'QUEUE_FULL');
      assert.equal(reason.retryAfterSeconds, 1);
    }
    assert.equal(sumOf(calls()), 100);
    assert.equal(metersOf(service, 'add2').rejections.get('QUEUE_FULL'), 50);
  });

  it('wait for room when they ask to, and are all answered in their order', async (t) => {
    const { service, calls } = await startCounted(t, { add2: add2() }, { maxQueueRows: 8, instances: 1 });
    const order: number[] = [];
    const answers = Array.from({ length: 500 }, async (_, i) => {
      const answer = await service.infer('add2', { a: row(i), b: row(1) }, { whenFull: 'wait' });
      order.push(i);
      return firstOf(answer);
    });
    assert.deepEqual(
      await Promise.all(answers),
      Array.from({ length: 500 }, (_, i) => i + 1),
    );
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    );
    const noted = calls();
    assert.equal(sumOf(noted), 500);
    assert.ok(noted.every(({ rows }) => rows <= 8));
    assert.ok(noted.length < 120, `${noted.length} runs`);
    assert.equal(metersOf(service, 'add2').rejections.get('QUEUE_FULL'), 0);
  });

  it('wait for bytes that requests to other models hold', async (t) => {
    const models = { one: ident('FP32'), other: ident('FP32') };
    const { service } = await startCounted(t, models, { maxQueueBytes: '1KiB' });
    const wide = (value: number) => rowsOf(Array(200).fill(value));
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, i) =>
        service.infer(i % 2 ? 'one' : 'other', { x: wide(i) }, { whenFull: 'wait' }),
      ),
    );
    assert.deepEqual(answers.map(firstOf), [...answers.keys()]);
    const refused = errorOf(service.infer('one', { x: rowsOf(Array(300).fill(1)) }, { whenFull: 'wait' }));
    assert.equal((await refused).code, 'INVALID_REQUEST');
  });

  it('trap 15: are the first to be answered by a model that has been measured before, not by trials', async (t) => {
    const { service, calls } = await startCounted(t, { mlp: mlp([4, 8, 2]) });
    await Promise.all(Array.from({ length: 5 }, (_, i) => service.infer('mlp', { x: row(i) })));
    assert.deepEqual(
      calls().map(({ rows }) => rows),
      [5],
    );
  });
});

describe('callers who wait behind a long run', () => {
  let model: Buffer;
  before(async () => {
    model = slow(await iterationsFor(120));
  });

  /** Starts a run and returns when it is under way. */
  async function occupy(service: Service): Promise<{ long: Promise<InferResult> }> {
    const version = service.registry.get('slow', undefined);
    const long = service.infer('slow', { x: row(1) });
    await waitFor(() => version.inflightRequests === 1 && version.queuedRows === 0, 'the run is under way');
    return { long };
  }

  it('and leave are dropped before they are run, and counted', async (t) => {
    const { service, calls } = await startCounted(t, { slow: model }, { instances: 1 });
    const { long } = await occupy(service);
    const leaver = new AbortController();
    const leaves = errorOf(service.infer('slow', { x: row(2) }, { signal: leaver.signal }));
    const stays = service.infer('slow', { x: row(3) });
    leaver.abort();
    assert.equal((await leaves).code, 'CANCELLED');
    const gone = errorOf(service.infer('slow', { x: row(4) }, { signal: AbortSignal.abort() }));
    assert.equal((await gone).code, 'CANCELLED');
    assert.deepEqual([await long, await stays].map(firstOf), [1, 3]);
    assert.deepEqual(
      calls().map(({ rows }) => rows),
      [1, 1],
    );
    assert.equal(metersOf(service, 'slow').cancelled, 2);
    assert.equal(metersOf(service, 'slow').outcomes.get('library')!.cancelled, 2);
  });

  it('and leave while they are run do not disturb their neighbours', async (t) => {
    const { service } = await startCounted(t, { slow: model }, { instances: 1 });
    const version = service.registry.get('slow', undefined);
    const leaver = new AbortController();
    const leaves = errorOf(service.infer('slow', { x: row(2) }, { signal: leaver.signal }));
    const stays = service.infer('slow', { x: row(3) });
    await waitFor(() => version.queuedRows === 0, 'both are being run');
    leaver.abort();
    assert.equal((await leaves).code, 'CANCELLED');
    const answer = await stays;
    assert.equal(firstOf(answer), 3);
    assert.equal(answer.batch.requests, 2);
  });

  it('are told when their time is over, and not run any more', async (t) => {
    const { service, calls } = await startCounted(t, { slow: model }, { instances: 1 });
    const { long } = await occupy(service);
    let over = false;
    const ended = long.then((answer) => {
      over = true;
      return answer;
    });
    const hasty = await errorOf(service.infer('slow', { x: row(2) }, { timeoutMs: 20 }));
    const impatient = await errorOf(service.infer('slow', { x: row(3) }, { queueTimeoutMs: 20 }));
    assert.deepEqual([hasty.code, impatient.code, over], ['DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED', false]);
    assert.equal(firstOf(await ended), 1);
    const late = await errorOf(service.infer('slow', { x: row(4) }, { timeoutMs: 20 }));
    assert.equal(late.code, 'DEADLINE_EXCEEDED');
    assert.equal(firstOf(await service.infer('slow', { x: row(5) })), 5);
    assert.deepEqual(
      calls().map(({ rows }) => rows),
      [1, 1, 1],
    );
  });

  it('and for room leave when they like, when their time is over, and when the service drains', async (t) => {
    const { service, calls } = await startCounted(t, { slow: model }, { instances: 1, maxQueueRows: 1 });
    const { long } = await occupy(service);
    const queued = service.infer('slow', { x: row(2) });
    const wait = (value: number, options = {}) =>
      errorOf(service.infer('slow', { x: row(value) }, { whenFull: 'wait', ...options }));
    const leaver = new AbortController();
    const [leaves, hasty, stays] = [wait(3, { signal: leaver.signal }), wait(4, { timeoutMs: 20 }), wait(5)];
    leaver.abort();
    assert.equal((await leaves).code, 'CANCELLED');
    assert.equal((await hasty).code, 'DEADLINE_EXCEEDED');
    assert.equal((await wait(6, { signal: AbortSignal.abort() })).code, 'CANCELLED');
    assert.equal((await errorOf(service.infer('slow', { x: row(7) }))).code, 'QUEUE_FULL');
    const drained = service.drain();
    assert.equal((await stays).code, 'SHUTTING_DOWN');
    await drained;
    assert.deepEqual([await long, await queued].map(firstOf), [1, 2]);
    assert.equal(sumOf(calls()), 2);
  });

  it('are answered before a draining service lets its executors go', async (t) => {
    const { service } = await startCounted(t, { slow: model }, { instances: 1 });
    const { long } = await occupy(service);
    const waits = service.infer('slow', { x: row(2) });
    const drained = service.drain();
    assert.equal((await errorOf(service.infer('slow', { x: row(3) }))).code, 'SHUTTING_DOWN');
    await drained;
    assert.deepEqual([await long, await waits].map(firstOf), [1, 2]);
    assert.equal((await errorOf(service.infer('slow', { x: row(3) }))).code, 'MODEL_NOT_READY');
  });

  it('are rejected when draining takes longer than it may', async (t) => {
    const { service } = await startCounted(t, { slow: model }, { instances: 1, drainTimeout: '20ms' });
    const { long } = await occupy(service);
    const lost = errorOf(long);
    await service.drain();
    assert.equal((await lost).code, 'SHUTTING_DOWN');
  });
});

describe('instances', () => {
  it('are added while callers wait, and never for a lone caller', async (t) => {
    const model = slow(await iterationsFor(15));
    const { service, calls } = await startCounted(t, { slow: model }, { cores: 2, maxBatchSize: 4 });
    const version = service.registry.get('slow', undefined);
    const call = async (n: number): Promise<void> => {
      assert.equal(firstOf(await service.infer('slow', { x: row(n) })), n);
    };
    assert.equal(version.executors, 1);
    const loneEnd = performance.now() + 1500;
    await closedLoop(1, call, () => performance.now() > loneEnd);
    assert.equal(version.executors, 1, 'a lone caller got a second instance');

    const giveUp = performance.now() + 15_000;
    await closedLoop(16, call, () => version.executors === 2 || performance.now() > giveUp);
    assert.equal(version.executors, 2);
    const before = calls().length;
    const end = performance.now() + 500;
    await closedLoop(16, call, () => performance.now() > end);
    assert.equal(
      new Set(
        calls()
          .slice(before)
          .map(({ pid }) => pid),
      ).size,
      2,
      'both are used',
    );
    assert.equal(metersOf(service, 'slow').restarts, 0);
  });
});
