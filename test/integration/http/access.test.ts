import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { broken, ident } from '../../support/models.ts';
import { expectError, useServer } from '../../support/server.ts';
import { exchange, requestBytes } from '../../support/wire.ts';

/** Who may ask for what: names never lead out of the models folder, pages of other origins get nothing. */

describe('names in paths', () => {
  // Beside the models lie a version folder that is none and a file that is no model.
  const running = useServer(() => ({
    ident: { '1': ident('FP32'), old: broken() },
    '.hidden': { '1': ident('FP32') },
  }));

  const NAMES = [
    '..',
    '.',
    '%2e%2e',
    '%2e%2e%2f%2e%2e%2fetc%2fpasswd',
    '..%2Fident',
    '.%2e/ident',
    '%2Fetc%2Fpasswd',
    '%2F',
    'ident%00',
    '%00',
    'ident%2F..%2Fident',
    'ident%2F1',
    'ident/../ident',
    '..%5Cident',
    '..\\ident',
    'ident\\1',
    '%252e%252e',
    '.hidden',
    'ident.onnx',
    '~',
    '$HOME',
    'C:',
    'file:',
    'ident;x',
    'ident%20',
    '%20ident',
    'IDENT',
    '%C0%AE%C0%AE',
    '__proto__',
    'constructor',
    'a'.repeat(500),
    'a'.repeat(600),
  ];

  it('only the names of models lead anywhere', async () => {
    for (const name of NAMES) {
      for (const target of [
        `/v2/models/${name}`,
        `/v2/models/${name}/ready`,
        `/v2/models/${name}/config`,
        `/v2/models/${name}/stats`,
        `/v2/models/${name}/versions/1`,
        `/v2/models/ident/versions/${name}`,
        `/v1/models/${name}`,
        `/${name}`,
      ]) {
        const response = await exchange(running().port, requestBytes('GET', target));
        assert.ok([400, 404].includes(response.status), `${target}: ${response.status} ${response.body}`);
        assert.equal(response.headers['content-type'], 'application/json', target);
        assert.deepEqual(Object.keys(JSON.parse(response.body)), ['error'], target);
        assert.doesNotMatch(response.body, /root:|ENOENT|node_modules/, target);
      }
    }
  });

  it('the folder of a version is one by its number alone', async () => {
    for (const version of ['old', '1/..', '1%2F', '%31%2f', '1.', '+1', ' 1', '１']) {
      const target = `/v2/models/ident/versions/${encodeURI(version)}`;
      const response = await exchange(running().port, requestBytes('GET', target));
      assert.equal(response.status, 404, target);
    }
  });

  it('escapes that are none are refused', async () => {
    for (const target of ['/v2/models/%', '/v2/models/%zz', '/v2/models/%f', '/v2/models/%ff', '/v2/models/%E0%A4%A'])
      expectError(await running().get(target), 'INVALID_REQUEST', /not well-formed/);
    expectError(await running().send('POST', '/v2/models/%/infer', '{}'), 'INVALID_REQUEST');
  });

  it('a reserved path under models is not taken for a model', async () => {
    assert.ok('model_stats' in ((await running().json('/v2/models/stats')) as object));
  });

  it('none of this became a label or a line of the log', async () => {
    assert.deepEqual([...(await running().metrics()).labelValues('model')], ['ident']);
    assert.deepEqual(running().logged, []);
  });
});

describe('pages of other origins', () => {
  const running = useServer(() => ({ ident: ident('FP32') }));
  const x = { name: 'x', datatype: 'FP32', shape: [1, 1], data: [1] };

  it('are refused on every route, also when the browser hides where they come from', async () => {
    const { port } = running();
    for (const origin of [
      'http://elsewhere.test',
      `http://localhost:${port}`,
      `http://127.0.0.1:${port + 1}`,
      'http://127.0.0.1',
      `http://127.0.0.1.elsewhere.test:${port}`,
      `http://user@elsewhere.test/127.0.0.1:${port}`,
      'null',
      '',
      '*',
      'file://',
      'chrome-extension://abcdef',
    ]) {
      expectError(await running().infer('ident', { inputs: [x] }, { origin }), 'CROSS_ORIGIN', /origin/);
      for (const path of ['/', '/v2', '/metrics', '/v2/models/ident', '/v1/models'])
        expectError(await running().get(path, { origin }), 'CROSS_ORIGIN');
    }
    const preflight = await running().send('OPTIONS', '/v2/models/ident/infer', undefined, {
      origin: 'http://elsewhere.test',
      'access-control-request-method': 'POST',
    });
    expectError(preflight, 'CROSS_ORIGIN');
    assert.equal(preflight.headers['access-control-allow-origin'], undefined);
  });

  it('of the same origin are served, whatever the case of the host and its default port', async () => {
    const { port } = running();
    for (const [origin, host] of [
      [`http://127.0.0.1:${port}`, `127.0.0.1:${port}`],
      ['http://shoal.test', 'shoal.test'],
      ['http://shoal.test', 'SHOAL.test:80'],
      ['https://shoal.test', 'shoal.test:443'],
      ['https://shoal.test:8443', 'shoal.test:8443'],
      ['http://[::1]:8000', '[::1]:8000'],
    ] as const) {
      const response = await exchange(port, requestBytes('GET', '/v2', '', { host, origin }));
      assert.equal(response.status, 200, `${origin} at ${host}`);
    }
  });

  it('programs, which send no origin, are served', async () => {
    assert.equal((await running().infer('ident', { inputs: [x] })).status, 200);
  });
});
