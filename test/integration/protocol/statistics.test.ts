import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BUSY_LABELS, numbers, startBusyServer } from '../../support/busy.ts';
import { add2, broken, gatherPoison, ident } from '../../support/models.ts';
import {
  expectError,
  type InferRequest,
  parseJson,
  parseReply,
  type StatisticDuration,
  type Statistics,
  startServer,
  type TestClient,
  useServer,
} from '../../support/server.ts';

/** Statistics and Triton's metrics; the numbers are those of the protocol's conformance list. */

const rows = (count: number): InferRequest => ({
  inputs: [{ name: 'x', datatype: 'FP32', shape: [count, 4], data: Array(count * 4).fill(1) }],
});
const ids = (...data: number[]): InferRequest => ({
  inputs: [{ name: 'ids', datatype: 'INT64', shape: [data.length], data }],
});

const STAGES = ['queue', 'compute_input', 'compute_infer', 'compute_output'] as const;
const NEVER: StatisticDuration = { count: 0, ns: 0 };

async function statisticsAt(client: TestClient, target: string): Promise<Statistics[]> {
  const body = (await client.json(target)) as { readonly model_stats: Statistics[] };
  assert.deepEqual(Object.keys(body), ['model_stats']);
  for (const one of body.model_stats) checkWholeNumbers(one);
  return body.model_stats;
}

/** Clients read every number as an unsigned integer, and stop at anything else. */
function checkWholeNumbers(value: unknown): void {
  if (typeof value === 'number') assert.ok(Number.isSafeInteger(value) && value >= 0, `${value}`);
  else if (typeof value === 'object' && value !== null) for (const one of Object.values(value)) checkWholeNumbers(one);
}

/** What holds of the numbers of one reply, whenever it was asked for. */
function checkAgreement({ inference_stats, execution_count, batch_stats, inference_count }: Statistics): void {
  const { success } = inference_stats;
  let partsNs = 0;
  for (const stage of STAGES) {
    assert.equal(inference_stats[stage].count, success.count, stage);
    partsNs += inference_stats[stage].ns;
  }
  assert.equal(success.ns, partsNs);
  let runs = 0;
  let rowsRun = 0;
  for (const { batch_size, compute_input, compute_infer, compute_output } of batch_stats) {
    assert.deepEqual([compute_input.count, compute_output.count], [compute_infer.count, compute_infer.count]);
    runs += compute_infer.count;
    rowsRun += batch_size * compute_infer.count;
  }
  assert.equal(runs, execution_count);
  assert.equal(rowsRun, inference_count, 'nobody left, so that each row that was run has been answered');
}

describe('statistics', () => {
  it('case 74: every version that is ready is listed, with every key at zero before the first request', async (t) => {
    const running = await startServer(t, {
      add2: { '1': add2(), '2': add2() },
      ident: ident('FP32'),
      broken: broken(),
    });
    const all = await statisticsAt(running, '/v2/models/stats');
    const nothing = (name: string, version: string): Statistics => ({
      name,
      version,
      last_inference: 0,
      inference_count: 0,
      execution_count: 0,
      inference_stats: {
        success: NEVER,
        fail: NEVER,
        queue: NEVER,
        compute_input: NEVER,
        compute_infer: NEVER,
        compute_output: NEVER,
        cache_hit: NEVER,
        cache_miss: NEVER,
      },
      response_stats: {},
      batch_stats: [],
      memory_usage: [],
    });
    assert.deepEqual(all, [nothing('add2', '1'), nothing('add2', '2'), nothing('ident', '1')]);
    assert.deepEqual(await statisticsAt(running, '/v2/models/add2/stats'), all.slice(0, 2));
    assert.deepEqual(await statisticsAt(running, '/v2/models/broken/stats'), []);
  });

  it('case 75: one request of three rows is one success, one run and three inferences', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') });
    const beforeMs = Date.now();
    parseReply(await running.infer('ident', rows(3)));
    const [one] = await statisticsAt(running, '/v2/models/ident/stats');
    const { inference_stats, batch_stats, last_inference } = one!;
    assert.deepEqual([one!.inference_count, one!.execution_count], [3, 1]);
    for (const stage of ['success', ...STAGES] as const) assert.equal(inference_stats[stage].count, 1, stage);
    assert.deepEqual(inference_stats.fail, NEVER);
    const { queue, compute_input, compute_infer, compute_output, success } = inference_stats;
    assert.ok(success.ns >= queue.ns + compute_input.ns + compute_infer.ns + compute_output.ns);
    assert.ok(compute_infer.ns > 0);
    assert.deepEqual(
      batch_stats.map(({ batch_size, compute_infer: { count } }) => [batch_size, count]),
      [[3, 1]],
    );
    assert.ok(last_inference >= beforeMs && last_inference <= Date.now());
    checkAgreement(one!);
  });

  it('case 76: a failed run counts as one failure and nothing else, a refusal as nothing', async (t) => {
    const running = await startServer(t, { gather: gatherPoison() });
    parseReply(await running.infer('gather', ids(1)));
    const [before] = await statisticsAt(running, '/v2/models/gather/stats');
    for (const wrong of ['{', '{"inputs":[]}', JSON.stringify(rows(1))])
      expectError(await running.infer('gather', wrong), 'INVALID_REQUEST');
    assert.deepEqual(await statisticsAt(running, '/v2/models/gather/stats'), [before]);

    expectError(await running.infer('gather', ids(99)), 'INVALID_REQUEST', /Gather/);
    const [after] = await statisticsAt(running, '/v2/models/gather/stats');
    const { fail } = after!.inference_stats;
    assert.equal(fail.count, 1);
    assert.ok(fail.ns > 0);
    const inference_stats = { ...before!.inference_stats, fail };
    assert.deepEqual(after, { ...before!, last_inference: after!.last_inference, inference_stats });
  });

  it('case 76: so does a request whose time in the queue is over', async (t) => {
    const { running, first, release } = await startBusyServer(t);
    expectError(await running.infer('ident', numbers([1], { timeout: 1000 })), 'DEADLINE_EXCEEDED');
    const [waiting] = await statisticsAt(running, '/v2/models/ident/stats');
    const { fail, ...others } = waiting!.inference_stats;
    assert.equal(fail.count, 1);
    assert.ok(fail.ns >= 1e6, `${fail.ns} ns are less than the millisecond it may wait`);
    for (const [name, one] of Object.entries(others)) assert.deepEqual(one, NEVER, name);
    release();
    parseReply(await first);
  });

  it('case 77: a version is asked for alone, and an unknown one is not found', async (t) => {
    const running = await startServer(t, { add2: { '1': add2(), '2': add2() } });
    const [one, ...more] = await statisticsAt(running, '/v2/models/add2/versions/1/stats');
    assert.deepEqual([one!.name, one!.version, more], ['add2', '1', []]);
    expectError(await running.get('/v2/models/add2/versions/9/stats'), 'MODEL_NOT_FOUND');
    expectError(await running.get('/v2/models/nope/stats'), 'MODEL_NOT_FOUND');
  });

  it('case 78: under 10,000 requests every sample agrees with itself', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') });
    let left = 10_000;
    const caller = async (size: number): Promise<void> => {
      const body = JSON.stringify(rows(size));
      while (left-- > 0) assert.equal((await running.infer('ident', body)).status, 200);
    };
    let over = false;
    let samples = 0;
    const watch = (async () => {
      let last = 0;
      while (!over) {
        const [one] = await statisticsAt(running, '/v2/models/ident/stats');
        checkAgreement(one!);
        assert.ok(one!.inference_stats.success.count >= last);
        last = one!.inference_stats.success.count;
        samples++;
      }
    })();
    await Promise.all(Array.from({ length: 48 }, (_, i) => caller(1 + (i % 3))));
    over = true;
    await watch;
    assert.ok(samples > 10, `${samples} samples`);
    const [end] = await statisticsAt(running, '/v2/models/ident/stats');
    assert.equal(end!.inference_stats.success.count, 10_000);
    assert.ok(end!.execution_count < 10_000, 'requests have shared runs');
  });
});

describe("Triton's metrics", () => {
  const COUNTERS = [
    'nv_inference_request_success',
    'nv_inference_count',
    'nv_inference_exec_count',
    'nv_inference_request_duration_us',
    'nv_inference_queue_duration_us',
    'nv_inference_compute_input_duration_us',
    'nv_inference_compute_infer_duration_us',
    'nv_inference_compute_output_duration_us',
    'nv_inference_pending_request_count',
    'nv_inference_first_response_histogram_ms_count',
  ];
  const REASONS = ['REJECTED', 'CANCELED', 'BACKEND', 'OTHER'];

  describe('asked for', () => {
    const running = useServer(() => ({ add2: { '1': add2(), '2': add2() } }), { tritonMetrics: true });

    it('case 79: a first scrape has every series at zero', async () => {
      const metrics = await running().metrics();
      for (const version of ['1', '2']) {
        const labels = { model: 'add2', version };
        for (const name of COUNTERS) assert.equal(metrics.value(name, labels), 0, name);
        for (const reason of REASONS)
          assert.equal(metrics.value('nv_inference_request_failure', { ...labels, reason }), 0, reason);
        assert.ok(metrics.value('nv_model_load_duration_secs', labels) > 0);
      }
      assert.match(metrics.text, /^# TYPE nv_inference_request_success counter$/m);
      assert.match(metrics.text, /^# TYPE nv_inference_pending_request_count gauge$/m);
    });

    it('case 79: unloading a model removes its series, loading it again begins them at zero', async (t) => {
      const one = await startServer(
        t,
        { add2: add2(), ident: ident('FP32') },
        { tritonMetrics: true, modelControlMode: 'explicit', loadModel: ['*'] },
      );
      const change = async (what: 'load' | 'unload'): Promise<void> =>
        void parseJson(await one.send('POST', `/v2/repository/models/ident/${what}`), 200);
      const idents = { model: 'ident', version: '1' };
      parseReply(await one.infer('ident', rows(2)));
      assert.equal((await one.metrics()).value('nv_inference_count', idents), 2);
      await change('unload');
      let metrics = await one.metrics();
      // Unloading is answered while what was accepted is still finished.
      while (metrics.text.includes('model="ident"')) metrics = await one.metrics();
      assert.equal(metrics.value('nv_inference_count', { model: 'add2', version: '1' }), 0, 'the other model stays');
      await change('load');
      metrics = await one.metrics();
      for (const name of COUNTERS) assert.equal(metrics.value(name, idents), 0, name);
      parseReply(await one.infer('ident', rows(3)));
      assert.equal((await one.metrics()).value('nv_inference_count', idents), 3);
    });

    it('they agree with the statistics, to the microsecond', async () => {
      const input = (name: string): object => ({ name, datatype: 'FP32', shape: [2, 4], data: Array(8).fill(1) });
      const body = { inputs: [input('a'), input('b')] };
      for (let i = 0; i < 5; i++) parseReply(await running().infer('add2', body));
      expectError(await running().infer('add2', { inputs: [input('a')] }), 'INVALID_REQUEST');
      const metrics = await running().metrics();
      const { inference_count, execution_count, inference_stats } = await running().statistics('add2');
      const value = (name: string): number => metrics.value(name, { model: 'add2', version: '2' });
      assert.deepEqual(
        [value('nv_inference_count'), value('nv_inference_exec_count'), value('nv_inference_request_success')],
        [inference_count, execution_count, inference_stats.success.count],
      );
      assert.deepEqual([inference_count, execution_count], [10, 5]);
      assert.equal(value('nv_inference_first_response_histogram_ms_count'), 5);
      let parts = 0;
      for (const stage of STAGES) {
        const us = value(`nv_inference_${stage}_duration_us`);
        assert.ok(Math.abs(us - inference_stats[stage].ns / 1e3) <= 0.501, stage);
        parts += us;
      }
      assert.equal(value('nv_inference_request_duration_us'), parts);
      assert.equal(metrics.sum('nv_inference_request_failure'), 0, 'a refusal is no failure');
    });
  });

  it('who waits is pending, and who runs is not', async (t) => {
    const { running, first, release, until } = await startBusyServer(t, { tritonMetrics: true });
    const waiting = [running.infer('ident', numbers([1, 2, 3])), running.infer('ident', numbers([4]))];
    const metrics = await until(3, 4);
    assert.equal(metrics.value('nv_inference_pending_request_count', BUSY_LABELS), 2);
    release();
    for (const answer of await Promise.all([first, ...waiting])) parseJson(answer, 200);
    assert.equal((await running.metrics()).value('nv_inference_pending_request_count', BUSY_LABELS), 0);
  });

  it('are not there unless asked for', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') });
    assert.doesNotMatch((await running.metrics()).text, /nv_/);
  });
});
