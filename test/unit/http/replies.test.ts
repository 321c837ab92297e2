import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fastify, { type FastifyInstance } from 'fastify';
import { ShoalError } from '../../../src/errors.ts';
import { errorFrom, handleError } from '../../../src/http/replies.ts';
import { Routes } from '../../../src/http/routes.ts';
import { createLogger } from '../../../src/logging.ts';

interface LogLine {
  readonly level: string;
  readonly reqId: string;
  readonly traceparent?: string;
  readonly err: { readonly message: string };
}

/** An app whose only route throws what it is told to. */
function appThatThrows(thrown: unknown): { app: FastifyInstance; lines: LogLine[] } {
  const lines: LogLine[] = [];
  const logger = createLogger(
    { logLevel: 'info' },
    { destination: { write: (line: string) => void lines.push(JSON.parse(line)) } },
  );
  const app = fastify({ genReqId: () => 'the-id' });
  app.setErrorHandler((error, request, reply) => handleError(error, request, reply, logger));
  app.get('/', () => {
    throw thrown;
  });
  return { app, lines };
}

describe('handleError', () => {
  it('sends code, status, text and the time to come back', async () => {
    const error = new ShoalError('QUEUE_FULL', 'the queue is full', { retryAfterSeconds: 3 });
    const { app, lines } = appThatThrows(error);
    const { statusCode, headers, body } = await app.inject('/');
    assert.equal(statusCode, 429);
    assert.equal(headers['content-type'], 'application/json');
    assert.equal(headers['shoal-error-code'], 'QUEUE_FULL');
    assert.equal(headers['retry-after'], '3');
    assert.equal(headers['x-request-id'], 'the-id');
    assert.equal(body, '{"error":"the queue is full"}');
    assert.deepEqual(lines, []);
  });

  it('keeps the words of a fault of its own for the log, which names the request', async () => {
    const { app, lines } = appThatThrows(new TypeError('secret is not a function'));
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const { statusCode, headers, body } = await app.inject({ url: '/', headers: { traceparent } });
    assert.equal(statusCode, 500);
    assert.equal(headers['shoal-error-code'], 'INTERNAL');
    assert.doesNotMatch(body, /secret/);
    assert.deepEqual(Object.keys(JSON.parse(body)), ['error']);
    assert.equal(lines.length, 1);
    const [line] = lines;
    assert.equal(line!.level, 'error');
    assert.equal(line!.reqId, 'the-id');
    assert.equal(line!.traceparent, traceparent);
    assert.match(line!.err.message, /secret/);
  });

  it('says in which encoding a body may come', async () => {
    const { app } = appThatThrows(new ShoalError('UNSUPPORTED_ENCODING', 'no br'));
    assert.equal((await app.inject('/')).headers['accept-encoding'], 'gzip, deflate');
  });
});

describe('errorFrom', () => {
  const thrown = (code: string, statusCode?: number): Error =>
    Object.assign(new Error('words of another'), { code, ...(statusCode === undefined ? {} : { statusCode }) });

  it('knows the errors of Fastify and Node that a caller can cause', () => {
    for (const [code, known] of [
      ['FST_ERR_CTP_BODY_TOO_LARGE', 'BODY_TOO_LARGE'],
      ['FST_ERR_CTP_INVALID_CONTENT_LENGTH', 'INVALID_REQUEST'],
      ['FST_ERR_BAD_URL', 'INVALID_REQUEST'],
      ['FST_ERR_NOT_FOUND', 'NOT_FOUND'],
      ['FST_ERR_MAX_PARAM_LENGTH', 'MODEL_NOT_FOUND'],
      ['ECONNRESET', 'CANCELLED'],
    ] as const) {
      const error = errorFrom(thrown(code));
      assert.equal(error.code, known);
      assert.doesNotMatch(error.message, /words of another/);
    }
  });

  it("takes what else is the caller's fault for a wrong request, and all the rest for a fault of its own", () => {
    assert.equal(errorFrom(thrown('FST_ERR_SOMETHING', 422)).code, 'INVALID_REQUEST');
    assert.equal(errorFrom(thrown('FST_ERR_SOMETHING', 503)).code, 'INTERNAL');
    assert.equal(errorFrom(thrown('ENOENT')).code, 'INTERNAL');
    for (const odd of ['text', 5, null, undefined, {}]) assert.equal(errorFrom(odd).code, 'INTERNAL');
    const own = new ShoalError('EXECUTOR_LOST', 'lost');
    assert.equal(errorFrom(own), own);
  });
});

describe('Routes', () => {
  it('has every path with a slash behind it, too, and refuses other methods with what is allowed', async () => {
    const app = fastify();
    const routes = new Routes(app);
    routes.add('GET', '/a', () => 'got');
    routes.add('POST', '/a', () => 'posted');
    routes.add('GET', '/', () => 'root');
    routes.finish();
    const send = (method: 'GET' | 'POST' | 'PUT' | 'TRACE', url: string) => app.inject({ method, url });
    for (const url of ['/a', '/a/']) {
      assert.equal((await send('GET', url)).body, 'got');
      assert.equal((await send('POST', url)).body, 'posted');
      const refused = await send('PUT', url);
      assert.equal(refused.statusCode, 405);
      assert.equal(refused.headers['allow'], 'GET, HEAD, POST');
    }
    assert.equal((await send('GET', '/')).body, 'root');
    assert.equal((await send('TRACE', '/')).headers['allow'], 'GET, HEAD');
    assert.equal((await send('GET', '/b')).statusCode, 404);
  });
});
