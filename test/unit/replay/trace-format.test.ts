import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { recorded } from '../../../src/replay/recorded.ts';
import { replay } from '../../../src/replay/replay.ts';
import { parseTrace, requestLine, runLine, type TraceRequest } from '../../../src/replay/trace-format.ts';

const HEAD = '{"shoalTrace":1,"startedAt":"2026-01-01T00:00:00.000Z","cores":2}\n';
const MODEL =
  '{"model":"m","version":"1","id":0,"maxBatchSize":8,"batchWindowMs":0,"scheduling":"measured","threads":1}\n';

function request(atMs: number, ms: number, more: Partial<TraceRequest> = {}): string {
  return requestLine({ atMs, id: 0, lane: 0, rows: 1, outcome: 'ok', ms, queueMs: 0.1, ...more });
}

function run(startMs: number, ms: number, rows = 1, id = 0): string {
  return runLine({ startMs, id, rows, requests: rows, ms, reason: 'idle' });
}

describe('a trace', () => {
  it('reads what was written, to the microsecond', () => {
    const text = HEAD + MODEL + request(1.23456, 7, { outcome: 'QUEUE_FULL', lane: 3, rows: 2 }) + run(2, 0.5);
    const trace = parseTrace(text);
    assert.deepEqual(trace.models, [
      { model: 'm', version: '1', id: 0, maxBatchSize: 8, batchWindowMs: 0, scheduling: 'measured', threads: 1 },
    ]);
    assert.deepEqual(trace.requests, [
      { atMs: 1.235, id: 0, lane: 3, rows: 2, outcome: 'QUEUE_FULL', ms: 7, queueMs: 0.1 },
    ]);
    assert.deepEqual(trace.runs, [{ startMs: 2, id: 0, rows: 1, requests: 1, ms: 0.5, reason: 'idle' }]);
  });

  it('leaves out a last line that was cut off', () => {
    assert.equal(parseTrace(HEAD + MODEL + run(2, 1) + run(3, 1).slice(0, 12)).runs.length, 1);
  });

  it('names what is not of a trace', () => {
    for (const [text, message] of [
      ['', /^it does not begin with/],
      ['hello\n', /^it does not begin with/],
      ['{"shoalTrace":9}\n', /^it is a trace of form 9, expected 1$/],
      [`${HEAD}["q",1,2]\n`, /^line 2 is not of a trace: \["q",1,2\]$/],
      [`${HEAD}${MODEL}["r","x",0,1,1,1,"idle"]\n`, /^line 3 is not of a trace/],
      [`${HEAD}{{\n`, /^line 2 is not of a trace: \{\{$/],
    ] as const) {
      assert.throws(() => parseTrace(text), { message });
    }
  });

  it('tells of one model: requests by arrival, executors, what runs took', () => {
    const other =
      '{"model":"o","version":"2","id":1,"maxBatchSize":1,"batchWindowMs":0,"scheduling":"measured","threads":1}\n';
    const text = `${HEAD}${MODEL}${other}${request(5, 6)}${request(0, 4)}${request(1, 2, { outcome: 'CANCELLED' })}${run(0, 4)}${run(3, 6, 3)}${run(9, 2)}${run(0, 9, 1, 1)}`;
    const { model, workload, executorsFromMs, points, latenciesMs } = recorded(parseTrace(text));
    assert.equal(model.model, 'm');
    assert.deepEqual([...workload.arrivals!.atMs], [0, 1, 5]);
    assert.deepEqual([...workload.arrivals!.timeoutMs!], [Infinity, 2, Infinity]);
    assert.deepEqual(executorsFromMs, [0, 3]);
    assert.deepEqual(points, [
      { rows: 1, ms: 3 },
      { rows: 3, ms: 6 },
    ]);
    assert.deepEqual([...latenciesMs], [4, 6]);
    assert.equal(recorded(parseTrace(`${text}`), 'o:2').model.id, 1);
    assert.throws(() => recorded(parseTrace(text), 'p'), { message: "there is no model 'p' in it, only m:1, o:2" });
    assert.throws(() => recorded(parseTrace(HEAD + MODEL)), { message: "nothing of model 'm' was run" });
    assert.throws(() => recorded(parseTrace(HEAD)), { message: 'no request is in it' });
  });

  it('is replayed with runs as long as those recorded, slow ones as often', () => {
    let text = HEAD + MODEL;
    for (let i = 0; i < 1000; i++) text += request(100 * i, 5) + run(100 * i, i % 20 === 0 ? 50 : 5);
    const { workload } = recorded(parseTrace(text));
    const settings = { maxBatchRows: 8, preferredRows: [], windowMs: 0, splits: true, executors: 1, maxQueueRows: 100 };
    const result = replay(workload, settings);
    assert.ok(Math.abs(result.meanMs - 7.25 - workload.turnMs!) < 0.7, `${result.meanMs}`);
    assert.ok(Math.abs(result.p99Ms - 50.1) < 0.2);
  });
});
