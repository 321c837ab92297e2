import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, it } from 'node:test';
import { add2, ident, loopHang } from '../../support/models.ts';
import { expectError, parseReply, type Scope, startServer, useServer } from '../../support/server.ts';
import { exchange, requestBytes, WireConnection, type WireResponse } from '../../support/wire.ts';

/**
 * Connections: how requests arrive (in pieces, behind one another, with odd or broken framing), how their targets are
 * written, and what is left of a connection afterwards. The numbers are those of the protocol's conformance list.
 */

const INFER = '/v2/models/ident/infer';
const x = (...data: number[]): string =>
  JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, data.length], data }] });
const trips = (count: number): string =>
  JSON.stringify({ inputs: [{ name: 'trips', datatype: 'INT64', shape: [1], data: [count] }] });
const chunked = (pieces: readonly string[], end = '0\r\n\r\n'): string =>
  `POST ${INFER} HTTP/1.1\r\nHost: shoal.test\r\nTransfer-Encoding: chunked\r\n\r\n${pieces
    .map((piece) => `${Buffer.byteLength(piece).toString(16)};part=1\r\n${piece}\r\n`)
    .join('')}${end}`;

/** A body in chunks, which says nothing of its size. */
async function* inChunks(bytes: number): AsyncGenerator<Buffer> {
  const chunk = Buffer.alloc(2 ** 16, ' ');
  for (let sent = 0; sent < bytes; sent += chunk.length) yield chunk;
}

const dataOf = (response: WireResponse): unknown => {
  assert.equal(response.status, 200, response.body);
  return JSON.parse(response.body).outputs[0].data;
};

/** Checks an error that came over the wire. */
const refused = (
  { status, headers, body }: WireResponse,
  code: Parameters<typeof expectError>[1],
  text = /./,
): void => {
  expectError({ status, headers, body: Buffer.from(body) }, code, text);
};

describe('framing', () => {
  const running = useServer(() => ({ ident: ident('FP32'), add2: add2(), slow: loopHang() }));

  const open = async (scope: Scope): Promise<WireConnection> => {
    const connection = await WireConnection.open(running().port);
    scope.after(async () => connection.close());
    return connection;
  };

  it('case 66: a body in chunks, with extensions and trailers', async (t) => {
    const connection = await open(t);
    const body = x(1, 2, 3);
    await connection.send(chunked([body]));
    assert.deepEqual(dataOf(await connection.response()), [1, 2, 3]);
    await connection.send(chunked([...body], '0\r\nX-Sum: 1\r\nOther: 2\r\n\r\n'));
    assert.deepEqual(dataOf(await connection.response()), [1, 2, 3]);
    await connection.send(requestBytes('GET', '/v2/health/live'));
    assert.equal((await connection.response()).status, 200);
  });

  it('requests that arrive byte by byte', async (t) => {
    const connection = await open(t);
    for (const bytes of [requestBytes('POST', INFER, x(4, 5)), chunked([x(4, 5)])]) {
      for (const byte of bytes) await connection.send(byte);
      assert.deepEqual(dataOf(await connection.response()), [4, 5]);
    }
  });

  it('requests that arrive in one piece are answered in their order, however long each takes', async (t) => {
    const connection = await open(t);
    const requests = [
      requestBytes('POST', '/v2/models/slow/infer', trips(50_000)),
      requestBytes('POST', INFER, x(1)),
      requestBytes('GET', '/v2/models/nope'),
      chunked([x(2)]),
      requestBytes('HEAD', '/v2'),
      requestBytes('POST', '/v2/models/slow/infer', trips(7)),
    ];
    await connection.send(requests.join(''));
    assert.deepEqual(dataOf(await connection.response()), [50_000]);
    assert.deepEqual(dataOf(await connection.response()), [1]);
    refused(await connection.response(), 'MODEL_NOT_FOUND');
    assert.deepEqual(dataOf(await connection.response()), [2]);
    assert.equal((await connection.response({ head: true })).status, 200);
    assert.deepEqual(dataOf(await connection.response()), [7]);
  });

  it('requests behind one another on many connections share runs', async (t) => {
    const before = await running().statistics('ident');
    const connections = await Promise.all(Array.from({ length: 8 }, () => open(t)));
    const perConnection = 16;
    await Promise.all(
      connections.map(async (connection, c) => {
        const numbers = Array.from({ length: perConnection }, (_, i) => 100 * c + i);
        await connection.send(numbers.map((n) => requestBytes('POST', INFER, x(n))).join(''));
        for (const n of numbers) assert.deepEqual(dataOf(await connection.response()), [n]);
      }),
    );
    const after = await running().statistics('ident');
    const requests = connections.length * perConnection;
    assert.equal(after.inference_count - before.inference_count, requests);
    assert.ok(after.execution_count - before.execution_count < requests / 4);
  });

  it('a client that asks first is told to continue', async (t) => {
    const connection = await open(t);
    const body = x(9);
    const head = requestBytes('POST', INFER, body, { expect: '100-continue' }).slice(0, -body.length);
    await connection.send(head);
    assert.equal((await connection.response({ interim: true })).status, 100);
    await connection.send(body);
    assert.deepEqual(dataOf(await connection.response()), [9]);
  });

  it('a client that asks first, behind a request that is not answered yet, gets whole responses', async (t) => {
    const connection = await open(t);
    const asking = requestBytes('POST', '/v2/models/%', x(9), { expect: '100-continue' });
    await connection.send(requestBytes('POST', '/v2/models/slow/infer', trips(20_000)) + asking);
    assert.deepEqual(dataOf(await connection.response()), [20_000]);
    refused(await connection.response(), 'INVALID_REQUEST');
  });

  it('an expectation that is not known is refused', async () => {
    const bytes = requestBytes('POST', INFER, x(9), { expect: 'the unexpected' });
    refused(await exchange(running().port, bytes), 'INVALID_REQUEST', /the unexpected/);
  });

  it('a request without Host is refused, except in HTTP/1.0', async (t) => {
    refused(await exchange(running().port, 'GET /v2 HTTP/1.1\r\n\r\n'), 'INVALID_REQUEST', /Host/);
    const old = await open(t);
    await old.send('GET /v2/health/live HTTP/1.0\r\n\r\n');
    const response = await old.response();
    assert.equal(response.status, 200);
    assert.equal(response.headers['connection'], 'close');
    assert.equal(await old.ended(), '');
  });

  it('a request whose length is not clear is refused and ends the connection', async (t) => {
    const head = `POST ${INFER} HTTP/1.1\r\nHost: shoal.test\r\n`;
    const body = x(1);
    const inChunks = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    for (const bytes of [
      `${head}Content-Length: ${body.length}\r\nTransfer-Encoding: chunked\r\n\r\n${inChunks}`,
      `${head}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n${inChunks}`,
      `${head}Content-Length: ${body.length}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      `${head}Content-Length: ${body.length}\r\nContent-Length: ${body.length + 1}\r\n\r\n${body}`,
      `${head}Content-Length: ${body.length}, ${body.length}\r\n\r\n${body}`,
      `${head}Content-Length: +${body.length}\r\n\r\n${body}`,
      `${head}Content-Length: 0x10\r\n\r\n${body}`,
      `${head}Content-Length: -1\r\n\r\n${body}`,
      `${head}Transfer-Encoding: gzip\r\n\r\n${body}`,
      `${head}Transfer-Encoding: xchunked\r\n\r\n${inChunks}`,
      `${head}Transfer-Encoding: chunked, identity\r\n\r\n${inChunks}`,
      `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n${body}\r\n0\r\n\r\n`,
      `${head}Transfer-Encoding: chunked\r\n\r\n-1\r\n${body}\r\n0\r\n\r\n`,
      `${head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n${body}`,
      `${head}Transfer-Encoding: chunked\r\n\r\n1\r\n${body}\r\n0\r\n\r\n`,
    ]) {
      const connection = await open(t);
      await connection.send(bytes);
      refused(await connection.response(), 'INVALID_REQUEST');
      assert.equal(await connection.ended(), '', bytes);
    }
  });

  it('a request without a body is refused by what it lacks', async (t) => {
    const connection = await open(t);
    for (const bytes of [
      `POST ${INFER} HTTP/1.1\r\nHost: shoal.test\r\n\r\n`,
      requestBytes('POST', INFER, ''),
      `POST ${INFER} HTTP/1.1\r\nHost: shoal.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ]) {
      await connection.send(bytes);
      refused(await connection.response(), 'INVALID_REQUEST');
    }
  });

  it('a header length that is there twice is refused', async () => {
    const body = x(1);
    const twice = {
      'Inference-Header-Content-Length': `${body.length}`,
      'inference-header-content-length': `${body.length}`,
    };
    refused(await exchange(running().port, requestBytes('POST', INFER, body, twice)), 'INVALID_REQUEST', /header/i);
  });

  it('a client that wants no further request says so', async (t) => {
    const connection = await open(t);
    await connection.send(requestBytes('POST', INFER, x(1), { connection: 'close' }));
    assert.equal((await connection.response()).headers['connection'], 'close');
    assert.equal(await connection.ended(), '');
  });

  it('a transfer coding that is not undone is refused, not ignored', async () => {
    const bytes = chunked([x(1)]).replace('chunked', 'gzip, chunked');
    refused(await exchange(running().port, bytes), 'UNIMPLEMENTED', /Transfer-Encoding is gzip, chunked/);
  });

  it('case 66: fields in trailers change nothing, and those that could are refused', async (t) => {
    const connection = await open(t);
    for (const field of ['X-Sum: 1', 'Inference-Header-Content-Length: 3', 'Content-Encoding: br', 'Host: elsewhere']) {
      await connection.send(chunked([x(1)], `0\r\n${field}\r\n\r\n`));
      assert.deepEqual(dataOf(await connection.response()), [1]);
    }
    for (const field of ['Content-Length: 5', 'no colon']) {
      const other = await open(t);
      await other.send(chunked([x(1)], `0\r\n${field}\r\n\r\n`));
      refused(await other.response(), 'INVALID_REQUEST');
      assert.equal(await other.ended(), '');
    }
  });

  it('chunks are written in any of the ways they may be, and in no other', async (t) => {
    const connection = await open(t);
    const body = x(7);
    const size = body.length.toString(16);
    const head = `POST ${INFER} HTTP/1.1\r\nHost: shoal.test\r\ntransfer-encoding: CHUNKED\r\n\r\n`;
    for (const bytes of [
      `000${size.toUpperCase()}\r\n${body}\r\n000\r\n\r\n`,
      `${size};a="b;c";d\r\n${body}\r\n0;x=y\r\n\r\n`,
    ]) {
      await connection.send(head + bytes);
      assert.deepEqual(dataOf(await connection.response()), [7]);
    }
    for (const [bytes, code] of [
      [`${size}\n${body}\r\n0\r\n\r\n`, 'INVALID_REQUEST'],
      [`${size} \r\n${body}0\r\n\r\n`, 'INVALID_REQUEST'],
      [`${size};${'x'.repeat(30_000)}\r\n${body}\r\n0\r\n\r\n`, 'INVALID_REQUEST'],
      [`${size}\r\n${body}\r\n0\r\nX-A: ${'x'.repeat(30_000)}\r\n\r\n`, 'HEADERS_TOO_LARGE'],
    ] as const) {
      const other = await open(t);
      await other.send(head + bytes);
      refused(await other.response(), code);
      assert.equal(await other.ended(), '');
    }
  });

  it('a request that is HTTP/1.0 and has a transfer coding is refused and ends the connection', async (t) => {
    for (const more of ['', 'Connection: keep-alive\r\n', 'Content-Length: 3\r\n']) {
      const connection = await open(t);
      await connection.send(chunked([x(1)]).replace('HTTP/1.1\r\n', `HTTP/1.0\r\n${more}`));
      refused(await connection.response(), 'INVALID_REQUEST');
      assert.equal(await connection.ended(), '');
    }
  });

  it('a request has one well-formed Host and a version that is spoken', async (t) => {
    for (const head of [
      'GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
      'GET /v2 HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n',
      'GET /v2 HTTP/1.1\r\nHost: a b/\r\n\r\n',
      'GET /v2 HTTP/2.0\r\nHost: a\r\n\r\n',
      'GET /v2 HTTP/1.2\r\nHost: a\r\n\r\n',
      'GET /v2\r\n\r\n',
    ]) {
      const connection = await open(t);
      await connection.send(head);
      refused(await connection.response(), 'INVALID_REQUEST', /Host|HTTP/);
    }
    assert.equal((await exchange(running().port, 'GET /v2 HTTP/1.1\r\nHost:\r\n\r\n')).status, 200);
  });

  it('a tunnel is refused, and nothing is left of it', async (t) => {
    const connection = await open(t);
    await connection.send('CONNECT shoal.test:80 HTTP/1.1\r\nHost: shoal.test\r\n\r\n');
    const response = await connection.response();
    refused(response, 'METHOD_NOT_ALLOWED', /CONNECT/);
    assert.equal(response.headers['allow'], 'GET, HEAD, POST');
    assert.equal(await connection.ended(), '');
  });

  it('a client that keeps its side open after such an answer is cut off', async (t) => {
    const { server } = running().server.app;
    const count = (): Promise<number> =>
      new Promise((resolve) => server.getConnections((_error, connections) => resolve(connections)));
    for (const bytes of ['hello\r\n\r\n', 'CONNECT shoal.test:80 HTTP/1.1\r\nHost: shoal.test\r\n\r\n']) {
      const before = await count();
      const socket = connect({ port: running().port, host: '127.0.0.1', allowHalfOpen: true });
      t.after(() => socket.destroy());
      socket.write(bytes);
      await once(socket.resume(), 'end');
      assert.ok(socket.writable, 'its side is open');
      while ((await count()) > before) await new Promise(setImmediate);
    }
  });

  it('what is no HTTP is refused in JSON and ends the connection', async (t) => {
    for (const bytes of [
      'hello\r\n\r\n',
      'GET /v2 HTTP/9.9\r\nHost: x\r\n\r\n',
      'GET /v2 HTTP/1.1\nHost: x\n\n',
      'GET /v2 HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n',
      'GET /v2 HTTP/1.1\r\nHost : x\r\n\r\n',
      'GET /v2 HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n',
      'GET /v2/a b HTTP/1.1\r\nHost: x\r\n\r\n',
      'GET /v2/\0 HTTP/1.1\r\nHost: x\r\n\r\n',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      Buffer.from('16030100a5010000a10303', 'hex'),
    ]) {
      const connection = await open(t);
      await connection.send(bytes);
      refused(await connection.response(), 'INVALID_REQUEST', /well-formed/);
      assert.equal(await connection.ended(), '');
    }
  });

  it('nonsense behind a good request does not take its answer', async (t) => {
    const connection = await open(t);
    await connection.send(`${requestBytes('POST', '/v2/models/slow/infer', trips(20_000))}nonsense\r\n\r\n`);
    assert.deepEqual(dataOf(await connection.response()), [20_000]);
    refused(await connection.response(), 'INVALID_REQUEST', /well-formed/);
    assert.equal(await connection.ended(), '');
  });

  it('a body on a request that has none by its nature does no harm', async (t) => {
    const connection = await open(t);
    await connection.send(requestBytes('GET', '/v2/health/live', 'a body'));
    assert.equal((await connection.response()).status, 200);
    await connection.send(requestBytes('POST', INFER, x(1)));
    assert.deepEqual(dataOf(await connection.response()), [1]);
  });

  it('targets in absolute form and unusual methods', async () => {
    const { port } = running();
    assert.equal((await exchange(port, requestBytes('GET', `http://shoal.test:${port}/v2/health/live`))).status, 200);
    refused(await exchange(port, requestBytes('OPTIONS', '*')), 'METHOD_NOT_ALLOWED');
    refused(await exchange(port, requestBytes('PROPFIND', '/v2')), 'METHOD_NOT_ALLOWED');
    refused(await exchange(port, 'DESCRIBE /v2 RTSP/1.0\r\nHost: shoal.test\r\n\r\n'), 'NOT_FOUND');
    refused(await exchange(port, 'PRI /v2\r\n\r\n'), 'NOT_FOUND');
    const upgrade = { connection: 'Upgrade', upgrade: 'websocket' };
    assert.equal((await exchange(port, requestBytes('GET', '/v2/health/live', '', upgrade))).status, 200);
  });

  it('the id of a request is carried, or made', async () => {
    const id = 'abc-123/é'.normalize();
    const answer = await running().get('/nowhere', { 'x-request-id': 'abc-123' });
    assert.equal(answer.headers['x-request-id'], 'abc-123');
    const other = await running().get('/nowhere', { 'x-request-id': Buffer.from(id).toString('latin1') });
    assert.match(String(other.headers['x-request-id']), /^[0-9a-f]{8}-[0-9a-z]+$/);
    const reply = await running().infer('ident', x(1), { 'x-request-id': 'mine' });
    assert.equal(reply.headers['x-request-id'], 'mine');
    assert.deepEqual(parseReply(reply).outputs[0]!.data, [1]);
  });

  it('none of this was a failure of the server', () => {
    assert.deepEqual(running().logged, []);
  });
});

describe('targets', () => {
  const running = useServer(() => ({ 'a.b': ident('FP32'), 'x~-_': ident('FP32'), add2: { '1': add2() } }));

  const get = (target: string): Promise<WireResponse> => exchange(running().port, requestBytes('GET', target));

  it('case 14: percent-encoded letters, digits and -._~ stand for themselves, wherever they are', async () => {
    for (const [target, name] of [
      ['/v2/models/a%2Eb', 'a.b'],
      ['/v2/models/a%2eb/', 'a.b'],
      ['/v2/models/%61%2E%62', 'a.b'],
      ['/v2/models/x%7E%2D%5f', 'x~-_'],
      ['/v2/mod%65ls/a.b', 'a.b'],
      ['/%762/models/a.b', 'a.b'],
      ['/v2/models/add2/versions/%31', 'add2'],
    ] as const) {
      const { status, body } = await get(target);
      assert.equal(status, 200, target);
      assert.equal(JSON.parse(body).name, name);
    }
    const infer = await exchange(running().port, requestBytes('POST', '/v2/models/a%2Eb/infer', x(3)));
    assert.deepEqual(dataOf(infer), [3]);
  });

  it('names that would lead elsewhere in a folder lead nowhere', async () => {
    for (const name of [
      '..',
      '.',
      '%2E%2E',
      '%2e',
      '..%2Fa.b',
      '%2E%2E%2Fa.b',
      '..%5Ca.b',
      'a.b%2F..%2Fa.b',
      '%2Fetc',
      '%00',
      'a.b%00',
      'a.b%2Fready',
      '~',
      '%7E',
    ]) {
      for (const rest of ['', '/ready', '/config', '/stats', '/versions/1'])
        refused(await get(`/v2/models/${name}${rest}`), 'MODEL_NOT_FOUND');
      refused(
        await exchange(running().port, requestBytes('POST', `/v2/models/${name}/infer`, x(1))),
        'MODEL_NOT_FOUND',
      );
    }
    for (const target of ['/v2/models/../v2', '/v2/./models', '/v2/models/x/../a.b', '//v2', '/v2//models', '/V2'])
      refused(await get(target), 'NOT_FOUND');
  });

  it('percent signs that encode nothing are refused', async () => {
    for (const name of ['%', '%2', '%zz', '%C3', '%ff', '%c3%28', 'a%'])
      refused(await get(`/v2/models/${name}`), 'INVALID_REQUEST', /not well-formed/);
  });

  it('every route has a twin with a slash at its end', async () => {
    for (const target of [
      '/v2',
      '/v2/health/live',
      '/v2/health/ready',
      '/v2/models',
      '/v2/models/a.b/config',
      '/metrics',
    ])
      assert.equal((await get(`${target}/`)).status, 200, target);
    assert.deepEqual(
      dataOf(await exchange(running().port, requestBytes('POST', '/v2/models/a.b/infer/?x=1', x(3)))),
      [3],
    );
    refused(await get('/v2/models/a.b//'), 'NOT_FOUND');
  });

  it('a long name is that of no model', async () => {
    for (const name of ['n'.repeat(512), 'n'.repeat(513), '%41'.repeat(600), 'n'.repeat(15_000)]) {
      refused(await get(`/v2/models/${name}`), 'MODEL_NOT_FOUND');
      const infer = requestBytes('POST', `/v2/models/${name}/versions/${name.slice(0, 999)}/infer`, x(1));
      refused(await exchange(running().port, infer), 'MODEL_NOT_FOUND');
    }
    refused(await get(`/v2/models/${'n'.repeat(17_000)}`), 'HEADERS_TOO_LARGE');
  });

  it('none of this was a failure of the server', () => {
    assert.deepEqual(running().logged, []);
  });
});

describe('what is left of a connection', () => {
  const limits = { headersTimeoutMs: 300, requestTimeoutMs: 600, keepAliveTimeoutMs: 5000, checkMs: 30 };
  const LIMIT = 2 ** 20;
  const running = useServer(() => ({ ident: ident('FP32') }), { bodyLimit: LIMIT }, { limits });

  const open = async (scope: Scope): Promise<WireConnection> => {
    const connection = await WireConnection.open(running().port);
    scope.after(async () => connection.close());
    return connection;
  };

  it('case 65: a body over the limit, declared or in chunks, is refused, and the next request works', async () => {
    const declared = await running().infer('ident', ' '.repeat(LIMIT + 1));
    expectError(declared, 'BODY_TOO_LARGE', /larger/);
    const chunks = await running().send('POST', INFER, inChunks(LIMIT + 1));
    expectError(chunks, 'BODY_TOO_LARGE');
    assert.deepEqual(parseReply(await running().infer('ident', x(3))).outputs[0]!.data, [3]);
  });

  it('case 67: a connection that idles for longer than headers may take is used again', async (t) => {
    const connection = await open(t);
    for (let i = 0; i < 3; i++) {
      await connection.send(requestBytes('POST', INFER, x(i)));
      assert.equal((await connection.response()).status, 200);
      await new Promise((resolve) => setTimeout(resolve, limits.requestTimeoutMs + 100));
    }
  });

  it('case 67: a connection may idle for 75 s, and the answer says so', async (t) => {
    // With the test before: no other limit ends an idle connection, so that this one does not have to be waited for.
    const unhurried = await startServer(t, { ident: ident('FP32') });
    const connection = await WireConnection.open(unhurried.port);
    t.after(() => connection.close());
    await connection.send(requestBytes('GET', '/v2'));
    assert.equal((await connection.response()).headers['keep-alive'], 'timeout=75');
    assert.equal(unhurried.server.app.server.keepAliveTimeout, 75_000);
    assert.equal(unhurried.server.app.server.timeout, 0);
  });
});
