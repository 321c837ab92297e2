import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { refuseCrossOrigin } from '../../../src/http/cross-origin.ts';
import { refuseHead } from '../../../src/http/request-head.ts';
import { requestIds } from '../../../src/http/request-id.ts';

const head = (headers: Record<string, string>, httpVersion = '1.1'): void =>
  refuseHead({ headers: { host: 'shoal.test', ...headers }, rawHeaders: ['Host', 'shoal.test'], httpVersion });

describe('refuseHead', () => {
  it('lets usual requests pass', () => {
    for (const headers of [
      {},
      { 'content-encoding': '' },
      { 'content-encoding': 'IDENTITY' },
      { 'content-encoding': 'gzip' },
      { 'content-encoding': 'deflate' },
      { 'transfer-encoding': 'Chunked' },
      { expect: '100-Continue' },
      { origin: 'http://shoal.test' },
    ])
      assert.doesNotThrow(() => head(headers as Record<string, string>));
    assert.doesNotThrow(() => refuseHead({ headers: {}, rawHeaders: [], httpVersion: '1.0' }));
  });

  it('refuses what is not done, naming it', () => {
    for (const [headers, code, message] of [
      [{ 'content-encoding': 'br' }, 'UNSUPPORTED_ENCODING', /Content-Encoding is br/],
      [{ 'content-encoding': 'identity, gzip' }, 'UNSUPPORTED_ENCODING', /identity, gzip/],
      [{ 'transfer-encoding': 'gzip, chunked' }, 'UNIMPLEMENTED', /Transfer-Encoding is gzip, chunked/],
      [{ expect: 'magic' }, 'INVALID_REQUEST', /magic/],
      [{ origin: 'http://elsewhere.test' }, 'CROSS_ORIGIN', /elsewhere/],
    ] as const)
      assert.throws(() => head(headers), { code, message });
  });

  it('refuses what leaves open which host or how much body is meant', () => {
    const refused = (
      headers: Record<string, string>,
      httpVersion: string,
      rawHeaders: string[],
      message: RegExp,
    ): void =>
      assert.throws(() => refuseHead({ headers, rawHeaders, httpVersion }), { code: 'INVALID_REQUEST', message });
    refused({}, '1.1', [], /no Host/);
    refused({ host: 'a' }, '1.1', ['Host', 'a', 'X', 'host', 'hOST', 'a'], /more than one Host/);
    for (const host of ['a b', 'a/b', 'user@a', 'a?', 'a#', 'a\\b', '<a>', 'é'])
      refused({ host }, '1.1', [], /no host/);
    for (const version of ['0.9', '2.0']) refused({ host: 'a' }, version, [], new RegExp(`HTTP/${version}`));
    refused({ host: 'a', 'transfer-encoding': 'chunked' }, '1.0', [], /HTTP\/1.0 .*Transfer-Encoding/);
    refused({ host: 'a', 'transfer-encoding': '' }, '1.1', [], /empty/);
    assert.doesNotThrow(() => refuseHead({ headers: {}, rawHeaders: [':method', 'GET'], httpVersion: '2.0' }));
    for (const host of ['', 'a', 'a:80', '[::1]:8000', 'xn--a.test', '127.0.0.1'])
      assert.doesNotThrow(() => head({ host }));
  });
});

describe('refuseCrossOrigin', () => {
  it('compares host and port, not the scheme, which a proxy may have ended', () => {
    for (const [origin, host] of [
      [undefined, undefined],
      [undefined, 'a.test'],
      ['http://a.test', 'a.test'],
      ['https://a.test', 'a.test'],
      ['http://A.test:80', 'a.TEST'],
      ['http://a.test:8000', 'a.test:8000'],
      ['https://a.test', 'a.test:443'],
      ['http://[::1]:8000', '[::1]:8000'],
    ])
      assert.doesNotThrow(() => refuseCrossOrigin(origin, host), `${origin} at ${host}`);
    for (const [origin, host] of [
      ['http://b.test', 'a.test'],
      ['http://a.test', undefined],
      ['http://a.test:8001', 'a.test:8000'],
      ['http://a.test', 'a.test:8000'],
      ['http://a.test.b.test', 'a.test'],
      ['null', 'null'],
      ['', 'a.test'],
      ['about:blank', ''],
    ])
      assert.throws(() => refuseCrossOrigin(origin, host), { code: 'CROSS_ORIGIN' }, `${origin} at ${host}`);
  });
});

describe('requestIds', () => {
  it("carries on the caller's id where it is fit for a line of a log", () => {
    const id = requestIds();
    assert.equal(id({ headers: { 'x-request-id': 'abc-1' } }), 'abc-1');
    const made = ['', ' ', 'a b', 'a\nb', 'é', 'x'.repeat(129)].map((given) =>
      id({ headers: { 'x-request-id': given } }),
    );
    for (const one of made) assert.match(one, /^[0-9a-f]{8}-[0-9a-z]+$/);
    assert.equal(new Set(made).size, made.length);
  });

  it('makes ids that no other server makes', () => {
    assert.notEqual(requestIds()({ headers: {} }), requestIds()({ headers: {} }));
  });
});
