import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { chooseReplyCoding, readContentEncoding } from '../../../src/http/content-coding.ts';

describe('the coding of a request', () => {
  it('is gzip, deflate, none, or not supported', () => {
    for (const none of [undefined, '', 'identity', 'Identity']) assert.equal(readContentEncoding(none), undefined);
    for (const gzip of ['gzip', 'GZip', 'x-gzip']) assert.equal(readContentEncoding(gzip), 'gzip');
    assert.equal(readContentEncoding('deflate'), 'deflate');
    for (const other of ['br', 'gzip, gzip', 'identity, gzip', 'gzip;q=1', '*', ' ']) {
      assert.equal(readContentEncoding(other), null, other);
    }
  });
});

describe('the coding of a reply', () => {
  const large = 1024;

  it('explicit: the one that is asked for alone', () => {
    assert.equal(chooseReplyCoding('explicit', 'gzip', large), 'gzip');
    assert.equal(chooseReplyCoding('explicit', ' Deflate ', large), 'deflate');
    for (const header of ['', 'br', 'gzip, deflate', 'gzip;q=1', '*', 'identity']) {
      assert.equal(chooseReplyCoding('explicit', header, large), undefined, header);
    }
  });

  it('negotiate: the one of the highest weight, the first among equals', () => {
    for (const [header, coding] of [
      ['gzip', 'gzip'],
      ['deflate', 'deflate'],
      ['br, deflate, gzip', 'deflate'],
      ['gzip;q=0.2, deflate;q=0.3, br', 'deflate'],
      ['gzip;q=1.000,deflate', 'gzip'],
      ['deflate ; q=0.1', 'deflate'],
      ['*', 'gzip'],
      ['*;q=0.5', 'gzip'],
      ['deflate;q=0.1, *;q=0.5', 'gzip'],
      ['gzip;q=0, *', undefined],
      ['gzip;q=0', undefined],
      ['*;q=0', undefined],
      ['identity', undefined],
      ['identity;q=1, gzip;q=0.5', undefined],
      ['identity;q=0.5, gzip', 'gzip'],
      ['gzip;q=2', undefined],
      ['gzip;q=-1', undefined],
      ['gzip;q=', undefined],
      ['gzip;q=0.1234', undefined],
      ['', undefined],
      [',,;q=1,', undefined],
    ] as const) {
      assert.equal(chooseReplyCoding('negotiate', header, large), coding, header);
    }
  });

  it('none for small replies, and none when it is off', () => {
    for (const mode of ['explicit', 'negotiate'] as const) {
      assert.equal(chooseReplyCoding(mode, 'gzip', large - 1), undefined);
    }
    assert.equal(chooseReplyCoding('off', 'gzip', large), undefined);
  });
});
