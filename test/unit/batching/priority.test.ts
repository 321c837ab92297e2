import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Lane } from '../../../src/batching/lane.ts';
import { LevelTally } from '../../../src/batching/level-tally.ts';
import type { PendingRequest } from '../../../src/batching/request.ts';
import { ShoalError } from '../../../src/errors.ts';
import { DEFAULT_SETTINGS } from '../../../src/serving/model-settings.ts';
import { levelOf, queueOf } from '../../../src/serving/priority-levels.ts';
import { makeRequest, rowsOf } from '../../support/make-request.ts';
import { setUp } from './rig.ts';

/** A request of so many rows. */
function request(priority: number, rows = 1): PendingRequest {
  return makeRequest(rowsOf(...Array.from({ length: rows }, () => [1])), { priority });
}

const LEVELS = { maxLevelRequests: () => Number.POSITIVE_INFINITY };

describe('levels of priority', () => {
  const batching = { ...DEFAULT_SETTINGS.batching, priorityLevels: 3, defaultPriority: 2 };

  it('stand for what a request asks for; none, 0 and too large for the default', () => {
    const levels = [undefined, 0, 1, 2, 3, 4, 2 ** 64].map((priority) => levelOf(priority, batching));
    assert.deepEqual(levels, [2, 2, 1, 2, 3, 2, 2]);
  });

  it('are ignored where a model has none', () => {
    const levels = [undefined, 0, 1, 7].map((priority) => levelOf(priority, DEFAULT_SETTINGS.batching));
    assert.deepEqual(levels, [0, 0, 0, 0]);
  });

  it('are whole numbers from 0', () => {
    for (const wrong of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(() => levelOf(wrong, batching), /^ShoalError: priority is .*, expected a whole number from 0$/);
    }
  });

  it('have limits of their own, or those of the model', () => {
    const own = { maxRequests: 1, timeoutMs: 5 };
    const settings = { ...batching, queueByPriority: new Map([[3, own]]) };
    assert.equal(queueOf(3, settings), own);
    assert.equal(queueOf(1, settings), settings.queue);
  });
});

describe('a lane with priorities', () => {
  it('gives the most urgent first, those of one level as they came', () => {
    const all = [request(2), request(3), request(1), request(2), request(1)];
    const lane = new Lane('key', 2);
    for (const one of all) lane.push(one);
    assert.equal(lane.next(), all[2]);
    assert.deepEqual(lane.take(3), [all[2], all[4], all[0]]);
    const late = request(1);
    lane.push(late);
    assert.deepEqual([...lane.waiting()], [late, all[3], all[1]]);
    assert.deepEqual(lane.take(8), [late, all[3], all[1]]);
    assert.deepEqual([lane.rows, lane.requests, lane.next()], [0, 0, undefined]);
  });

  it('does not let a smaller, less urgent request overtake one that does not fit', () => {
    const all = [request(1, 3), request(1, 3), request(2, 1)];
    const lane = new Lane('key');
    for (const one of all) lane.push(one);
    assert.deepEqual(lane.take(4), [all[0]]);
    assert.deepEqual(lane.take(4), [all[1], all[2]]);
  });

  it('knows since when the longest waiting request waits, whatever its priority', () => {
    const lane = new Lane('key');
    const [old, urgent] = [request(2), request(1)];
    urgent.stamps.enqueuedMs = 7;
    lane.push(old);
    lane.push(urgent);
    assert.equal(lane.next(), urgent);
    assert.equal(lane.waitingSinceMs(urgent), 0);
  });

  it('runs what is tried again before what is more urgent', () => {
    const lane = new Lane('key', 2);
    const tried = request(2);
    lane.push(tried);
    lane.take(1);
    lane.retry([tried]);
    lane.push(request(1));
    assert.equal(lane.next(), tried);
    assert.deepEqual(lane.take(8), [tried]);
  });

  it('keeps no more slots for requests that have left than it has waiting ones', () => {
    const lane = new Lane('key', 1);
    lane.push(request(1));
    for (let i = 0; i < 10_000; i++) {
      const one = request(2 + (i % 5));
      one.promise.catch(() => {});
      lane.push(one);
      one.reject(new ShoalError('CANCELLED', 'left'), 0);
      lane.dropped(one);
    }
    assert.deepEqual([lane.rows, lane.requests, [...lane.waiting()].length], [1, 1, 1]);
  });
});

describe('a tally of levels', () => {
  it('has the requests of a level, and the rows that go before a new one', () => {
    const tally = new LevelTally();
    const all = [request(1, 2), request(2, 3), request(2, 4), request(3, 5)];
    for (const one of all) tally.count(one, 1);
    assert.deepEqual(
      [1, 2, 3, 4].map((level) => tally.requests(level)),
      [1, 2, 1, 0],
    );
    assert.deepEqual(
      [1, 2, 3].map((level) => tally.rowsBefore(level)),
      [2, 9, 14],
    );
    for (const one of all) tally.count(one, -1);
    assert.equal(tally.rowsBefore(3), 0);
  });
});

describe('a batcher with levels', () => {
  it('runs what is urgent first, across lanes, when a runner becomes free', async () => {
    const { clock, runners, send } = setUp({ ...LEVELS, maxBatchRows: 2 });
    const runner = runners[0]!;
    send(rowsOf([0]), { priority: 3 });
    await clock.settle();
    const started: number[][] = [];
    // Rows of two widths make two lanes.
    for (const [value, priority] of [
      [1, 3],
      [2, 2],
      [3, 1],
      [4, 2],
    ] as const) {
      send(rowsOf([value]), { priority });
      send(rowsOf([10 * value, 0]), { priority });
      await clock.advance(1);
    }
    await clock.settle();
    for (let i = 0; i < 5; i++) {
      const { members } = runner.current!.batch;
      started.push(members.map(({ priority }) => priority));
      await runner.finish();
      await clock.settle();
    }
    assert.deepEqual(started, [[3], [1, 2], [1, 2], [2, 3], [2, 3]]);
  });

  it('limits each level by itself', async () => {
    const most = new Map([
      [1, 1],
      [2, 3],
    ]);
    const rig = setUp({ maxLevelRequests: (level) => most.get(level)! });
    rig.send(rowsOf([0]), { priority: 2 });
    await rig.clock.settle();
    rig.send(rowsOf([1]), { priority: 1 });
    for (let i = 0; i < 3; i++) rig.send(rowsOf([i]), { priority: 2 });
    const full = (priority: number) => (error: unknown) =>
      error instanceof ShoalError &&
      error.code === 'QUEUE_FULL' &&
      error.message ===
        `the queue of model 'fake' for priority ${priority} is full: ${most.get(priority)} requests may wait`;
    assert.throws(() => rig.send(rowsOf([9]), { priority: 1 }), full(1));
    assert.throws(() => rig.send(rowsOf([9]), { priority: 2 }), full(2));
    await rig.runners[0]!.finish();
    await rig.clock.settle();
    rig.send(rowsOf([9]), { priority: 1 });
    assert.deepEqual(rig.refused, ['QUEUE_FULL', 'QUEUE_FULL']);
  });

  it('lets who waits behind the urgent ones expire, and never runs it then', async () => {
    const { clock, runners, send, settled } = setUp({ ...LEVELS, maxBatchRows: 1 });
    const runner = runners[0]!;
    send(rowsOf([0]), { priority: 1 });
    await clock.settle();
    const late = send(rowsOf([1]), { priority: 2, queueDeadlineMs: clock.now() + 10 });
    for (let i = 0; i < 4; i++) {
      send(rowsOf([2]), { priority: 1 });
      await clock.advance(4);
      await runner.finish();
      await clock.settle();
      assert.equal(runner.current!.batch.members[0]!.priority, 1);
    }
    assert.equal(late.state, 'settled');
    assert.deepEqual(
      settled.filter(({ request: one }) => one === late).map(({ code }) => code),
      ['DEADLINE_EXCEEDED'],
    );
    assert.equal(late.stamps.dispatchedMs, 0);
    assert.equal(late.stamps.settledMs, late.queueDeadlineMs);
  });

  it('takes a deadline for reachable when only less urgent rows stand in its way', async () => {
    const { clock, cost, send } = setUp(LEVELS);
    // Ten rows cost 100 ms at best.
    for (let i = 0; i < 50; i++) cost.observe(10, 40, 100);
    send(rowsOf([0]), { priority: 2 });
    await clock.settle();
    for (let i = 0; i < 20; i++) send(rowsOf([i]), { priority: 2 });
    const unreachable = (error: unknown) => error instanceof ShoalError && error.code === 'DEADLINE_UNREACHABLE';
    assert.throws(() => send(rowsOf([9]), { priority: 2, deadlineMs: clock.now() + 50 }), unreachable);
    send(rowsOf([9]), { priority: 1, deadlineMs: clock.now() + 50 });
  });
});
