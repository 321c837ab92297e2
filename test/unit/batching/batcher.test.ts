import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Batch } from '../../../src/batching/batch.ts';
import type { PendingRequest } from '../../../src/batching/request.ts';
import { type ErrorCode, ShoalError } from '../../../src/errors.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { echo } from '../../support/fake-runner.ts';
import { rowsIn, rowsOf, signatureOf } from '../../support/make-request.ts';
import { setUp } from './rig.ts';

async function answerOf(request: PendingRequest): Promise<number[][]> {
  const { outputs } = await request.promise;
  return rowsIn(outputs[0]!);
}

async function codeOf(request: PendingRequest): Promise<ErrorCode> {
  try {
    await request.promise;
  } catch (error) {
    assert.ok(error instanceof ShoalError);
    return error.code;
  }
  return assert.fail('it was answered');
}

function refusalOf(submit: () => unknown): ShoalError {
  try {
    submit();
  } catch (error) {
    assert.ok(error instanceof ShoalError);
    return error;
  }
  return assert.fail('it was accepted');
}

/** First values of the rows of a batch, by which the tests know whose they are. */
function rowsRun(batch: Batch): number[] {
  return rowsIn(echo(batch).get(0)!).map((row) => row[0]!);
}

/** The model refuses runs with a negative number. */
function refuseNegative(batch: Batch): ReadonlyMap<number, Tensor> {
  if (rowsRun(batch).some((value) => value < 0)) throw new ShoalError('INVALID_REQUEST', 'a negative number');
  return echo(batch);
}

describe('batcher', () => {
  it('starts an idle runner after one turn of the event loop, with all that has arrived', async () => {
    const { clock, batcher, runners, send } = setUp();
    await clock.advance(1);
    const requests = [1, 2, 3].map((value) => send(rowsOf([value])));
    assert.equal(runners[0]!.batches.length, 0);
    await clock.settle();
    const [batch] = runners[0]!.batches;
    assert.deepEqual(batch!.info, { rows: 3, requests: 3, reason: 'idle' });
    assert.equal(batcher.queuedRows, 0);
    assert.equal(batcher.inflightRequests, 3);
    await clock.advance(5);
    await runners[0]!.finish();
    assert.deepEqual(await Promise.all(requests.map(answerOf)), [[[1]], [[2]], [[3]]]);
    assert.equal(batcher.inflightRequests, 0);
    const { stamps, batch: info } = await requests[0]!.promise;
    assert.deepEqual(info, { rows: 3, requests: 3, reason: 'idle' });
    assert.deepEqual(stamps, {
      receivedMs: 0,
      fetchMs: 0,
      enqueuedMs: 1001,
      dispatchedMs: 1001,
      computeStartMs: 1001,
      computeEndMs: 1006,
      settledMs: 1006,
    });
  });

  it('says why it started each batch', async () => {
    const { clock, runners, send } = setUp({ maxBatchRows: 2 });
    const runner = runners[0]!;
    for (const value of [1, 2, 3, 4, 5]) send(rowsOf([value]));
    await clock.settle();
    await clock.advance(1);
    await runner.finish();
    await runner.finish();
    await runner.finish();
    await clock.advance(1);
    send(rowsOf([6]));
    await clock.settle();
    assert.deepEqual(
      runner.batches.map(({ reason }) => reason),
      ['full', 'full', 'freed', 'idle'],
    );
  });

  it('hands the next batch over before the callers of the last one are woken', async () => {
    const order: string[] = [];
    const { clock, runners, send } = setUp({ maxBatchRows: 1, onEvent: (name) => order.push(name) });
    const runner = runners[0]!;
    const first = send(rowsOf([1]));
    send(rowsOf([2]));
    await clock.settle();
    first.promise.then(() => order.push(`woken, ${runner.batches.length} batches handed over`)).catch(() => {});
    await runner.finish();
    assert.deepEqual(order, ['batchEnded', 'settled', 'woken, 2 batches handed over']);
  });

  it('gives each caller the outputs it asked for', async () => {
    const output = signatureOf().outputs[0]!;
    const signature = { ...signatureOf(), outputs: ['p', 'q'].map((name) => ({ ...output, name })) };
    const compute = (batch: Batch) => {
      const x = echo(batch).get(0)!;
      return new Map([
        [0, x],
        [1, { ...x, bytes: Buffer.from(x.bytes).fill(0) }],
      ]);
    };
    const { clock, runners, send } = setUp({ signature, compute });
    const both = send(rowsOf([1]), { outputs: [1, 0] });
    const one = send(rowsOf([2]), { outputs: [0] });
    await clock.settle();
    await runners[0]!.finish();
    assert.deepEqual((await both.promise).outputs.map(rowsIn), [[[0]], [[1]]]);
    assert.deepEqual((await one.promise).outputs.map(rowsIn), [[[2]]]);
  });

  it('runs each request alone when the model is not batched', async () => {
    const { clock, runners, send } = setUp({ signature: signatureOf({ batched: false }), windowMs: 50 });
    send(rowsOf([1]));
    send(rowsOf([2], [3]));
    await clock.settle();
    assert.deepEqual(rowsRun(runners[0]!.batches[0]!), [1]);
    await runners[0]!.finish();
    assert.deepEqual(rowsRun(runners[0]!.batches[1]!), [2, 3]);
    assert.equal(runners[0]!.batches[1]!.reason, 'alone');
  });

  describe('a batch that fails', () => {
    it('is halved until only the culprit has the error', async () => {
      const { clock, runners, send } = setUp({ maxBatchRows: 64, compute: refuseNegative });
      const runner = runners[0]!;
      const values = Array.from({ length: 32 }, (_, i) => (i === 19 ? -1 : i));
      const requests = values.map((value) => send(rowsOf([value])));
      await clock.settle();
      while (runner.current !== undefined) await runner.finish();
      for (const [i, request] of requests.entries()) {
        if (i === 19) assert.equal(await codeOf(request), 'INVALID_REQUEST');
        else assert.deepEqual(await answerOf(request), [[i]]);
      }
      // One for all, then two for each of the five halvings.
      assert.equal(runner.batches.length, 11);
    });

    it('costs fewer than twice the runs of everyone alone, however many are bad', async () => {
      const { clock, runners, send } = setUp({ maxBatchRows: 64, compute: refuseNegative });
      const runner = runners[0]!;
      const requests = Array.from({ length: 32 }, () => send(rowsOf([-1])));
      await clock.settle();
      while (runner.current !== undefined) await runner.finish();
      for (const request of requests) assert.equal(await codeOf(request), 'INVALID_REQUEST');
      assert.equal(runner.batches.length, 63);
    });

    it('fails as a whole when it is a single request of several rows', async () => {
      const { clock, runners, send } = setUp({ compute: refuseNegative });
      const request = send(rowsOf([1], [-1]));
      await clock.settle();
      await runners[0]!.finish();
      assert.equal(await codeOf(request), 'INVALID_REQUEST');
      assert.equal(runners[0]!.batches.length, 1);
    });

    it('does not hold up other lanes and does not take new requests in', async () => {
      const { clock, runners, send } = setUp({ compute: refuseNegative });
      const runner = runners[0]!;
      for (const value of [1, -2, 3, 4]) send(rowsOf([value]));
      await clock.settle();
      const late = send(rowsOf([5]));
      while (runner.current !== undefined) await runner.finish();
      assert.deepEqual(runner.batches.map(rowsRun), [[1, -2, 3, 4], [1, -2], [3, 4], [1], [-2], [5]]);
      assert.deepEqual(await answerOf(late), [[5]]);
    });

    it('leaves those out who have left meanwhile', async () => {
      const { clock, batcher, runners, send } = setUp({ compute: refuseNegative });
      const runner = runners[0]!;
      const requests = [1, -2, 3, 4].map((value) => send(rowsOf([value])));
      await clock.settle();
      batcher.cancel(requests[0]!);
      while (runner.current !== undefined) await runner.finish();
      assert.deepEqual(runner.batches.map(rowsRun), [[1, -2, 3, 4], [-2, 3], [4], [-2], [3]]);
    });

    it('becomes INTERNAL when the runner throws something of its own', async () => {
      const { clock, runners, send } = setUp({
        compute: () => {
          throw new TypeError('not  what\nanyone expected');
        },
      });
      const request = send(rowsOf([1]));
      await clock.settle();
      await runners[0]!.finish();
      const error = await request.promise.catch((thrown: unknown) => thrown);
      assert.ok(error instanceof ShoalError);
      assert.deepEqual([error.code, error.message], ['INTERNAL', 'not what anyone expected']);
    });
  });

  describe('an executor that dies', () => {
    it('has its members run again alone, on another one', async () => {
      const { clock, batcher, runners, add, send } = setUp();
      const requests = [1, 2, 3].map((value) => send(rowsOf([value])));
      await clock.settle();
      await runners[0]!.die();
      assert.equal(batcher.runners, 0);
      assert.equal(batcher.queuedRows, 3);
      const second = add();
      await clock.settle();
      while (second.current !== undefined) await second.finish();
      assert.deepEqual(second.batches.map(rowsRun), [[1], [2], [3]]);
      assert.deepEqual(
        second.batches.map(({ reason }) => reason),
        ['retry', 'retry', 'retry'],
      );
      assert.deepEqual(await Promise.all(requests.map(answerOf)), [[[1]], [[2]], [[3]]]);
    });

    it('costs the killer alone an error, and its inputs are refused from then on', async () => {
      const { clock, add, runners, send, refused } = setUp();
      const [innocent, killer] = [send(rowsOf([1])), send(rowsOf([666]))];
      await clock.settle();
      await runners[0]!.die();
      const second = add();
      await clock.settle();
      await second.finish();
      assert.deepEqual(await answerOf(innocent), [[1]]);
      assert.deepEqual(rowsRun(second.current!.batch), [666]);
      await second.die();
      assert.equal(await codeOf(killer), 'EXECUTOR_LOST');
      add();
      assert.equal(refusalOf(() => send(rowsOf([666]))).code, 'EXECUTOR_LOST');
      assert.deepEqual(refused, ['EXECUTOR_LOST']);
      send(rowsOf([667]));
    });

    it('leaves what waits in the queue until there is another', async () => {
      const { clock, batcher, runners, add, send } = setUp({ runners: 0 });
      const request = send(rowsOf([1]));
      await clock.advance(100);
      assert.equal(batcher.queuedRows, 1);
      add();
      await clock.settle();
      await runners[0]!.finish();
      assert.deepEqual(await answerOf(request), [[1]]);
    });
  });

  it('lets a runner that is taken away end its batch, and gives it no other', async () => {
    const { clock, batcher, runners, send } = setUp({ runners: 2 });
    const first = send(rowsOf([1]));
    await clock.settle();
    batcher.removeRunner(runners[0]!);
    const second = send(rowsOf([2]));
    await clock.settle();
    await runners[0]!.finish();
    await runners[1]!.finish();
    send(rowsOf([3]));
    await clock.settle();
    assert.deepEqual(await answerOf(first), [[1]]);
    assert.deepEqual(await answerOf(second), [[2]]);
    assert.equal(runners[0]!.batches.length, 1);
    assert.deepEqual(rowsRun(runners[1]!.current!.batch), [3]);
  });

  describe('a model whose answers have not the rows they should', () => {
    const wrong = new Map([[0, rowsOf([0], [0], [0], [0], [0])]]);

    it('is not batched any more, and its callers are answered alone', async () => {
      const { clock, batcher, runners, unbatchable, send } = setUp({ windowMs: 0 });
      const requests = [1, 2, 3].map((value) => send(rowsOf([value])));
      await clock.settle();
      await runners[0]!.answer(wrong);
      while (runners[0]!.current !== undefined) await runners[0]!.finish();
      assert.deepEqual(await Promise.all(requests.map(answerOf)), [[[1]], [[2]], [[3]]]);
      assert.deepEqual(unbatchable, ["output 'y' came with shape [5,1] for 3 rows; the model cannot be batched"]);
      assert.ok(!batcher.signature.batched);
      const later = [send(rowsOf([4])), send(rowsOf([5]))];
      await clock.settle();
      while (runners[0]!.current !== undefined) await runners[0]!.finish();
      assert.deepEqual(await Promise.all(later.map(answerOf)), [[[4]], [[5]]]);
      assert.deepEqual(runners[0]!.batches.map(rowsRun), [[1, 2, 3], [1], [2], [3], [4], [5]]);
    });

    it('answers those alone, too, who were in other runs or waited to be run again', async () => {
      const { clock, batcher, runners, unbatchable, send } = setUp({ runners: 3, maxBatchRows: 4 });
      // Three lanes, so that each runner has a batch of its own.
      const lanes = [
        [[[1]], [[2]], [[3]]],
        [[[4, 0]], [[5, 0]], [[6, 0]], [[6, 1]]],
        [
          [
            [7, 0, 0],
            [8, 0, 0],
          ],
        ],
      ];
      const requests = lanes.map((lane) => lane.map((rows) => send(rowsOf(...rows))));
      await clock.settle();
      // Halves of the second one's batch wait when the first one shows what the model is like.
      await runners[1]!.fail();
      await runners[0]!.answer(wrong);
      for (let runs = 0; batcher.inflightRequests > 0; runs++) {
        assert.ok(runs < 20);
        for (const runner of runners) {
          if (runner.current?.batch.batched) await runner.answer(wrong);
          else if (runner.current !== undefined) await runner.finish();
        }
      }
      assert.deepEqual(await Promise.all(requests.map((lane) => Promise.all(lane.map(answerOf)))), lanes);
      assert.equal(unbatchable.length, 1);
    });

    it('is an error of the server where it was not batched anyway', async () => {
      const { clock, runners, send } = setUp({ signature: signatureOf({ batched: false }) });
      const request = send(rowsOf([1]));
      await clock.settle();
      await runners[0]!.answer(new Map());
      assert.equal(await codeOf(request), 'INTERNAL');
    });
  });

  it('runs requests one by one when runs are not shared, with all their rows', async () => {
    const { clock, batcher, runners, send } = setUp({ shares: false });
    const requests = [send(rowsOf([1], [2])), send(rowsOf([3])), send(rowsOf([4], [5], [6]))];
    await clock.settle();
    while (runners[0]!.current !== undefined) await runners[0]!.finish();
    assert.deepEqual(runners[0]!.batches.map(rowsRun), [[1, 2], [3], [4, 5, 6]]);
    assert.deepEqual(
      runners[0]!.batches.map(({ reason }) => reason),
      ['alone', 'alone', 'alone'],
    );
    assert.deepEqual(await Promise.all(requests.map(answerOf)), [[[1], [2]], [[3]], [[4], [5], [6]]]);
    assert.equal(batcher.shares, false);
  });

  describe('the door', () => {
    it('refuses what does not fit into the queue, with a time to come back', async () => {
      const { clock, cost, runners, send, refused } = setUp({ maxQueueRows: 10, maxBatchRows: 4 });
      cost.observe(1, 4, 2000);
      send(rowsOf([1], [1], [1], [1]));
      await clock.settle();
      for (let i = 0; i < 3; i++) send(rowsOf([1], [1], [1]));
      const error = refusalOf(() => send(rowsOf([1], [1])));
      assert.equal(error.code, 'QUEUE_FULL');
      assert.equal(error.message, "the queue of model 'fake' is full: 9 rows wait, 10 may");
      // Half of 9 rows at 2 s each.
      assert.equal(error.retryAfterSeconds, 9);
      send(rowsOf([1]));
      assert.deepEqual(refused, ['QUEUE_FULL']);
      await runners[0]!.finish();
      send(rowsOf([1]));
    });

    it('refuses more requests than may wait, whatever their rows', async () => {
      const { clock, runners, send } = setUp({ maxQueueRequests: 2 });
      send(rowsOf([1]));
      await clock.settle();
      send(rowsOf([1], [1], [1]));
      send(rowsOf([1]));
      const error = refusalOf(() => send(rowsOf([1])));
      assert.equal(error.code, 'QUEUE_FULL');
      assert.equal(error.message, "the queue of model 'fake' is full: 2 requests may wait");
      assert.equal(error.retryAfterSeconds, 1);
      await runners[0]!.finish();
      send(rowsOf([1]));
    });

    it('bounds the bytes of waiting and running requests', async () => {
      const { clock, budget, runners, send } = setUp({ limitBytes: 16 });
      send(rowsOf([1, 2]));
      await clock.settle();
      send(rowsOf([3, 4]));
      assert.equal(budget.heldBytes, 16);
      const error = refusalOf(() => send(rowsOf([5])));
      assert.equal(error.code, 'QUEUE_FULL');
      assert.equal(error.message, "the server's queues are full: requests hold 16 bytes, 16 may be held");
      assert.equal(error.retryAfterSeconds, 1);
      await runners[0]!.finish();
      send(rowsOf([5]));
    });

    it('refuses a deadline that cannot be met even at the best cost seen', async () => {
      const { clock, batcher, cost, send } = setUp({ maxBatchRows: 4 });
      cost.observe(4, 16, 40);
      for (let i = 0; i < 5; i++) send(rowsOf([1], [1], [1], [1]));
      await clock.settle();
      assert.equal(batcher.queuedRows, 16);
      // 16 rows at 10 ms each.
      const error = refusalOf(() => send(rowsOf([1]), { deadlineMs: clock.now() + 159 }));
      assert.equal(error.code, 'DEADLINE_UNREACHABLE');
      assert.equal(error.message, "model 'fake' needs at least 160 ms for what waits, the request has 159 ms left");
      assert.equal(error.retryAfterSeconds, 1);
      assert.equal(
        refusalOf(() => send(rowsOf([1]), { queueDeadlineMs: clock.now() + 159 })).code,
        'DEADLINE_UNREACHABLE',
      );
      send(rowsOf([1]), { deadlineMs: clock.now() + 161 });
      assert.equal(refusalOf(() => send(rowsOf([1]), { deadlineMs: clock.now() })).code, 'DEADLINE_EXCEEDED');
    });

    it('is shut while draining; what was accepted is answered', async () => {
      const { clock, batcher, runners, send } = setUp({ maxBatchRows: 1 });
      const requests = [send(rowsOf([1])), send(rowsOf([2]))];
      await clock.settle();
      let drained = false;
      const draining = batcher.drain(new ShoalError('SHUTTING_DOWN', 'closing')).then(() => {
        drained = true;
      });
      assert.equal(refusalOf(() => send(rowsOf([3]))).code, 'SHUTTING_DOWN');
      await runners[0]!.finish();
      assert.ok(!drained);
      await runners[0]!.finish();
      await draining;
      assert.deepEqual(await Promise.all(requests.map(answerOf)), [[[1]], [[2]]]);
      await batcher.drain(new ShoalError('SHUTTING_DOWN', 'closing'));
    });

    it('rejects everyone when it is closed, and ignores what still comes back', async () => {
      const { clock, batcher, budget, runners, tokens, settled, send } = setUp({ maxBatchRows: 1 });
      const requests = [send(rowsOf([1])), send(rowsOf([2]))];
      await clock.settle();
      batcher.close(new ShoalError('SHUTTING_DOWN', 'closed'));
      assert.deepEqual(await Promise.all(requests.map(codeOf)), ['SHUTTING_DOWN', 'SHUTTING_DOWN']);
      assert.deepEqual([batcher.queuedRows, batcher.inflightRequests, budget.heldBytes], [0, 0, 0]);
      await runners[0]!.finish();
      assert.equal(tokens.free, 4);
      assert.equal(settled.length, 2);
      assert.equal(runners[0]!.batches.length, 1);
    });
  });

  describe('deadlines', () => {
    it('end the wait of a request that is being run; its rows are not used', async () => {
      const { clock, runners, send } = setUp();
      const [hasty, patient] = [send(rowsOf([1]), { deadlineMs: 1010 }), send(rowsOf([2]))];
      await clock.settle();
      await clock.advance(10);
      assert.equal(await codeOf(hasty), 'DEADLINE_EXCEEDED');
      assert.equal(hasty.stamps.settledMs, 1010);
      await runners[0]!.finish();
      assert.deepEqual(await answerOf(patient), [[2]]);
    });

    it('are kept with one timer, however many there are', async () => {
      const { clock, send, settled } = setUp({ runners: 0 });
      for (let i = 0; i < 100; i++) send(rowsOf([i]), { deadlineMs: 1200 - i });
      assert.equal(clock.timers, 1);
      await clock.advance(149);
      assert.equal(settled.length, 49);
      assert.equal(clock.timers, 1);
      await clock.advance(100);
      assert.equal(settled.length, 100);
      assert.equal(clock.timers, 0);
    });

    it('of the wait alone do not count once a request has been run, even if it is run again', async () => {
      const { clock, runners, add, send } = setUp();
      const request = send(rowsOf([1]), { queueDeadlineMs: 1010 });
      await clock.settle();
      await clock.advance(5);
      await runners[0]!.die();
      await clock.advance(10);
      assert.equal(request.state, 'queued');
      add();
      await clock.settle();
      await runners[1]!.finish();
      assert.deepEqual(await answerOf(request), [[1]]);
    });
  });

  describe('the batch window', () => {
    it('holds an idle runner back until the oldest request has waited so long', async () => {
      const { clock, runners, send } = setUp({ windowMs: 10 });
      send(rowsOf([1]));
      await clock.advance(6);
      send(rowsOf([2]));
      await clock.advance(3);
      assert.equal(runners[0]!.batches.length, 0);
      await clock.advance(1);
      assert.deepEqual(rowsRun(runners[0]!.batches[0]!), [1, 2]);
      assert.equal(runners[0]!.batches[0]!.reason, 'window');
    });

    it('ends when a batch is full', async () => {
      const { clock, runners, send } = setUp({ windowMs: 10, maxBatchRows: 3 });
      send(rowsOf([1]));
      await clock.advance(2);
      send(rowsOf([2], [3]));
      await clock.settle();
      assert.deepEqual(rowsRun(runners[0]!.batches[0]!), [1, 2, 3]);
    });

    it('of one lane does not hold back another', async () => {
      const { clock, runners, send } = setUp({ windowMs: 10 });
      send(rowsOf([1]));
      await clock.advance(5);
      send(rowsOf([2, 2]));
      await clock.advance(5);
      assert.deepEqual(rowsRun(runners[0]!.batches[0]!), [1]);
      await runners[0]!.finish();
      await clock.advance(5);
      assert.deepEqual(rowsRun(runners[0]!.batches[1]!), [2]);
    });
  });

  it('lets others have the cores that were kept free for a request that gives up', async () => {
    const wide = setUp({ cores: 2, runners: 0 });
    const { clock, tokens } = wide;
    const narrow = setUp({ clock, tokens, runners: 2, maxBatchRows: 1 });
    wide.add({ threads: 2 });
    narrow.batcher.spentMs = 100;
    narrow.send(rowsOf([1]));
    await clock.settle();
    const waits = wide.send(rowsOf([2]));
    narrow.send(rowsOf([3]));
    await clock.settle();
    // The wide one's turn has come, and it waits for the second core.
    assert.equal(tokens.free, 1);
    wide.batcher.cancel(waits);
    await clock.settle();
    assert.deepEqual(rowsRun(narrow.runners[1]!.current!.batch), [3]);
  });
});
