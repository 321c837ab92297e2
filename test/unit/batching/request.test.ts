import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Reply } from '../../../src/batching/request.ts';
import { ShoalError } from '../../../src/errors.ts';
import { makeRequest, rowsOf } from '../../support/make-request.ts';

const BATCH = { rows: 1, requests: 1, reason: 'idle' } as const;
const lost = new ShoalError('EXECUTOR_LOST', 'gone');

describe('pending request', () => {
  it('is settled once, by whoever comes first', async () => {
    const y = rowsOf([2]);
    const answered = makeRequest(rowsOf([1]));
    assert.ok(answered.resolve([y], BATCH, 5));
    assert.ok(!answered.resolve([], BATCH, 6));
    assert.ok(!answered.reject(lost, 7));
    assert.deepEqual(await answered.promise, { outputs: [y], stamps: answered.stamps, batch: BATCH, costMs: 0 });
    assert.equal(answered.stamps.settledMs, 5);

    const rejected = makeRequest(rowsOf([1]));
    assert.ok(rejected.reject(lost, 5));
    assert.ok(!rejected.resolve([y], BATCH, 6));
    await assert.rejects(rejected.promise, lost);
  });

  it('tells its listener once, at once when it has been settled before', () => {
    for (const early of [true, false]) {
      const heard: unknown[] = [];
      const listener = {
        answered: ({ batch }: Reply) => heard.push(batch),
        failed: (error: ShoalError) => heard.push(error),
      };
      const [answered, rejected] = [makeRequest(rowsOf([1])), makeRequest(rowsOf([1]))];
      if (early) for (const request of [answered, rejected]) request.onSettled(listener);
      answered.resolve([], BATCH, 1);
      answered.reject(lost, 2);
      rejected.reject(lost, 3);
      if (!early) for (const request of [answered, rejected]) request.onSettled(listener);
      assert.deepEqual(heard, [BATCH, lost]);
    }
  });

  it('that nobody listens to does no harm when it fails', async () => {
    makeRequest(rowsOf([1])).reject(lost, 1);
    await new Promise((resolve) => setImmediate(resolve));
  });

  it('may lose one executor, not two', () => {
    const request = makeRequest(rowsOf([1]));
    assert.equal(request.survivesDeath(), true);
    assert.equal(request.survivesDeath(), false);
  });

  it('expires by its time to wait before it is run, and by its deadline afterwards', () => {
    const request = makeRequest(rowsOf([1]), { deadlineMs: 100, queueDeadlineMs: 20 });
    assert.equal(request.expiresMs, 20);
    request.stamps.dispatchedMs = 10;
    assert.equal(request.expiresMs, 100);
    assert.equal(makeRequest(rowsOf([1]), { deadlineMs: 10, queueDeadlineMs: 20 }).expiresMs, 10);
  });
});
