import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ShoalClientError } from '../../../src/client/errors.ts';
import { parseExact } from '../../../src/client/json.ts';
import { pauseMs, readRetryAfter } from '../../../src/client/retry.ts';

describe('the pause before a further try', () => {
  const options = { attempts: 9, baseMs: 100, maxMs: 1000 };
  const lost = new ShoalClientError('CONNECTION_LOST', 'lost');

  it('doubles up to its limit, half of it by chance', () => {
    assert.deepEqual(
      [1, 2, 3, 4, 5, 9].map((attempt) => pauseMs(lost, attempt, options, 1)),
      [100, 200, 400, 800, 1000, 1000],
    );
    assert.deepEqual(
      [1, 5].map((attempt) => pauseMs(lost, attempt, options, 0)),
      [50, 500],
    );
  });

  it('is never shorter than the server asks for', () => {
    const busy = new ShoalClientError('QUEUE_FULL', 'full', { retryAfterSeconds: 7 });
    assert.equal(pauseMs(busy, 1, options, 1), 7000);
    const soon = new ShoalClientError('QUEUE_FULL', 'full', { retryAfterSeconds: 0 });
    assert.equal(pauseMs(soon, 1, options, 1), 100);
  });
});

describe('Retry-After', () => {
  it('is seconds or a date', () => {
    const nowMs = Date.parse('2026-01-01T00:00:00Z');
    const read = (header: string | undefined): number | undefined => readRetryAfter(header, nowMs);
    assert.deepEqual(
      ['0', ' 12 ', 'Thu, 01 Jan 2026 00:00:30 GMT', 'Wed, 31 Dec 2025 00:00:00 GMT'].map(read),
      [0, 12, 30, 0],
    );
    assert.deepEqual([undefined, '', 'soon'].map(read), [undefined, undefined, undefined]);
  });
});

describe('parseExact', () => {
  it('keeps wide integers, and everything else as JSON.parse has it', () => {
    for (const text of [
      '{"a":[1,2.5,"x",null,true]}',
      '[0.1234567890123456789,1e20,-12345678901234567.5]',
      '"1234567890123456789"',
    ]) {
      assert.deepEqual(parseExact(text), JSON.parse(text), text);
    }
    assert.deepEqual(parseExact('[-9223372036854775808, 1234567890123456]'), [
      -9223372036854775808n,
      1234567890123456n,
    ]);
    assert.deepEqual(parseExact('{"\\"1234567890123456789":1234567890123456789}'), {
      '"1234567890123456789': 1234567890123456789n,
    });
  });

  it('is not misled by strings that look like what it makes of integers', () => {
    const text = '["\\u00011234567890123456789", "\\u0002x", 1234567890123456789]';
    assert.deepEqual(parseExact(text), ['\u00011234567890123456789', '\u0002x', 1234567890123456789n]);
  });

  it('refuses what JSON.parse refuses', () => {
    for (const text of [
      '[01234567890123456789]',
      '[1234567890123456789',
      '[--1234567890123456789]',
      '[1234567890123456789 1]',
    ]) {
      assert.throws(() => parseExact(text), SyntaxError, text);
    }
  });
});
