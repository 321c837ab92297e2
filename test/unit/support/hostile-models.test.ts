import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  bf16,
  broken,
  gatherPoison,
  hangLoad,
  hugeOutput,
  int4Input,
  int4Output,
  intDivide,
  loopHang,
  opset99,
  sequenceOutput,
  unknownOp,
  wideOutput,
  zipMapOutput,
} from '../../support/models.ts';
import { type Feeds, feed, runModel } from '../../support/run-model.ts';

const fourValues = { x: feed('FP32', [1, 4], [1, 2, 3, 4]) };

describe('hostile models', { concurrency: 2 }, () => {
  it('intDivide divides, and the smallest integer by −1 ends the process', async () => {
    const divide = (a: number, b: number): Feeds => ({ a: feed('INT32', [1], [a]), b: feed('INT32', [1], [b]) });
    const { runs, signal } = await runModel(intDivide(), [divide(7, 2), divide(-(2 ** 31), -1), divide(1, 1)]);
    assert.equal(runs.length, 1);
    assert.deepEqual('outputs' in runs[0]! && runs[0].outputs.get('y'), feed('INT32', [1], [3]));
    assert.equal(signal, 'SIGFPE');
  });

  it('gatherPoison refuses the whole run for one id out of range', async () => {
    const ids = (...values: number[]): Feeds => ({ ids: feed('INT64', [values.length], values) });
    const { runs, signal } = await runModel(gatherPoison(), [ids(1, 9), ids(1, 10), ids(2)]);
    assert.equal(signal, undefined);
    const [good, bad, next] = runs;
    assert.deepEqual(
      good && 'outputs' in good && good.outputs.get('y'),
      feed('FP32', [2, 3], [10, 11, 12, 90, 91, 92]),
    );
    assert.match(bad && 'error' in bad ? bad.error : '', /idx=10 must be within the inclusive range/);
    assert.ok(next && 'outputs' in next);
  });

  it('loopHang answers small trip counts and hangs on huge ones', async () => {
    const trips = (...values: number[]): Feeds => ({ trips: feed('INT64', [values.length], values) });
    const { runs, signal } = await runModel(loopHang(), [trips(1, 50, 3), trips(1e15)], 3_000);
    assert.equal(runs.length, 1);
    assert.deepEqual('outputs' in runs[0]! && runs[0].outputs.get('y'), feed('INT64', [3], [1, 50, 3]));
    assert.equal(signal, 'SIGKILL');
  });

  it('hangLoad loads with few boxes and hangs with many', async () => {
    const { runs } = await runModel(hangLoad(1_000), [fourValues]);
    assert.deepEqual('outputs' in runs[0]! && runs[0].outputs.get('y'), fourValues.x);
    const hung = await runModel(hangLoad(), [fourValues], 3_000);
    assert.deepEqual(hung, { loadError: undefined, signal: 'SIGKILL', runs: [] });
  });

  it('hugeOutput and wideOutput give as much as a request asks for', async () => {
    const { runs } = await runModel(hugeOutput(), [
      { size: feed('INT64', [1], [3]) },
      { size: feed('INT64', [1], [1e13]) },
    ]);
    assert.deepEqual('outputs' in runs[0]! && runs[0].outputs.get('y'), feed('FP32', [3], [1, 1, 1]));
    assert.match('error' in runs[1]! ? runs[1].error : '', /Failed to allocate memory/);
    const wide = await runModel(wideOutput(), [{ x: feed('FP32', [2, 1], [3, 4]), width: feed('INT64', [1], [2]) }]);
    assert.deepEqual('outputs' in wide.runs[0]! && wide.runs[0].outputs.get('y'), feed('FP32', [2, 2], [3, 3, 4, 4]));
  });

  it('int4Output loads and aborts at its run', async () => {
    const outcome = await runModel(int4Output(), [fourValues]);
    assert.deepEqual(outcome, { loadError: undefined, signal: 'SIGABRT', runs: [] });
  });

  it('int4Input loads and cannot be fed', async () => {
    const { loadError, runs } = await runModel(int4Input(), [fourValues]);
    assert.equal(loadError, undefined);
    assert.match('error' in runs[0]! ? runs[0].error : '', /Int4/);
  });

  it('sequenceOutput and zipMapOutput load and cannot be fetched', async () => {
    for (const [model, feeds] of [
      [sequenceOutput(), fourValues],
      [zipMapOutput(), { x: feed('FP32', [1, 2], [0.25, 0.75]) }],
    ] as const) {
      const { loadError, runs } = await runModel(model, [feeds]);
      assert.equal(loadError, undefined);
      assert.match('error' in runs[0]! ? runs[0].error : '', /Non tensor type/);
    }
  });

  it('bf16, unknownOp, opset99 and broken do not load', async () => {
    for (const [model, message] of [
      [bf16(), /Unsupported data type: 16/],
      [unknownOp(), /No Op registered for NoSuchOperator/],
      [opset99(), /Opset 99 is under development/],
      [broken(), /protobuf parsing failed/],
    ] as const) {
      const { loadError } = await runModel(model, []);
      assert.match(loadError ?? '', message);
    }
  });
});
