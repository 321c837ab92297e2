import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Lane } from '../../../src/batching/lane.ts';
import type { PendingRequest } from '../../../src/batching/request.ts';
import { ShoalError } from '../../../src/errors.ts';
import { makeRequest, rowsOf } from '../../support/make-request.ts';

/** A request of so many rows. */
function request(rows: number): PendingRequest {
  return makeRequest(rowsOf(...Array.from({ length: rows }, () => [1])));
}

function laneOf(...requests: readonly PendingRequest[]): Lane {
  const lane = new Lane('key');
  for (const one of requests) lane.push(one);
  return lane;
}

function settle(lane: Lane, one: PendingRequest): void {
  one.promise.catch(() => {});
  assert.ok(one.reject(new ShoalError('CANCELLED', 'left'), 0));
  lane.dropped(one);
}

describe('lane', () => {
  it('gives requests in the order they came, as many as fit', () => {
    const all = [request(2), request(3), request(4), request(1)];
    const lane = laneOf(...all);
    assert.deepEqual([lane.rows, lane.requests], [10, 4]);
    assert.deepEqual(lane.take(5), all.slice(0, 2));
    assert.deepEqual([lane.rows, lane.requests], [5, 2]);
    // The last one would fit, but may not overtake.
    assert.deepEqual(lane.take(3), [all[2]]);
    assert.deepEqual(lane.take(3), [all[3]]);
    assert.deepEqual(lane.take(3), []);
    assert.deepEqual([lane.rows, lane.requests], [0, 0]);
    for (const one of all) assert.equal(one.state, 'running');
  });

  it('gives the first request whatever its size', () => {
    const [large, small] = [request(9), request(1)];
    assert.deepEqual(laneOf(large, small).take(4), [large]);
  });

  it('passes over requests that were settled while they waited', () => {
    const all = [request(1), request(1), request(1)];
    const lane = laneOf(...all);
    settle(lane, all[0]!);
    assert.equal(lane.next(), all[1]);
    settle(lane, all[1]!);
    assert.deepEqual([lane.rows, lane.requests], [1, 1]);
    assert.deepEqual(lane.take(8), [all[2]]);
    assert.equal(lane.next(), undefined);
  });

  it('runs groups that are tried again first, each as a batch of its own', () => {
    const [a, b, c, d] = [request(1), request(1), request(1), request(1)];
    const lane = laneOf(a, b, c, d);
    lane.take(3);
    lane.retry([a, b]);
    lane.retry([c]);
    assert.ok(lane.hasRetry);
    assert.deepEqual([lane.rows, lane.requests], [4, 4]);
    assert.deepEqual([...lane.waiting()], [a, b, c, d]);
    assert.equal(lane.next(), a);
    assert.deepEqual(lane.take(8), [a, b]);
    assert.deepEqual(lane.take(8), [c]);
    assert.ok(!lane.hasRetry);
    assert.deepEqual(lane.take(8), [d]);
  });

  it('gives a group in pieces where it does not fit any more', () => {
    const group = [request(2), request(1), request(1)];
    const lane = laneOf(...group);
    lane.take(8);
    lane.retry(group);
    assert.deepEqual(lane.take(1), [group[0]]);
    assert.deepEqual([...lane.waiting()], group.slice(1));
    assert.deepEqual(lane.take(1), [group[1]]);
    assert.deepEqual(lane.take(1), [group[2]]);
    assert.equal(lane.requests, 0);
  });

  it('forgets groups that nobody waits for any more', () => {
    const [a, b, c] = [request(1), request(1), request(1)];
    const lane = laneOf(a, b, c);
    lane.take(2);
    lane.retry([a]);
    lane.retry([b]);
    settle(lane, a);
    settle(lane, b);
    assert.equal(lane.next(), c);
    assert.ok(!lane.hasRetry);
    assert.deepEqual(lane.take(8), [c]);
  });

  it('keeps order and counts over thousands of requests that come, leave and are taken', () => {
    const lane = new Lane('key');
    const expected: PendingRequest[] = [];
    const taken: PendingRequest[] = [];
    for (let i = 0; i < 5000; i++) {
      const one = request(1 + (i % 3));
      lane.push(one);
      if (i % 5 === 0) settle(lane, one);
      else expected.push(one);
      if (i % 7 === 0) taken.push(...lane.take(6));
      const waiting = expected.slice(taken.length);
      assert.equal(lane.requests, waiting.length);
      assert.equal(
        lane.rows,
        waiting.reduce((sum, { inputs }) => sum + inputs.rows, 0),
      );
    }
    while (lane.requests > 0) taken.push(...lane.take(6));
    assert.deepEqual(taken, expected);
  });
});
