import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeTensor } from '../../../src/index.ts';
import { numbers, startBusyServer } from '../../support/busy.ts';
import { add2, broken, ident } from '../../support/models.ts';
import { expectError, type InferRequest, startServer, TestClient } from '../../support/server.ts';
import { requestBytes, WireConnection } from '../../support/wire.ts';

/** What is counted, and the page for people. */

const rows = (count: number): InferRequest => ({
  inputs: [{ name: 'x', datatype: 'FP32', shape: [count, 4], data: Array(count * 4).fill(1) }],
});
const IDENT = { model: 'ident', version: '1' };

/** Labels of each series of a model version, besides `model` and `version`. */
const PER_VERSION: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  shoal_requests_total: {
    protocol: ['v1', 'v2', 'grpc', 'library'],
    outcome: ['ok', 'invalid', 'rejected', 'expired', 'cancelled', 'failed', 'lost', 'unavailable'],
  },
  shoal_request_duration_seconds_count: {},
  shoal_request_duration_seconds_sum: {},
  shoal_stage_duration_seconds_count: { stage: ['decode', 'queue', 'handover', 'compute', 'handback', 'encode'] },
  shoal_batch_rows_count: {},
  shoal_batch_requests_count: {},
  shoal_batches_total: { reason: ['idle', 'freed', 'full', 'split', 'window', 'alone', 'retry'] },
  shoal_queue_rows: {},
  shoal_inflight_requests: {},
  shoal_rejected_total: { reason: ['queue_full', 'deadline_unreachable'] },
  shoal_cancelled_total: {},
  shoal_executor_restarts_total: {},
  shoal_executor_busy_seconds_total: {},
  shoal_switch_ratio: {},
  shoal_compute_seconds_total: {},
  shoal_switch_seconds_total: {},
  shoal_request_cost_seconds_total: {},
};

function* combinations(labels: Readonly<Record<string, readonly string[]>>): Generator<Record<string, string>> {
  const [first, ...rest] = Object.entries(labels);
  if (first === undefined) yield {};
  else {
    for (const value of first[1])
      for (const other of combinations(Object.fromEntries(rest))) yield { [first[0]]: value, ...other };
  }
}

describe('metrics', () => {
  it('a first scrape has every series, at zero', async (t) => {
    const running = await startServer(t, { ident: ident('FP32'), broken: broken(), two: { '1': add2(), '2': add2() } });
    const metrics = await running.metrics();
    for (const version of [IDENT, { model: 'two', version: '1' }, { model: 'two', version: '2' }]) {
      for (const [name, labels] of Object.entries(PER_VERSION)) {
        for (const one of combinations(labels)) assert.equal(metrics.value(name, { ...version, ...one }), 0, name);
      }
      assert.equal(metrics.value('shoal_model_state', { ...version, state: 'ready' }), 1);
      assert.equal(metrics.sum('shoal_model_state', version), 1);
      assert.equal(metrics.value('shoal_executors', version), 1);
      assert.ok(metrics.value('shoal_model_load_duration_seconds', version) > 0);
      assert.equal(metrics.sum('shoal_model_info', version), 1);
    }
    const failed = { model: 'broken', version: '1' };
    assert.equal(metrics.value('shoal_model_state', { ...failed, state: 'failed' }), 1);
    assert.equal(metrics.value('shoal_executors', failed), 0);
    assert.equal(metrics.sum('shoal_build_info'), 1);
    assert.equal(metrics.value('shoal_queue_bytes'), 0);
    assert.ok(metrics.value('shoal_granted_cores') >= 1);
    assert.ok(metrics.value('process_resident_memory_bytes') > 0);
  });

  it('the event loop is watched', async (t) => {
    const running = await startServer(t, {});
    let count = 0;
    while (count < 3) count = (await running.metrics()).value('shoal_event_loop_delay_seconds_count');
    const metrics = await running.metrics();
    assert.equal(
      metrics.value('shoal_event_loop_delay_seconds_bucket', { le: '+Inf' }),
      metrics.value('shoal_event_loop_delay_seconds_count'),
    );
  });

  it('the format is the text format, and every name has one help and one type', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') });
    const { headers, body } = await running.get('/metrics');
    assert.match(String(headers['content-type']), /^text\/plain; version=0\.0\.4; charset=utf-8$/);
    const names = [...body.toString().matchAll(/^# TYPE (\w+) (\w+)$/gm)].map((match) => match[1]!);
    assert.deepEqual(names, [...new Set(names)]);
    for (const name of names) assert.match(body.toString(), new RegExp(`^# HELP ${name} \\S`, 'm'));
  });

  it('counts add up after a known mix of requests', async (t) => {
    const { running, first, release, until } = await startBusyServer(t);
    const waiting = Array.from({ length: 11 }, () => running.infer('ident', numbers([1])));
    await until(12, 11);
    release();
    await Promise.all([first, ...waiting]);
    for (let i = 0; i < 5; i++) await running.infer('ident', rows(1));
    await running.infer('ident', rows(7));
    for (const wrong of ['{', '{}', '{"inputs":[]}']) await running.infer('ident', wrong);
    await running.infer('ident', rows(129));
    for (let i = 0; i < 3; i++) await running.infer(`unknown-${i}`, rows(1));
    await running.send('POST', '/v2/models/ident/versions/9/infer', JSON.stringify(rows(1)));
    const x = makeTensor('FP32', [2, 4], new Float32Array(8));
    await running.server.infer('ident', { x });
    await assert.rejects(running.server.infer('ident', {}));
    await assert.rejects(running.server.infer('unknown', { x }));

    const metrics = await running.metrics();
    const requests = (protocol: string, outcome: string): number =>
      metrics.value('shoal_requests_total', { ...IDENT, protocol, outcome });
    assert.equal(requests('v2', 'ok'), 18);
    assert.equal(requests('v2', 'invalid'), 4);
    assert.equal(requests('library', 'ok'), 1);
    assert.equal(requests('library', 'invalid'), 1);
    assert.equal(metrics.sum('shoal_requests_total'), 24);
    assert.equal(metrics.value('shoal_request_duration_seconds_count', IDENT), 24);

    const runs = metrics.sum('shoal_batches_total', IDENT);
    assert.equal(runs, 9, 'one for the first, one for those that waited, seven for who came alone');
    assert.equal(metrics.value('shoal_batches_total', { ...IDENT, reason: 'freed' }), 1);
    assert.equal(metrics.value('shoal_batch_rows_count', IDENT), runs);
    assert.equal(metrics.value('shoal_batch_requests_count', IDENT), runs);
    assert.equal(metrics.value('shoal_batch_rows_sum', IDENT), 1 + 11 + 5 + 7 + 2);
    assert.equal(metrics.value('shoal_batch_requests_sum', IDENT), 19);
    assert.equal(metrics.value('shoal_batch_rows_bucket', { ...IDENT, le: '+Inf' }), runs);
    for (const stage of ['decode', 'queue', 'handover', 'compute', 'handback', 'encode']) {
      // Those that were wrong came no further than decoding.
      const count = metrics.value('shoal_stage_duration_seconds_count', { ...IDENT, stage });
      assert.equal(count, stage === 'decode' ? 24 : 19, stage);
    }
    assert.equal(metrics.value('shoal_inflight_requests', IDENT), 0);
    assert.equal(metrics.value('shoal_queue_rows', IDENT), 0);
    assert.equal(metrics.value('shoal_queue_bytes'), 0);

    const busy = metrics.value('shoal_executor_busy_seconds_total', IDENT);
    const compute = metrics.value('shoal_stage_duration_seconds_sum', { ...IDENT, stage: 'compute' });
    assert.ok(busy > 0 && compute > 0);
    const ratio = metrics.value('shoal_switch_ratio', IDENT);
    assert.ok(ratio > 0 && ratio < 1, `${ratio}`);

    const statistics = await running.statistics('ident');
    assert.equal(statistics.inference_count, 26);
    assert.equal(statistics.execution_count, runs);
    assert.equal(
      statistics.batch_stats.reduce((sum, { compute_infer }) => sum + compute_infer.count, 0),
      runs,
    );
    assert.deepEqual([...metrics.labelValues('model')], ['ident']);
  });

  it('stages of all answered requests add up to their durations', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') });
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        for (let i = 0; i < 10; i++) await running.infer('ident', rows(8));
      }),
    );
    const metrics = await running.metrics();
    const whole = metrics.value('shoal_request_duration_seconds_sum', IDENT);
    const parts = metrics.sum('shoal_stage_duration_seconds_sum', IDENT);
    assert.ok(Math.abs(whole - parts) <= 0.05 * whole, `${parts} of ${whole}`);
  });

  it('the rejected, the expired and the leavers are told apart', async (t) => {
    const { running, first, release, until } = await startBusyServer(t, { maxQueueRows: 3 });
    const leaver = await WireConnection.open(running.port);
    await leaver.send(requestBytes('POST', '/v2/models/ident/infer', JSON.stringify(numbers([7, 7]))));
    assert.equal((await until(2, 2)).value('shoal_queue_bytes'), 12);
    const expired = await running.infer('ident', numbers([1], { timeout: 20_000 }));
    expectError(expired, 'DEADLINE_EXCEEDED');
    for (let i = 0; i < 4; i++) expectError(await running.infer('ident', numbers([1, 2])), 'QUEUE_FULL');
    leaver.close();
    await until(1, 0);
    release();
    assert.equal((await first).status, 200);

    const metrics = await until(0, 0);
    const outcome = (name: string): number =>
      metrics.value('shoal_requests_total', { ...IDENT, protocol: 'v2', outcome: name });
    assert.deepEqual(
      ['ok', 'rejected', 'expired', 'cancelled', 'invalid', 'failed', 'lost', 'unavailable'].map(outcome),
      [1, 4, 1, 1, 0, 0, 0, 0],
    );
    assert.equal(metrics.value('shoal_cancelled_total', IDENT), 1);
    assert.equal(metrics.value('shoal_rejected_total', { ...IDENT, reason: 'queue_full' }), 4);
    assert.equal(metrics.sum('shoal_rejected_total', IDENT), 4);
    assert.equal(metrics.sum('shoal_batches_total', IDENT), 1);
    assert.equal(metrics.value('shoal_queue_bytes'), 0);
  });

  it('two servers in one process count for themselves', async (t) => {
    const [one, other] = [
      await startServer(t, { ident: ident('FP32') }),
      await startServer(t, { ident: ident('FP32') }),
    ];
    await one.infer('ident', rows(1));
    assert.equal((await one.metrics()).sum('shoal_requests_total'), 1);
    assert.equal((await other.metrics()).sum('shoal_requests_total'), 0);
  });

  it('metrics may have a port of their own, and nothing else is there', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') }, { metricsPort: 0 });
    expectError(await running.get('/metrics'), 'NOT_FOUND');
    const { metricsUrl } = running.server;
    assert.notEqual(metricsUrl, running.url);
    const client = new TestClient(metricsUrl!);
    t.after(() => client.close());
    assert.equal((await client.metrics()).value('shoal_executors', IDENT), 1);
    expectError(await client.get('/v2'), 'NOT_FOUND');
    expectError(await client.send('POST', '/metrics', '{}'), 'METHOD_NOT_ALLOWED');
  });
});

describe('the page', () => {
  const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';

  it('programs get the words that KServe looks for, browsers a page that says what runs', async (t) => {
    const running = await startServer(t, { ident: ident('FP32'), broken: broken(), '<b>&"\'name': add2() });
    for (const accept of ['*/*', 'application/json', undefined])
      assert.deepEqual(JSON.parse((await running.get('/', accept === undefined ? {} : { accept })).body.toString()), {
        status: 'alive',
      });
    const { status, headers, body } = await running.get('/', { accept: BROWSER });
    const page = body.toString();
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'text/html; charset=utf-8');
    assert.match(String(headers['content-security-policy']), /default-src 'none'/);
    assert.match(page, /^<!doctype html>/);
    assert.match(page, /Not ready/);
    assert.match(page, /x: FP32 \[-1, -1\]/);
    assert.match(page, /class="failed">failed/);
    assert.doesNotMatch(page, /<b>&|"'name|<script|https?:/, 'names are text, and nothing comes from elsewhere');
    for (const [, href] of page.matchAll(/<a href="([^"]+)"/g)) {
      const target = href!.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)));
      const linked = await running.get(`/${target}`);
      assert.equal(linked.status, target.includes('broken') || target.endsWith('ready') ? 503 : 200, target);
    }
  });

  it('says how to add a model where there is none', async (t) => {
    const running = await startServer(t, {});
    const { body } = await running.get('/', { accept: BROWSER });
    assert.match(body.toString(), /No models yet/);
    assert.match(body.toString(), /class="ready">Ready/);
  });
});
