import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { STATUS } from '../../../src/index.ts';
import { add2, ident } from '../../support/models.ts';
import { type Answer, expectError, parseReply, type Scope, useServer } from '../../support/server.ts';
import { requestBytes, WireConnection, type WireResponse } from '../../support/wire.ts';

/** Limits on what a client may send, and on the time it may take. */

const INFER = '/v2/models/ident/infer';
const LIMIT = 4 * 2 ** 20;

const asAnswer = ({ status, headers, body }: WireResponse): Answer => ({ status, headers, body: Buffer.from(body) });
const x = (...data: number[]): string =>
  JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, data.length], data }] });
/** A request of so many bytes; white space in the data counts as data. */
const padded = (bytes: number): string => {
  const text = x(1, 2);
  return text.replace('[1,2]}', `[1,${' '.repeat(bytes - text.length)}2]}`);
};

/** A body in chunks, which says nothing of its size. */
async function* inChunks(bytes: number): AsyncGenerator<Buffer> {
  const chunk = Buffer.alloc(2 ** 16, ' ');
  for (let sent = 0; sent < bytes; sent += chunk.length) yield chunk;
}

describe('sizes', () => {
  const running = useServer(() => ({ ident: ident('FP32'), add2: add2() }), { bodyLimit: LIMIT });

  const open = async (scope: Scope): Promise<WireConnection> => {
    const connection = await WireConnection.open(running().port);
    scope.after(async () => connection.close());
    return connection;
  };

  it('a body of exactly the limit is taken', async () => {
    assert.deepEqual(parseReply(await running().infer('ident', padded(LIMIT))).outputs[0]!.data, [1, 2]);
  });

  it('the limit holds for every route', async () => {
    const path = '/v2/models/ident';
    expectError(await running().send('POST', path, padded(LIMIT + 1)), 'METHOD_NOT_ALLOWED');
    expectError(await running().send('POST', '/nowhere', padded(LIMIT + 1)), 'NOT_FOUND');
  });

  it('a client that writes all of its request before it reads gets the answer', async (t) => {
    for (const [path, headers, code] of [
      [INFER, {}, 'BODY_TOO_LARGE'],
      ['/v2/models/nope/infer', {}, 'MODEL_NOT_FOUND'],
      ['/nowhere', {}, 'NOT_FOUND'],
      [INFER, { 'content-encoding': 'br' }, 'UNSUPPORTED_ENCODING'],
      [INFER, { origin: 'http://elsewhere.test' }, 'CROSS_ORIGIN'],
    ] as const) {
      for (const framing of ['declared', 'chunked']) {
        const connection = await open(t);
        connection.socket.pause();
        const body = ' '.repeat(3 * LIMIT);
        const bytes =
          framing === 'declared'
            ? requestBytes('POST', path, body, headers)
            : `${requestBytes('POST', path, '', { ...headers, 'transfer-encoding': 'chunked' }).replace('content-length: 0\r\n', '')}${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
        await connection.send(bytes);
        connection.socket.resume();
        const response = await connection.response();
        expectError(asAnswer(response), code);
        assert.equal(response.headers['connection'], 'close');
        assert.equal(await connection.ended(), '');
      }
    }
  });

  it('what a request is refused for is said before its body has come, and a short body costs no connection', async (t) => {
    const connection = await open(t);
    for (const [method, path, headers, code] of [
      ['POST', '/v2/models/nope/infer', {}, 'MODEL_NOT_FOUND'],
      ['POST', '/nowhere', {}, 'NOT_FOUND'],
      ['PUT', INFER, {}, 'METHOD_NOT_ALLOWED'],
      ['POST', INFER, { 'content-encoding': 'br, gzip' }, 'UNSUPPORTED_ENCODING'],
      ['POST', INFER, { origin: 'null' }, 'CROSS_ORIGIN'],
    ] as const) {
      const body = ' '.repeat(1000);
      const bytes = requestBytes(method, path, body, headers);
      await connection.send(bytes.slice(0, -body.length));
      expectError(asAnswer(await connection.response()), code);
      await connection.send(body);
    }
    await connection.send(requestBytes('POST', INFER, x(1)));
    assert.equal((await connection.response()).status, 200);
  });

  it('a body that is sent as it is may say so', async () => {
    for (const encoding of ['identity', 'Identity', ''])
      parseReply(await running().infer('ident', x(1), { 'content-encoding': encoding }));
  });

  it('headers over 16 KiB are refused', async (t) => {
    for (const bytes of [
      requestBytes('GET', '/v2', '', { 'x-large': 'x'.repeat(17_000) }),
      requestBytes('GET', `/v2?${'x'.repeat(17_000)}`),
      requestBytes('GET', '/v2', '', Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`x-${i}`, 'value']))),
    ]) {
      const connection = await open(t);
      await connection.send(bytes);
      expectError(asAnswer(await connection.response()), 'HEADERS_TOO_LARGE', /16 KiB/);
      assert.equal(await connection.ended(), '');
    }
    const connection = await open(t);
    await connection.send(requestBytes('GET', '/v2', '', { 'x-large': 'x'.repeat(15_000) }));
    assert.equal((await connection.response()).status, 200);
  });

  it('refusals are counted under the model they were for, and under no other name', async () => {
    const count = async (): Promise<number> =>
      (await running().metrics()).value('shoal_requests_total', {
        model: 'add2',
        version: '1',
        protocol: 'v2',
        outcome: 'invalid',
      });
    const before = await count();
    const path = '/v2/models/add2/infer';
    await running().send('POST', path, padded(LIMIT + 1));
    await running().send('POST', path, inChunks(LIMIT + 1));
    await running().infer('add2', '{}', { 'content-encoding': 'br' });
    await running().infer('add2', '{}', { origin: 'null' });
    await running().infer('add2', '{}');
    await running().infer('nope', '{}');
    assert.equal(await count(), before + 5);
    assert.deepEqual([...(await running().metrics()).labelValues('model')].sort(), ['add2', 'ident']);
  });
});

describe('times', () => {
  const limits = { headersTimeoutMs: 300, requestTimeoutMs: 600, keepAliveTimeoutMs: 5000, checkMs: 30 };
  const running = useServer(() => ({ ident: ident('FP32') }), {}, { limits });

  const open = async (scope: Scope): Promise<WireConnection> => {
    const connection = await WireConnection.open(running().port);
    scope.after(async () => connection.close());
    return connection;
  };

  /** Sends bytes one by one, as slowly as given, until the server ends it. */
  const trickle = async (connection: WireConnection, bytes: string, pauseMs: number): Promise<void> => {
    for (const byte of bytes) {
      if (connection.socket.destroyed || !connection.socket.writable) return;
      await connection.send(byte);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  };

  it('headers that do not come to an end are given up, and others are served meanwhile', async (t) => {
    const connections = await Promise.all(Array.from({ length: 20 }, () => open(t)));
    const trickles = connections.map((connection) =>
      trickle(connection, `GET /v2 HTTP/1.1\r\nX: ${'x'.repeat(200)}`, 10),
    );
    assert.deepEqual(parseReply(await running().infer('ident', x(1))).outputs[0]!.data, [1]);
    for (const connection of connections) {
      expectError(asAnswer(await connection.response()), 'BODY_TIMEOUT', /too long/);
      assert.equal(await connection.ended(), '');
    }
    await Promise.all(trickles);
  });

  it('a body that does not come to an end is given up', async (t) => {
    const connection = await open(t);
    const body = x(1);
    const bytes = requestBytes('POST', INFER, body);
    await connection.send(bytes.slice(0, -body.length));
    const slow = trickle(connection, body, 30);
    expectError(asAnswer(await connection.response()), 'BODY_TIMEOUT', /too long/);
    assert.equal(await connection.ended(), '');
    await slow;
  });

  it('a connection on which nothing comes is given up', async (t) => {
    const connection = await open(t);
    assert.equal((await connection.response()).status, STATUS.BODY_TIMEOUT);
    assert.equal(await connection.ended(), '');
  });

  it('a client that leaves in the middle of its body is no failure of the server', async (t) => {
    const connection = await open(t);
    await connection.send(requestBytes('POST', INFER, x(1, 2, 3)).slice(0, -5));
    connection.close();
    const cancelled = { model: 'ident', version: '1', protocol: 'v2', outcome: 'cancelled' };
    while ((await running().metrics()).value('shoal_requests_total', cancelled) === 0);
    assert.deepEqual(running().logged, []);
  });
});
