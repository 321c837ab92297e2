import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decodeBase64 } from '../../../../src/http/pipelines/base64.ts';

/** Decodes to the end; returns the bytes and how often it paused. */
function decode(text: string): { readonly bytes: Buffer; readonly pauses: number } {
  const buffer = Buffer.from(`"${text}"`, 'latin1');
  const work = decodeBase64(buffer, 1, buffer.length - 1, 'it');
  for (let pauses = 0; ; pauses++) {
    const { done, value } = work.next();
    if (done) return { bytes: value, pauses };
  }
}

describe('decodeBase64', () => {
  it('decodes what others encode: both alphabets, padded or not, with line breaks and escaped slashes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (array) => {
        const bytes = Buffer.from(array);
        const text = bytes.toString('base64');
        const lines = text.replace(/.{1,76}/g, '$&\\r\\n');
        for (const one of [
          text,
          text.replaceAll('=', ''),
          bytes.toString('base64url'),
          lines,
          text.replaceAll('/', '\\/'),
        ]) {
          assert.deepEqual(decode(one).bytes, bytes);
        }
      }),
    );
  });

  it('is right across its pieces, and pauses when there is much', () => {
    for (const size of [49_151, 49_152, 49_153, 98_304, 3_000_000]) {
      const bytes = Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 31) % 251));
      const { bytes: decoded, pauses } = decode(bytes.toString('base64'));
      assert.ok(decoded.equals(bytes), String(size));
      assert.equal(pauses > 0, size > 1_000_000);
    }
  });

  it('refuses whatever else there is', () => {
    for (const text of [
      'A',
      'AAAAA',
      'AA=',
      'A===',
      'AAA==',
      '====',
      'AA AA',
      'AAA\\u0041',
      'äAAA',
      'AA==AA',
      '=AAA',
      '"AA',
    ]) {
      assert.throws(() => decode(text), { code: 'INVALID_REQUEST', message: 'it is not base64' }, text);
    }
    assert.equal(decode('').bytes.length, 0);
  });
});
