import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { gatherPoison, ident, intDivide, loopHang } from '../../support/models.ts';
import {
  type Answer,
  expectError,
  type InferRequest,
  parseReply,
  type Scope,
  startServer,
  type TestServer,
  useServer,
} from '../../support/server.ts';
import { requestBytes, WireConnection } from '../../support/wire.ts';

/** Requests that share runs; the numbers are those of the protocol's conformance list. */

const LABELS = { model: 'slow', version: '1' };

/** Iterations of the model `slow` that keep its executor busy while a test sets up what waits behind it. */
const BUSY_TRIPS = 150_000;

const trips = (...data: number[]): InferRequest => ({
  inputs: [{ name: 'trips', datatype: 'INT64', shape: [data.length], data }],
});
const ints = (name: string, ...data: number[]): object => ({ name, datatype: 'INT32', shape: [data.length], data });
const rows = (count: number, width: number, first: number): InferRequest => ({
  inputs: [
    {
      name: 'x',
      datatype: 'FP32',
      shape: [count, width],
      data: Array.from({ length: count * width }, (_, i) => first + i),
    },
  ],
});
const dataOf = (answer: Answer): readonly unknown[] => parseReply(answer).outputs[0]!.data!;

/** A server whose only executor of the model `slow` is busy, with a request that runs. */
async function busyServer(scope: Scope, options: object): Promise<{ running: TestServer; first: Promise<Answer> }> {
  const running = await startServer(scope, { slow: loopHang() }, { instances: 1, ...options });
  const first = running.infer('slow', trips(BUSY_TRIPS));
  await until(running, (inflight, queued) => inflight === 1 && queued === 0);
  return { running, first };
}

/** Resolves when requests in flight and rows queued of the model `slow` are as wanted. */
async function until(running: TestServer, wanted: (inflight: number, queued: number) => boolean): Promise<void> {
  for (;;) {
    const metrics = await running.metrics();
    if (wanted(metrics.value('shoal_inflight_requests', LABELS), metrics.value('shoal_queue_rows', LABELS))) return;
  }
}

describe('a busy model', () => {
  it('case 55: who finds the queue full is told when to come back, and the others are answered', async (t) => {
    const { running, first } = await busyServer(t, { maxQueueRows: 1 });
    const second = running.infer('slow', trips(5));
    await until(running, (_, queued) => queued === 1);
    const third = await running.infer('slow', trips(6));
    expectError(third, 'QUEUE_FULL', /'slow' is full: 1 rows wait, 1 may/);
    assert.match(String(third.headers['retry-after']), /^[1-9]\d*$/);
    assert.deepEqual(dataOf(await first), [BUSY_TRIPS]);
    assert.deepEqual(dataOf(await second), [5]);
    assert.equal((await running.metrics()).value('shoal_rejected_total', { ...LABELS, reason: 'queue_full' }), 1);
  });

  it('case 68: a client that leaves while it waits is dropped and counted, and its batch is unaffected', async (t) => {
    const { running, first } = await busyServer(t, {});
    const leaver = await WireConnection.open(running.port);
    await leaver.send(requestBytes('POST', '/v2/models/slow/infer', JSON.stringify(trips(7))));
    const stayers = [1, 2, 3].map((n) => running.infer('slow', trips(n)));
    await until(running, (_, queued) => queued === 4);
    leaver.socket.destroy();
    await until(running, (_, queued) => queued === 3);
    await first;
    assert.deepEqual(await Promise.all(stayers.map(async (stayer) => dataOf(await stayer))), [[1], [2], [3]]);
    const metrics = await running.metrics();
    assert.equal(metrics.value('shoal_cancelled_total', LABELS), 1);
    assert.equal(metrics.value('shoal_requests_total', { ...LABELS, protocol: 'v2', outcome: 'cancelled' }), 1);
    assert.equal(metrics.value('shoal_requests_total', { ...LABELS, protocol: 'v2', outcome: 'ok' }), 4);
    const { batch_stats } = await running.statistics('slow');
    assert.deepEqual(
      batch_stats.map(({ batch_size }) => batch_size),
      [1, 3],
    );
    assert.deepEqual(running.logged, []);
  });

  it('a client that leaves while its request runs is counted, and the model serves on', async (t) => {
    const { running, first } = await busyServer(t, {});
    const controller = new AbortController();
    const leaver = running.infer('slow', trips(3), {}, { signal: controller.signal });
    await until(running, (_, queued) => queued === 1);
    const after = running.infer('slow', trips(4));
    await first;
    controller.abort();
    await assert.rejects(leaver);
    assert.deepEqual(dataOf(await after), [4]);
    assert.deepEqual(dataOf(await running.infer('slow', trips(5))), [5]);
  });

  it('several clients that leave at once leave nothing behind', async (t) => {
    const { running, first } = await busyServer(t, {});
    const leavers = await Promise.all(Array.from({ length: 32 }, () => WireConnection.open(running.port)));
    const bytes = requestBytes('POST', '/v2/models/slow/infer', JSON.stringify(trips(7)));
    await Promise.all(leavers.map((leaver) => leaver.send(bytes)));
    await until(running, (_, queued) => queued === 32);
    for (const leaver of leavers) leaver.socket.resetAndDestroy();
    await until(running, (inflight, queued) => queued === 0 && inflight <= 1);
    await first;
    const metrics = await running.metrics();
    assert.equal(metrics.value('shoal_cancelled_total', LABELS), 32);
    assert.equal(metrics.value('shoal_queue_bytes'), 0);
    assert.equal((await running.statistics('slow')).execution_count, 1);
  });
});

describe('requests that share a run', () => {
  const running = useServer(() => ({ ident: ident('FP32'), gather: gatherPoison() }), {
    maxBatchSize: 8,
    instances: 1,
    batchWindow: '60ms',
  });

  it('case 69: eight callers share runs, and each gets its own rows', async () => {
    const before = await running().statistics('ident');
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => running().infer('ident', rows(1, 3, 10 * i))),
    );
    for (const [i, answer] of answers.entries()) assert.deepEqual(dataOf(answer), [10 * i, 10 * i + 1, 10 * i + 2]);
    const after = await running().statistics('ident');
    assert.equal(after.inference_count - before.inference_count, 8);
    assert.ok(after.execution_count - before.execution_count < 8);
  });

  it('case 70: no run is larger than the limit', async () => {
    const before = await running().statistics('ident');
    const answers = await Promise.all([3, 4, 2].map((count) => running().infer('ident', rows(count, 4, 100 * count))));
    for (const [i, count] of [3, 4, 2].entries()) {
      assert.deepEqual(parseReply(answers[i]!).outputs[0]!.shape, [count, 4]);
      assert.deepEqual(
        dataOf(answers[i]!),
        Array.from({ length: 4 * count }, (_, k) => 100 * count + k),
      );
    }
    const after = await running().statistics('ident');
    assert.equal(after.inference_count - before.inference_count, 9);
    assert.ok(after.batch_stats.every(({ batch_size }) => batch_size <= 8));
  });

  it('case 71: requests of different dimensions are not merged', async () => {
    const widths = [1, 2, 3, 2, 1, 5, 3];
    const answers = await Promise.all(widths.map((width, i) => running().infer('ident', rows(2, width, 1000 * i))));
    for (const [i, width] of widths.entries()) {
      assert.deepEqual(parseReply(answers[i]!).outputs[0]!.shape, [2, width]);
      assert.deepEqual(
        dataOf(answers[i]!),
        Array.from({ length: 2 * width }, (_, k) => 1000 * i + k),
      );
    }
  });

  it('case 72: a row that the runtime refuses fails alone', async () => {
    const ids = [1, 2, 99, 3, 4, 5, -11, 6];
    const answers = await Promise.all(
      ids.map((id) =>
        running().infer('gather', { inputs: [{ name: 'ids', datatype: 'INT64', shape: [1], data: [id] }] }),
      ),
    );
    for (const [i, id] of ids.entries()) {
      if (id === 99 || id === -11) expectError(answers[i]!, 'INVALID_REQUEST', /'gather'.*Gather/);
      else assert.deepEqual(dataOf(answers[i]!), [id * 10, id * 10 + 1, id * 10 + 2]);
    }
    const metrics = await running().metrics();
    assert.ok(metrics.value('shoal_batches_total', { model: 'gather', version: '1', reason: 'retry' }) > 0);
  });
});

describe('an executor that dies', () => {
  it('case 73: its batch is tried again, the killer alone is refused, and the server is not ready meanwhile', async (t) => {
    const running = await startServer(t, { div: intDivide() }, { instances: 1, batchWindow: '60ms' });
    const divide = (a: number, b: number): Promise<Answer> =>
      running.infer('div', { inputs: [ints('a', a), ints('b', b)] });
    const seen = new Set<number>();
    let over = false;
    const watch = (async () => {
      while (!over) seen.add((await running.get('/v2/health/ready')).status);
    })();
    // Three rows: from four on the runtime divides in vectors, which survive it.
    const pairs = [6, -2147483648, 9].map((a): [number, number] => [a, a < 0 ? -1 : 2]);
    const answers = await Promise.all(pairs.map(([a, b]) => divide(a, b)));
    for (const [i, [a]] of pairs.entries()) {
      if (a < 0) expectError(answers[i]!, 'EXECUTOR_LOST', /'div'/);
      else assert.deepEqual(dataOf(answers[i]!), [Math.trunc(a / 2)]);
    }
    assert.deepEqual(dataOf(await divide(10, 5)), [2]);
    over = true;
    await watch;
    assert.deepEqual([...seen].sort(), [200, 503], 'readiness dipped and came back');
    const metrics = await running.metrics();
    assert.ok(metrics.value('shoal_executor_restarts_total', { model: 'div', version: '1' }) >= 2);

    // Known by now, so that it cannot kill another executor.
    expectError(await divide(-2147483648, -1), 'EXECUTOR_LOST', /twice; they are refused/);
    assert.deepEqual(dataOf(await divide(12, 5)), [2]);
  });

  it('a hung run is ended, and the request that hangs twice is refused', async (t) => {
    const running = await startServer(t, { slow: loopHang() }, { instances: 1 }, { hangFloorMs: 200 });
    const hang = running.infer('slow', trips(1e12));
    await until(running, (inflight, queued) => inflight === 1 && queued === 0);
    const innocent = running.infer('slow', trips(3));
    assert.deepEqual(dataOf(await innocent), [3]);
    expectError(await hang, 'EXECUTOR_LOST', /'slow'.*CPU time/);
    assert.equal(running.logged.filter(({ level }) => level === 'error').length, 0);
  });

  it('a connection whose request was answered with an error serves the next one', async (t) => {
    const running = await startServer(t, { gather: gatherPoison() });
    const connection = await WireConnection.open(running.port);
    t.after(async () => connection.close());
    const body = (id: number): string =>
      JSON.stringify({ inputs: [{ name: 'ids', datatype: 'INT64', shape: [1], data: [id] }] });
    for (const [id, status] of [
      [99, 400],
      [1, 200],
      [98, 400],
      [2, 200],
    ] as const) {
      await connection.send(requestBytes('POST', '/v2/models/gather/infer', body(id)));
      assert.equal((await connection.response()).status, status);
    }
    connection.socket.end();
    await once(connection.socket, 'close');
  });
});
