import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { replayJob } from '../../../src/cli/replay.ts';
import { makeTensor } from '../../../src/index.ts';
import { recorded } from '../../../src/replay/recorded.ts';
import { parseTrace } from '../../../src/replay/trace-format.ts';
import { ident } from '../../support/models.ts';
import { startService } from '../../support/service.ts';
import { recordHost } from '../../unit/cli/support.ts';

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-trace-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

const rows = (count: number, value: number) => ({
  x: makeTensor('FP32', [count, 4], new Float32Array(4 * count).fill(value)),
});

const JOB = {
  model: undefined,
  pattern: 'poisson',
  rate: 100,
  requests: 1000,
  burstSize: 4,
  burstSpreadMs: 1.5,
  onMs: 100,
  offMs: 100,
  clients: 64,
  thinkMs: 0.2,
  seed: 1,
  curve: undefined,
  base: undefined,
  settings: [],
  json: false,
} as const;

describe('a trace of a server', () => {
  it('has every request with how it ended and every run, nothing of what they hold, and can be replayed', async (t) => {
    const folder = folderOf(t);
    const traceFile = path.join(folder, 'trace.ndjson');
    const service = await startService(t, { ident: ident('FP32') }, { traceFile, maxQueueRows: 64 });
    for (let i = 0; i < 20; i++) {
      const one = (count: number): Promise<unknown> => service.infer('ident', rows(count, 123.456));
      await Promise.all([one(1), one(2), one(1)]);
    }
    await assert.rejects(service.infer('ident', rows(65, 1)), { code: 'INVALID_REQUEST' });
    const all = await Promise.allSettled(Array.from({ length: 80 }, () => service.infer('ident', rows(1, 1))));
    const refused = all.filter(({ status }) => status === 'rejected').length;
    await service.drain();

    const text = readFileSync(traceFile, 'utf8');
    const words = new Set(
      text
        .split('\n')
        .slice(2)
        .join()
        .match(/[a-z]\w+/gi),
    );
    for (const word of words) assert.match(word, /^(ok|QUEUE_FULL|INVALID_REQUEST|idle|freed|full|split)$/);
    const trace = parseTrace(text);
    assert.deepEqual(
      trace.models.map(({ model, version, maxBatchSize }) => [model, version, maxBatchSize]),
      [['ident', '1', 128]],
    );
    const ok = trace.requests.filter(({ outcome }) => outcome === 'ok');
    assert.equal(ok.length, 60 + 80 - refused);
    assert.equal(trace.requests.filter(({ outcome }) => outcome === 'QUEUE_FULL').length, refused);
    assert.equal(trace.requests.filter(({ outcome }) => outcome === 'INVALID_REQUEST').length, 1);
    const answeredRows = ok.reduce((sum, request) => sum + request.rows, 0);
    assert.equal(
      trace.runs.reduce((sum, run) => sum + run.rows, 0),
      answeredRows,
    );
    for (const { atMs, ms, queueMs } of ok) assert.ok(atMs >= 0 && ms > 0 && queueMs >= 0 && queueMs <= ms);

    const host = recordHost({ cwd: folder });
    assert.equal(replayJob({ ...JOB, trace: 'trace.ndjson', settings: ['max-batch-size=1'] }, host), 0);
    assert.match(host.stdout, /^ +mean ms +p50 +p99 +answered/);
    for (const name of ['recorded', 'as recorded', 'max-batch-size=1']) {
      assert.match(host.stdout, new RegExp(`^${name} +[\\d.]+ +[\\d.]+ +[\\d.]+ +\\d+`, 'm'));
    }
    const json = recordHost({ cwd: folder });
    replayJob({ ...JOB, trace: 'trace.ndjson', json: true }, json);
    const { recorded: live, replays } = JSON.parse(json.stdout);
    assert.equal(live.answered, ok.length);
    assert.equal(replays[0].result.requests, trace.requests.length);
    assert.equal(recorded(trace).workload.arrivals!.atMs.length, trace.requests.length);
  });

  it('does not grow beyond its limit, and is still one that can be read', async (t) => {
    const traceFile = path.join(folderOf(t), 'trace.ndjson');
    const service = await startService(t, { ident: ident('FP32') }, { traceFile, traceMaxBytes: '2KiB' });
    for (let i = 0; i < 100; i++) await service.infer('ident', rows(1, 1));
    await service.drain();
    assert.ok(statSync(traceFile).size <= 2048);
    const { requests, runs } = parseTrace(readFileSync(traceFile, 'utf8'));
    assert.ok(requests.length > 10 && requests.length < 100 && runs.length > 10);
  });

  it('ends the start when its file cannot be written', async (t) => {
    const traceFile = path.join(folderOf(t), 'missing', 'trace.ndjson');
    await assert.rejects(startService(t, { ident: ident('FP32') }, { traceFile }), {
      name: 'ServeError',
      code: 'TRACE_FILE',
      message: /^the trace cannot be written: ENOENT/,
    });
  });
});
