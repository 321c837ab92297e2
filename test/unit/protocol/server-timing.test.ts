import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Reply, Stamps } from '../../../src/batching/request.ts';
import { errorTiming, serverTiming } from '../../../src/protocol/server-timing.ts';

const STAMPS: Stamps = {
  receivedMs: 1000,
  fetchMs: 0,
  enqueuedMs: 1000.25,
  dispatchedMs: 1001.5,
  computeStartMs: 1001.6,
  computeEndMs: 1014,
  settledMs: 1014.0625,
};

describe('serverTiming', () => {
  it('has every stage to the microsecond, the batch, and the total as it was measured', () => {
    const reply: Reply = {
      outputs: [],
      stamps: STAMPS,
      batch: { rows: 8, requests: 3, reason: 'freed' },
      costMs: 4.65,
    };
    assert.equal(
      serverTiming(reply, 1014.5, 14.512),
      'decode;dur=0.250, queue;dur=1.250, handover;dur=0.100, ' +
        'compute;dur=12.400;desc="rows=8 requests=3 reason=freed share=4.650", ' +
        'handback;dur=0.063, encode;dur=0.438, total;dur=14.512',
    );
  });

  it('writes no negative and no endless numbers', () => {
    const stamps = { ...STAMPS, dispatchedMs: 1000.2, computeStartMs: 1000.2 + 1 / 3 };
    const reply: Reply = { outputs: [], stamps, batch: { rows: 1, requests: 1, reason: 'idle' }, costMs: 1 / 3 };
    for (const [, ms] of serverTiming(reply, 1014.5, 123456.789).matchAll(/dur=([^;,]+)/g))
      assert.match(ms!, /^\d+\.\d{3}$/);
  });
});

describe('errorTiming', () => {
  it('says how far the request came', () => {
    assert.equal(errorTiming(1000, undefined, 1000.5), 'decode;dur=0.500, total;dur=0.500');
    const waiting = { ...STAMPS, dispatchedMs: 0 };
    assert.equal(errorTiming(1000, waiting, 1003), 'decode;dur=0.250, queue;dur=2.750, total;dur=3.000');
    assert.equal(
      errorTiming(1000, STAMPS, 1003),
      'decode;dur=0.250, queue;dur=1.250, compute;dur=1.500, total;dur=3.000',
    );
  });
});
