import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { byteBudget } from '../../../src/batching/byte-budget.ts';
import { ServerMetrics } from '../../../src/metrics/server-metrics.ts';
import type { VersionMeters } from '../../../src/metrics/version-meters.ts';
import type { ModelVersion } from '../../../src/serving/model-version.ts';

const BUILD = { version: '1.2.3', node: '20.0.0', onnxruntime: '1.30.0', cores: 2 };

/** What the metrics read of a version. */
function versionOf(name: string): ModelVersion {
  const fake = {
    name,
    version: '1',
    state: 'ready',
    queuedRows: 5,
    queuedRequests: 4,
    inflightRequests: 7,
    executors: 2,
    signature: { batched: true, inputs: [], outputs: [] },
    sharesRuns: true,
    summary: () => ({ provider: 'cpu', loadMs: 250 }),
    profile: () => ({
      doublings: [
        { rows: 1, ms: 5 },
        { rows: 2, ms: 6 },
      ],
      verdict: { kind: 'pays', kneeRows: 2, gain: 1.6 },
    }),
  };
  return fake as unknown as ModelVersion;
}

const open: ServerMetrics[] = [];
after(() => {
  for (const metrics of open) metrics.close();
});

function setUp(...names: string[]): { metrics: ServerMetrics; meters: VersionMeters[] } {
  const metrics = new ServerMetrics(BUILD, { ...byteBudget(1000), heldBytes: 123 });
  open.push(metrics);
  return { metrics, meters: names.map((name) => metrics.metersFor(versionOf(name))) };
}

/** The series whose names begin with `nv_`, as they are scraped. */
async function tritonLines(metrics: ServerMetrics): Promise<string[]> {
  const text = await metrics.registry.metrics();
  return text.split('\n').filter((line) => line.startsWith('nv_'));
}

/** The value of a series as it is scraped. */
async function scrape(metrics: ServerMetrics, series: string): Promise<number | undefined> {
  const text = await metrics.registry.metrics();
  const line = text.split('\n').find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

describe('server metrics', () => {
  it('read the counters when they are scraped, every series from the start', async () => {
    const { metrics, meters } = setUp('a');
    const series = 'shoal_requests_total{model="a",version="1",protocol="v2",outcome="ok"}';
    assert.equal(await scrape(metrics, series), 0);
    meters[0]!.finished('v2', 0, 1, undefined, undefined);
    meters[0]!.finished('v2', 0, 1, undefined, undefined);
    assert.equal(await scrape(metrics, series), 2);
    assert.equal(await scrape(metrics, series), 2, 'a scrape changes nothing');
  });

  it('have all that is promised', async () => {
    const { metrics } = setUp('a');
    const text = await metrics.registry.metrics();
    for (const name of [
      'shoal_requests_total',
      'shoal_request_duration_seconds',
      'shoal_stage_duration_seconds',
      'shoal_batch_rows',
      'shoal_batch_requests',
      'shoal_batches_total',
      'shoal_queue_rows',
      'shoal_inflight_requests',
      'shoal_rejected_total',
      'shoal_cancelled_total',
      'shoal_executor_restarts_total',
      'shoal_executor_busy_seconds_total',
      'shoal_cost_curve_seconds',
      'shoal_batching_gain',
      'shoal_batching_knee_rows',
      'shoal_model_state',
      'shoal_model_load_duration_seconds',
      'shoal_event_loop_delay_seconds',
      'shoal_switch_ratio',
      'shoal_compute_seconds_total',
      'shoal_switch_seconds_total',
      'shoal_request_cost_seconds_total',
      'shoal_build_info',
      'process_cpu_seconds_total',
    ]) {
      assert.match(text, new RegExp(`^# HELP ${name} .+$`, 'm'), name);
      assert.match(text, new RegExp(`^# TYPE ${name} (counter|gauge|histogram)$`, 'm'), name);
      assert.match(text, new RegExp(`^${name}(_bucket)?(\\{.*\\})? `, 'm'), name);
    }
  });

  it('show gauges as they are', async () => {
    const { metrics } = setUp('a');
    const labels = '{model="a",version="1"}';
    assert.equal(await scrape(metrics, `shoal_queue_rows${labels}`), 5);
    assert.equal(await scrape(metrics, `shoal_inflight_requests${labels}`), 7);
    assert.equal(await scrape(metrics, `shoal_executors${labels}`), 2);
    assert.equal(await scrape(metrics, `shoal_model_load_duration_seconds${labels}`), 0.25);
    assert.equal(await scrape(metrics, 'shoal_queue_bytes'), 123);
    assert.equal(await scrape(metrics, 'shoal_model_state{model="a",version="1",state="ready"}'), 1);
    assert.equal(await scrape(metrics, 'shoal_model_state{model="a",version="1",state="failed"}'), 0);
    assert.equal(await scrape(metrics, 'shoal_model_info{model="a",version="1",provider="cpu",batching="batched"}'), 1);
    assert.equal(await scrape(metrics, 'shoal_build_info{version="1.2.3",node="20.0.0",onnxruntime="1.30.0"}'), 1);
  });

  it('show the cost curve and its verdict', async () => {
    const { metrics } = setUp('a');
    assert.equal(await scrape(metrics, 'shoal_cost_curve_seconds{model="a",version="1",rows="2"}'), 0.006);
    assert.equal(await scrape(metrics, 'shoal_batching_gain{model="a",version="1"}'), 1.6);
    assert.equal(await scrape(metrics, 'shoal_batching_knee_rows{model="a",version="1"}'), 2);
  });

  it('write histograms cumulated, with sum and count', async () => {
    const { metrics, meters } = setUp('a');
    for (const rows of [1, 3, 3, 200]) {
      meters[0]!.batchEnded({ rows, requests: 1, reason: 'full' }, 0, 1, undefined);
    }
    const bucket = (le: string) => scrape(metrics, `shoal_batch_rows_bucket{le="${le}",model="a",version="1"}`);
    const either = async (le: string) =>
      (await bucket(le)) ?? (await scrape(metrics, `shoal_batch_rows_bucket{model="a",version="1",le="${le}"}`));
    assert.deepEqual(await Promise.all(['1', '2', '4', '128', '256', '+Inf'].map(either)), [1, 1, 3, 3, 4, 4]);
    assert.equal(await scrape(metrics, 'shoal_batch_rows_sum{model="a",version="1"}'), 207);
    assert.equal(await scrape(metrics, 'shoal_batch_rows_count{model="a",version="1"}'), 4);
  });

  it('escape what a model’s name may hold', async () => {
    const { metrics, meters } = setUp('say "hi"\\');
    meters[0]!.restarted();
    assert.equal(await scrape(metrics, 'shoal_executor_restarts_total{model="say \\"hi\\"\\\\",version="1"}'), 1);
  });

  it('of two servers in one process do not meet', async () => {
    const [one, other] = [setUp('a'), setUp('a')];
    one.meters[0]!.restarted();
    const series = 'shoal_executor_restarts_total{model="a",version="1"}';
    assert.equal(await scrape(one.metrics, series), 1);
    assert.equal(await scrape(other.metrics, series), 0);
  });

  it('trap 19: are histograms that can be added up, never summaries', async () => {
    const { metrics } = setUp('a');
    const text = await metrics.registry.metrics();
    assert.doesNotMatch(text.replace(/^(# \w+ )?nodejs_.*$/gm, ''), /quantile=/);
    assert.doesNotMatch(text, /^# TYPE shoal_\w+ summary$/m);
  });

  it("have Triton's series where they are asked for, with its types", async () => {
    const metrics = new ServerMetrics(BUILD, byteBudget(1), { triton: true });
    open.push(metrics);
    const meters = metrics.metersFor(versionOf('a'));
    const types = async (): Promise<Record<string, string>> =>
      Object.fromEntries(
        [...(await metrics.registry.metrics()).matchAll(/^# TYPE (nv_\w+) (\w+)$/gm)].map(([, name, type]) => [
          name,
          type,
        ]),
      );
    assert.deepEqual(await types(), {
      nv_inference_request_success: 'counter',
      nv_inference_count: 'counter',
      nv_inference_exec_count: 'counter',
      nv_inference_request_duration_us: 'counter',
      nv_inference_queue_duration_us: 'counter',
      nv_inference_compute_input_duration_us: 'counter',
      nv_inference_compute_infer_duration_us: 'counter',
      nv_inference_compute_output_duration_us: 'counter',
      nv_inference_request_failure: 'counter',
      nv_inference_pending_request_count: 'gauge',
      nv_model_load_duration_secs: 'gauge',
      nv_inference_first_response_histogram_ms: 'histogram',
    });
    const values = await tritonLines(metrics);
    assert.equal(values.length, 8 + 4 + 2 + 7, 'eight counters, four reasons, two gauges, a histogram');
    const notZero = values.filter((line) => !line.endsWith(' 0'));
    assert.deepEqual(notZero, [
      'nv_inference_pending_request_count{model="a",version="1"} 4',
      'nv_model_load_duration_secs{model="a",version="1"} 0.25',
    ]);
    meters.refused('QUEUE_FULL');
    assert.ok(
      (await tritonLines(metrics)).includes('nv_inference_request_failure{model="a",version="1",reason="REJECTED"} 1'),
    );
    assert.deepEqual(await tritonLines(setUp('a').metrics), []);
  });

  it("drop Triton's series of a version that is unloaded", async () => {
    const metrics = new ServerMetrics(BUILD, byteBudget(1), { triton: true });
    open.push(metrics);
    const version = versionOf('a');
    metrics.metersFor(version);
    metrics.metersFor(versionOf('b'));
    Object.assign(version, { state: 'unloaded' });
    const lines = await tritonLines(metrics);
    assert.deepEqual(
      lines.filter((line) => line.includes('model="a"')),
      [],
    );
    assert.equal(lines.length, 21);
  });
});
