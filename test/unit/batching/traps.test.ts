import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ShoalError, toShoalError } from '../../../src/errors.ts';
import { checkInputs } from '../../../src/tensor/signature.ts';
import { echo } from '../../support/fake-runner.ts';
import { rowsIn, rowsOf, signatureOf } from '../../support/make-request.ts';
import { setUp } from './rig.ts';

/** Mistakes that other inference servers have made with their queues. */
describe('traps of others', () => {
  it('trap 1: a batch is not frozen before a runner can start it', async () => {
    const { clock, runners, send } = setUp();
    send(rowsOf([1]));
    await clock.settle();
    send(rowsOf([2]));
    await clock.advance(5);
    send(rowsOf([3]));
    await clock.advance(5);
    send(rowsOf([4]));
    await runners[0]!.finish();
    assert.equal(runners[0]!.batches[1]!.rows, 3);
  });

  it('trap 2: the window opens with the first request, and without one nothing spins', async () => {
    const { clock, runners, send } = setUp({ windowMs: 10 });
    await clock.advance(7);
    assert.equal(clock.timers, 0);
    send(rowsOf([1]));
    await clock.advance(9);
    assert.equal(runners[0]!.batches.length, 0);
    await clock.advance(1);
    assert.equal(runners[0]!.batches.length, 1);
    const none = setUp();
    none.send(rowsOf([1]), { deadlineMs: Number.POSITIVE_INFINITY });
    await none.clock.settle();
    none.send(rowsOf([2]), { deadlineMs: Number.POSITIVE_INFINITY });
    // It ends although a request waits: there is no timer and no turn that comes again and again.
    await none.clock.settle();
    assert.equal(none.clock.timers, 0);
  });

  it('trap 3: idle runners do not split a burst', async () => {
    const { clock, runners, send } = setUp({ runners: 3 });
    for (let i = 0; i < 8; i++) send(rowsOf([i]));
    await clock.settle();
    assert.deepEqual(
      runners.map(({ batches }) => batches.map(({ rows }) => rows)),
      [[8], [], []],
    );
  });

  it('trap 4: rows are counted, not requests', async () => {
    const { clock, batcher, runners, send } = setUp({ maxBatchRows: 8, maxQueueRows: 12 });
    for (const rows of [3, 3, 3, 2]) send(rowsOf(...Array.from({ length: rows }, () => [0])));
    assert.equal(batcher.queuedRows, 11);
    assert.throws(() => send(rowsOf([0], [0])), { code: 'QUEUE_FULL' });
    await clock.settle();
    assert.deepEqual(runners[0]!.batches[0]!.info, { rows: 6, requests: 2, reason: 'full' });
  });

  it('trap 5: a client that vanishes does not break the completion of its neighbours', async () => {
    const { clock, batcher, runners, send, settled } = setUp();
    const before = [1, 2, 3].map((value) => send(rowsOf([value])));
    batcher.cancel(before[0]!);
    await clock.settle();
    const late = send(rowsOf([4]));
    batcher.cancel(before[1]!);
    batcher.cancel(before[1]!);
    await runners[0]!.finish();
    batcher.cancel(before[2]!);
    await runners[0]!.finish();
    assert.deepEqual(rowsIn((await before[2]!.promise).outputs[0]!), [[3]]);
    assert.deepEqual(rowsIn((await late.promise).outputs[0]!), [[4]]);
    assert.equal(runners[0]!.batches[0]!.rows, 2);
    assert.deepEqual(
      settled.map(({ code }) => code),
      ['CANCELLED', 'CANCELLED', undefined, undefined],
    );
  });

  it('trap 6: the first shape does not win; other shapes wait in lanes of their own, which do not block it', async () => {
    const { clock, runners, send } = setUp();
    const widths = [1, 2, 1, 3, 2, 1];
    const requests = widths.map((width, i) => send(rowsOf(Array(width).fill(i))));
    await clock.settle();
    while (runners[0]!.current !== undefined) await runners[0]!.finish();
    assert.deepEqual(
      runners[0]!.batches.map((batch) => echo(batch).get(0)!.shape),
      [
        [3, 1],
        [2, 2],
        [1, 3],
      ],
    );
    for (const [i, request] of requests.entries()) {
      assert.deepEqual(rowsIn((await request.promise).outputs[0]!), [Array(widths[i]!).fill(i)]);
    }
  });

  it('trap 9: a request above the budget is refused at the door, and neither loops nor blocks', async () => {
    const { clock, runners, send } = setUp({ maxBatchRows: 2, maxQueueRows: 3, limitBytes: 64 });
    const rows = Array.from({ length: 4 }, () => [0]);
    assert.throws(() => checkInputs('fake', signatureOf(), new Map([['x', rowsOf(...rows)]]), 2), {
      code: 'INVALID_REQUEST',
      message: "the request has 4 rows, model 'fake' takes at most 2 in one request",
    });
    assert.throws(() => send(rowsOf(...rows)), { code: 'INVALID_REQUEST', message: /the queue takes at most 3 rows/ });
    assert.throws(() => send(rowsOf(Array(100).fill(0))), { code: 'INVALID_REQUEST', message: /and 64 bytes/ });
    const small = send(rowsOf([1]));
    await clock.settle();
    await runners[0]!.finish();
    assert.deepEqual(rowsIn((await small.promise).outputs[0]!), [[1]]);
  });

  it('trap 10: a request that did not fit into a batch is the first of the next one', async () => {
    const { clock, runners, send } = setUp({ maxBatchRows: 4 });
    for (const [value, rows] of [
      [1, 3],
      [2, 3],
      [3, 1],
      [4, 1],
    ] as const) {
      send(rowsOf(...Array.from({ length: rows }, () => [value])));
    }
    await clock.settle();
    while (runners[0]!.current !== undefined) await runners[0]!.finish();
    assert.deepEqual(
      runners[0]!.batches.map((batch) => batch.members.map(({ inputs }) => rowsIn(inputs.tensors[0]!)[0]![0])),
      [[1], [2, 3], [4]],
    );
  });

  it('trap 12: the time in the queue ends although no runner becomes free', async () => {
    const { clock, batcher, runners, send, settled } = setUp();
    send(rowsOf([1]));
    await clock.settle();
    const hasty = send(rowsOf([2]), { queueDeadlineMs: clock.now() + 20 });
    await clock.advance(20);
    assert.equal(settled[0]?.request, hasty);
    assert.equal(settled[0].code, 'DEADLINE_EXCEEDED');
    assert.equal(hasty.stamps.settledMs, 1020);
    assert.equal(batcher.queuedRows, 0);
    await runners[0]!.finish();
    assert.equal(runners[0]!.batches.length, 1);
  });

  it('trap 13: counters do not drift, whatever requests end by', async () => {
    let fails = 0;
    const { clock, batcher, budget, tokens, runners, add, send } = setUp({
      maxQueueRows: 6,
      compute: (batch) => {
        if (fails++ % 3 === 0) throw new ShoalError('INFERENCE_FAILED', 'now and then');
        return echo(batch);
      },
    });
    const codes = new Set<string>();
    const note = (error: unknown): void => {
      codes.add(toShoalError(error).code);
    };
    for (let i = 0; i < 60; i++) {
      try {
        const request = send(rowsOf([i]), i % 7 === 0 ? { deadlineMs: clock.now() + 2 } : {});
        request.promise.then(() => codes.add('ok'), note);
        if (i % 5 === 0) batcher.cancel(request);
      } catch (error) {
        note(error);
      }
      await clock.advance(i % 4 === 0 ? 3 : 0);
      const runner = runners.at(-1)!;
      if (i % 11 === 10) {
        await runner.die();
        // One that died idle is taken away by whoever watches its process.
        batcher.removeRunner(runner);
        add();
      } else if (i % 2 === 0 && runner.current !== undefined) await runner.finish();
    }
    await clock.settle();
    while (runners.at(-1)!.current !== undefined) await runners.at(-1)!.finish();
    assert.deepEqual([batcher.queuedRows, batcher.inflightRequests, budget.heldBytes, tokens.free], [0, 0, 0, 4]);
    assert.equal(batcher.runners, 1);
    assert.deepEqual(
      [...codes].sort(),
      ['CANCELLED', 'DEADLINE_EXCEEDED', 'INFERENCE_FAILED', 'QUEUE_FULL', 'ok'],
      'the test has all endings',
    );
  });
});
