import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PendingRequest } from '../../../src/batching/request.ts';
import { ShoalError } from '../../../src/errors.ts';
import { rowsIn, rowsOf } from '../../support/make-request.ts';
import { type Rig, setUp } from './rig.ts';

/** A batcher with two runners that run one row each, answering in order, and four requests of which two run. */
async function fourRequests(): Promise<Rig & { requests: PendingRequest[]; order: () => number[] }> {
  const rig = setUp({ runners: 2, maxBatchRows: 1, preservesOrder: true });
  const requests = [1, 2, 3, 4].map((value) => rig.send(rowsOf([value])));
  await rig.clock.settle();
  return { ...rig, requests, order: () => rig.settled.map(({ request }) => requests.indexOf(request) + 1) };
}

describe('answers in the order of their requests', () => {
  it('wait for those accepted before, and come at once when it is their turn', async () => {
    const { runners, batcher, order } = await fourRequests();
    const [one, two] = [runners[0]!, runners[1]!];
    await two.finish();
    assert.deepEqual(order(), []);
    await two.finish();
    assert.deepEqual(order(), []);
    assert.equal(batcher.inflightRequests, 4);
    await one.finish();
    assert.deepEqual(order(), [1, 2, 3]);
    await two.finish();
    assert.deepEqual(order(), [1, 2, 3, 4]);
    assert.equal(batcher.inflightRequests, 0);
  });

  it('do not wait for requests that failed or were given up, whose errors wait for nobody', async () => {
    const { runners, batcher, requests, order, settled } = await fourRequests();
    await runners[1]!.finish();
    batcher.cancel(requests[2]!);
    assert.deepEqual(order(), [3]);
    await runners[0]!.fail();
    assert.deepEqual(order(), [3, 1, 2]);
    assert.deepEqual(
      settled.map(({ code }) => code),
      ['CANCELLED', 'INFERENCE_FAILED', undefined],
    );
  });

  it('are given up while they are held back, by their caller and by their deadline', async () => {
    const { clock, runners, batcher, requests, send } = await fourRequests();
    await runners[1]!.finish();
    batcher.cancel(requests[1]!);
    await assert.rejects(requests[1]!.promise, { code: 'CANCELLED' });
    const late = send(rowsOf([5]), { deadlineMs: clock.now() + 50 });
    for (let i = 0; i < 3; i++) await runners[1]!.finish();
    await clock.advance(60);
    await assert.rejects(late.promise, { code: 'DEADLINE_EXCEEDED' });
    batcher.close(new ShoalError('SHUTTING_DOWN', 'over'));
    await assert.rejects(requests[0]!.promise, { code: 'SHUTTING_DOWN' });
    // What had been answered and only waited for that one is not lost.
    for (const at of [2, 3]) assert.deepEqual((await requests[at]!.promise).outputs.map(rowsIn), [[[at + 1]]]);
    assert.equal(batcher.inflightRequests, 0);
  });

  it('let a batcher drain', async () => {
    const { runners, batcher } = await fourRequests();
    let isDrained = false;
    void batcher.drain(new ShoalError('SHUTTING_DOWN', 'over')).then(() => {
      isDrained = true;
    });
    for (let i = 0; i < 3; i++) await runners[1]!.finish();
    assert.equal(isDrained, false);
    await runners[0]!.finish();
    assert.equal(isDrained, true);
  });

  it('keep no trace of thousands of requests', async () => {
    const { clock, runners, send, settled, budget, batcher } = setUp({ runners: 2, preservesOrder: true });
    let sent = 0;
    for (let round = 0; round < 500; round++) {
      for (let i = 0; i < 8; i++) send(rowsOf([++sent]));
      await clock.settle();
      for (const runner of runners) if (runner.current !== undefined) await runner.finish();
    }
    while (batcher.inflightRequests > 0) for (const runner of runners) if (runner.current) await runner.finish();
    assert.equal(settled.length, sent);
    assert.equal(budget.heldBytes, 0);
    const enqueued = settled.map(({ request }) => request.inputs.tensors[0]!.bytes);
    assert.ok(enqueued.every((bytes, i) => Buffer.from(bytes).readFloatLE(0) === i + 1));
  });
});
