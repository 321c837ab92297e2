import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { BUSY_LABELS, numbers, startBusyServer } from '../../support/busy.ts';
import { gatherPoison, ident, intDivide, loopHang } from '../../support/models.ts';
import {
  type Answer,
  expectError,
  type InferRequest,
  parseReply,
  startServer,
  useServer,
} from '../../support/server.ts';
import { requestBytes, WireConnection } from '../../support/wire.ts';

/** Requests that share runs; the numbers are those of the protocol's conformance list. */

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

describe('a busy model', () => {
  it('case 54: whose time in the queue is over is told so, is never run, and counts as rejected', async (t) => {
    const { running, first, release, until } = await startBusyServer(t, { tritonMetrics: true });
    const sentMs = performance.now();
    const late = await running.infer('ident', numbers([1, 2, 3], { timeout: 1000 }));
    const waitedMs = performance.now() - sentMs;
    expectError(late, 'DEADLINE_EXCEEDED', /'ident'/);
    // One millisecond in the queue; a machine that does other things takes longer, but never as long as a request may.
    assert.ok(waitedMs >= 1 && waitedMs < 5000, `${waitedMs} ms`);
    const metrics = await until(1, 0);
    const failures = (reason: string): number =>
      metrics.value('nv_inference_request_failure', { ...BUSY_LABELS, reason });
    assert.deepEqual(['REJECTED', 'CANCELED', 'BACKEND', 'OTHER'].map(failures), [1, 0, 0, 0]);
    release();
    assert.deepEqual(dataOf(await first), [0]);
    const { inference_count, execution_count } = await running.statistics('ident');
    assert.deepEqual([inference_count, execution_count], [1, 1], 'three rows were never run');
  });

  it('case 55: who finds the queue full is told when to come back, and the others are answered', async (t) => {
    const config = 'max_batch_size: 8 dynamic_batching { default_queue_policy { max_queue_size: 1 } }';
    const model = { '1': ident('FP32'), 'config.pbtxt': Buffer.from(config) };
    const { running, first, release, until } = await startBusyServer(t, { tritonMetrics: true }, model);
    const second = running.infer('ident', numbers([5]));
    await until(2, 1);
    const third = await running.infer('ident', numbers([6]));
    expectError(third, 'QUEUE_FULL', /'ident' is full: 1 requests may wait/);
    assert.match(String(third.headers['retry-after']), /^[1-9]\d*$/);
    release();
    assert.deepEqual(dataOf(await first), [0]);
    assert.deepEqual(dataOf(await second), [5]);
    const metrics = await running.metrics();
    assert.equal(metrics.value('shoal_rejected_total', { ...BUSY_LABELS, reason: 'queue_full' }), 1);
    assert.equal(metrics.value('nv_inference_request_failure', { ...BUSY_LABELS, reason: 'REJECTED' }), 1);
    assert.equal(metrics.value('nv_inference_request_success', BUSY_LABELS), 2);
  });

  it('case 68: a client that leaves while it waits is dropped and counted, and its batch is unaffected', async (t) => {
    const { running, first, release, until } = await startBusyServer(t, { tritonMetrics: true });
    const leaver = await WireConnection.open(running.port);
    await leaver.send(requestBytes('POST', '/v2/models/ident/infer', JSON.stringify(numbers([7]))));
    const stayers = [1, 2, 3].map((n) => running.infer('ident', numbers([n])));
    await until(5, 4);
    leaver.close();
    await until(4, 3);
    release();
    await first;
    assert.deepEqual(await Promise.all(stayers.map(async (stayer) => dataOf(await stayer))), [[1], [2], [3]]);
    const metrics = await running.metrics();
    assert.equal(metrics.value('shoal_cancelled_total', BUSY_LABELS), 1);
    assert.equal(metrics.value('nv_inference_request_failure', { ...BUSY_LABELS, reason: 'CANCELED' }), 1);
    assert.equal(metrics.value('shoal_requests_total', { ...BUSY_LABELS, protocol: 'v2', outcome: 'cancelled' }), 1);
    assert.equal(metrics.value('shoal_requests_total', { ...BUSY_LABELS, protocol: 'v2', outcome: 'ok' }), 4);
    const { batch_stats } = await running.statistics('ident');
    assert.deepEqual(
      batch_stats.map(({ batch_size }) => batch_size),
      [1, 3],
    );
    assert.deepEqual(running.logged, []);
  });

  it('a client that leaves while its request runs is counted, and its neighbours are answered', async (t) => {
    const { running, first, release, until } = await startBusyServer(t);
    const leaver = await WireConnection.open(running.port);
    await leaver.send(requestBytes('POST', '/v2/models/ident/infer', JSON.stringify(numbers([3]))));
    const neighbour = running.infer('ident', numbers([4]));
    await until(3, 2);
    release();
    await first;
    // The two of them run together now, or have run.
    leaver.close();
    assert.deepEqual(dataOf(await neighbour), [4]);
    assert.deepEqual(dataOf(await running.infer('ident', numbers([5]))), [5]);
    await until(0, 0);
    assert.deepEqual(running.logged, []);
  });

  it('several clients that leave at once leave nothing behind', async (t) => {
    const { running, first, release, until } = await startBusyServer(t);
    const leavers = await Promise.all(Array.from({ length: 32 }, () => WireConnection.open(running.port)));
    const bytes = requestBytes('POST', '/v2/models/ident/infer', JSON.stringify(numbers([7])));
    await Promise.all(leavers.map((leaver) => leaver.send(bytes)));
    await until(33, 32);
    for (const leaver of leavers) leaver.socket.resetAndDestroy();
    const metrics = await until(1, 0);
    assert.equal(metrics.value('shoal_cancelled_total', BUSY_LABELS), 32);
    release();
    await first;
    assert.equal((await until(0, 0)).value('shoal_queue_bytes'), 0);
    assert.equal((await running.statistics('ident')).execution_count, 1);
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
    const inflight = { model: 'slow', version: '1' };
    while ((await running.metrics()).value('shoal_inflight_requests', inflight) === 0);
    const innocent = running.infer('slow', trips(3));
    assert.deepEqual(dataOf(await innocent), [3]);
    // On a machine that is busy otherwise the limit of the wall clock is reached first.
    expectError(await hang, 'EXECUTOR_LOST', /'slow'.*(CPU time|did not end within 1200 ms)/);
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
