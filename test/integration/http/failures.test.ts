import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import fastify from 'fastify';
import { type ErrorCode, Service, STATUS } from '../../../src/index.ts';
import { BUSY_LABELS, holdExecutors, numbers, startBusyServer } from '../../support/busy.ts';
import { add2, broken, gatherPoison, hugeOutput, ident, intDivide, writeRepository } from '../../support/models.ts';
import {
  type Answer,
  expectError,
  type InferRequest,
  parseReply,
  startServer,
  TestClient,
  useServer,
} from '../../support/server.ts';
import { requestBytes, WireConnection } from '../../support/wire.ts';

/** The table of failure semantics, line by line: code, status, body, headers, and what else is promised. */

const seen = new Set<ErrorCode>();

/** {@link expectError} for this table, which in the end has to have met every code. */
function expectFailure(answer: Answer, code: ErrorCode, text: RegExp): void {
  expectError(answer, code, text);
  seen.add(code);
  const retryAfter = answer.headers['retry-after'];
  if (STATUS[code] === 429) assert.match(String(retryAfter), /^[1-9]\d?$/);
  else assert.equal(retryAfter, undefined);
}

const ints = (name: string, data: readonly number[]): InferRequest => ({
  name,
  datatype: 'INT64',
  shape: [data.length],
  data,
});
const floats = (name: string, data: readonly number[] = [1, 2, 3, 4]): InferRequest => ({
  name,
  datatype: 'FP32',
  shape: [1, data.length],
  data,
});

describe('what is wrong with a request', () => {
  const running = useServer(
    () => ({ add2: add2(), broken: broken(), gather: gatherPoison(), huge: hugeOutput(), div: intDivide() }),
    { bodyLimit: '64KiB', instances: 1 },
  );
  const A = floats('a');
  const B = floats('b');

  it('malformed JSON, a wrong name, type, shape, count or size: 400 that names the field, and no run', async () => {
    const before = await running().statistics('add2');
    for (const [body, text] of [
      ['{"inputs":', /JSON/],
      [{ inputs: [A, { ...B, name: 'wrong' }] }, /'b'|'wrong'/],
      [{ inputs: [A, { ...B, datatype: 'INT64' }] }, /'b'.*FP32.*INT64/],
      [{ inputs: [A, { ...B, shape: [4, 1] }] }, /'b'.*\[4,1\].*\[-1,4\]/],
      [{ inputs: [A, { ...B, data: [1, 2, 3] }] }, /'b'.*3/],
      [{ inputs: [A, { ...B, data: ['x', 2, 3, 4] }] }, /'b'/],
      [{ inputs: [A, B], outputs: [{ name: 'wrong' }] }, /'wrong'.*'sum', 'diff'/],
    ] as const)
      expectFailure(await running().infer('add2', body), 'INVALID_REQUEST', text);
    assert.deepEqual(await running().statistics('add2'), before);
  });

  it('an unknown model or version: 404', async () => {
    expectFailure(await running().infer('nope', {}), 'MODEL_NOT_FOUND', /no model 'nope'/);
    const version = await running().send('POST', '/v2/models/add2/versions/7/infer', '{}');
    expectFailure(version, 'MODEL_NOT_FOUND', /'add2'.*'7', only 1$/);
    expectFailure(await running().get('/v2/nothing'), 'NOT_FOUND', /GET \/v2\/nothing/);
    const method = await running().get('/v2/models/add2/infer');
    expectFailure(method, 'METHOD_NOT_ALLOWED', /GET.*POST/);
    assert.equal(method.headers['allow'], 'POST');
  });

  it('what the protocol has and this server does not: 501', async () => {
    const generate = await running().send('POST', '/v2/models/add2/generate', '{"text_input":"x"}');
    expectFailure(generate, 'UNIMPLEMENTED', /generating text/);
  });

  it('a known model that is not ready: 503 with the reason, while the others serve', async () => {
    expectFailure(await running().infer('broken', { inputs: [A] }), 'MODEL_NOT_READY', /'broken'.*failed: ./);
    assert.deepEqual(parseReply(await running().infer('add2', { inputs: [A, B] })).outputs[0]!.data, [2, 4, 6, 8]);
    const metrics = await running().metrics();
    assert.equal(metrics.value('shoal_model_state', { model: 'broken', version: '1', state: 'failed' }), 1);
    assert.equal(metrics.value('shoal_model_state', { model: 'add2', version: '1', state: 'ready' }), 1);
  });

  it('loading by requests where that is off: 503; a model that cannot be loaded: 400', async (t) => {
    const load = '/v2/repository/models/broken/load';
    expectFailure(await running().send('POST', load), 'CONTROL_DISABLED', /--model-control-mode/);
    const controlled = await startServer(t, { broken: broken() }, { modelControlMode: 'explicit' });
    expectFailure(await controlled.send('POST', load), 'LOAD_FAILED', /'broken'/);
  });

  it('a body over the limit, expanded or not: 413; an encoding that is not undone: 415', async () => {
    expectFailure(await running().infer('add2', ' '.repeat(65_537)), 'BODY_TOO_LARGE', /./);
    const bomb = gzipSync(Buffer.alloc(65_537));
    const expanded = await running().send('POST', '/v2/models/add2/infer', bomb, { 'content-encoding': 'gzip' });
    expectFailure(expanded, 'BODY_TOO_LARGE', /expanded/);
    const encoded = await running().infer('add2', '{}', { 'content-encoding': 'br' });
    expectFailure(encoded, 'UNSUPPORTED_ENCODING', /br/);
  });

  it('headers over the limit: 431; a page of another origin: 403', async () => {
    expectFailure(await running().get('/v2', { 'x-large': 'x'.repeat(17_000) }), 'HEADERS_TOO_LARGE', /16 KiB/);
    expectFailure(await running().get('/v2', { origin: 'http://elsewhere.test' }), 'CROSS_ORIGIN', /elsewhere/);
  });

  it('values that ONNX Runtime refuses: 400 for that request alone', async () => {
    const answers = await Promise.all(
      [3, 4, 77, 5].map((id) => running().infer('gather', { inputs: [ints('ids', [id])] })),
    );
    for (const [i, answer] of answers.entries()) {
      if (i === 2) expectFailure(answer, 'INVALID_REQUEST', /'gather'.*Gather.*77/);
      else assert.equal(answer.status, 200);
    }
  });

  it('a run that fails for another reason: 500 for that request alone', async () => {
    const size = (n: number): Promise<Answer> => running().infer('huge', { inputs: [ints('size', [n])] });
    expectFailure(await size(2 ** 46), 'INFERENCE_FAILED', /'huge'.*(memory|alloc)/i);
    assert.deepEqual(parseReply(await size(3)).outputs[0]!.data, [1, 1, 1]);
  });

  it('a request that ends its executor twice: 503, and a new executor serves', async () => {
    const divide = (a: number, b: number): Promise<Answer> =>
      running().infer('div', {
        inputs: [
          { name: 'a', datatype: 'INT32', shape: [1], data: [a] },
          { name: 'b', datatype: 'INT32', shape: [1], data: [b] },
        ],
      });
    expectFailure(await divide(-2147483648, -1), 'EXECUTOR_LOST', /'div'.*SIGFPE/);
    assert.deepEqual(parseReply(await divide(9, 3)).outputs[0]!.data, [3]);
  });
});

describe('too much at once', () => {
  it('the queue is full, in rows: 429 with Retry-After', async (t) => {
    const { running, first, release, until } = await startBusyServer(t, { maxQueueRows: 4 });
    const waiting = [running.infer('ident', numbers([1, 2, 3]))];
    await until(2, 3);
    expectFailure(await running.infer('ident', numbers([1, 2])), 'QUEUE_FULL', /'ident' is full: 3 rows wait, 4 may/);
    waiting.push(running.infer('ident', numbers([4])));
    release();
    for (const answer of await Promise.all([first, ...waiting])) assert.equal(answer.status, 200);
    const metrics = await running.metrics();
    assert.equal(metrics.value('shoal_rejected_total', { ...BUSY_LABELS, reason: 'queue_full' }), 1);
    assert.equal(metrics.value('shoal_requests_total', { ...BUSY_LABELS, protocol: 'v2', outcome: 'rejected' }), 1);
  });

  it('the queues are full, in bytes: 429 with Retry-After', async (t) => {
    const { running, first, release, until } = await startBusyServer(t, { maxQueueBytes: 1024 });
    const waiting = running.infer('ident', numbers(Array(128).fill(1)));
    await until(2, 128);
    const full = await running.infer('ident', numbers(Array(128).fill(1)));
    expectFailure(full, 'QUEUE_FULL', /516 bytes, 1024 may/);
    release();
    for (const answer of await Promise.all([first, waiting])) assert.equal(answer.status, 200);
    assert.equal((await running.infer('ident', numbers(Array(128).fill(1)))).status, 200);
    assert.equal((await until(0, 0)).value('shoal_queue_bytes'), 0);
  });

  it('a deadline that cannot be met: 429 with Retry-After, at the door', async (t) => {
    const { running, first, release, until } = await startBusyServer(t, { maxQueueRows: 90_000, maxBatchSize: 60_000 });
    const waiting = running.infer('ident', numbers(Array(50_000).fill(1)));
    await until(2, 50_000);
    const hurried = await running.infer('ident', numbers([1], { timeout: 1000 }));
    expectFailure(hurried, 'DEADLINE_UNREACHABLE', /'ident' needs at least \d+ ms.*has 1 ms left/);
    release();
    for (const answer of await Promise.all([first, waiting])) assert.equal(answer.status, 200);
    const metrics = await running.metrics();
    assert.equal(metrics.value('shoal_rejected_total', { ...BUSY_LABELS, reason: 'deadline_unreachable' }), 1);
  });

  it('a deadline that passes in the queue: 504, and the request never runs', async (t) => {
    const { running, first, release } = await startBusyServer(t);
    const hurried = await running.infer('ident', numbers([1], { timeout: 20_000 }));
    expectFailure(hurried, 'DEADLINE_EXCEEDED', /'ident'/);
    release();
    await first;
    const { inference_count, execution_count } = await running.statistics('ident');
    assert.deepEqual([inference_count, execution_count], [1, 1]);
    const metrics = await running.metrics();
    assert.equal(metrics.value('shoal_requests_total', { ...BUSY_LABELS, protocol: 'v2', outcome: 'expired' }), 1);
  });

  it('the time a request may take at all passes while it runs: 504, and the executor goes on', async (t) => {
    const { running, first, release } = await startBusyServer(t, { requestTimeout: '2s' });
    expectFailure(await first, 'DEADLINE_EXCEEDED', /'ident'/);
    release();
    assert.deepEqual(parseReply(await running.infer('ident', numbers([2]))).outputs[0]!.data, [2]);
    assert.equal((await running.metrics()).value('shoal_executor_restarts_total', BUSY_LABELS), 0);
  });

  it('a client that does not finish its request: 408', async (t) => {
    const limits = { headersTimeoutMs: 100, requestTimeoutMs: 200, checkMs: 20 };
    const running = await startServer(t, { add2: add2() }, {}, { limits });
    const connection = await WireConnection.open(running.port);
    await connection.send(requestBytes('POST', '/v2/models/add2/infer', '{"inputs"').slice(0, -1));
    const { status, headers, body } = await connection.response();
    expectFailure({ status, headers, body: Buffer.from(body) }, 'BODY_TIMEOUT', /too long/);
    assert.equal(await connection.ended(), '');
  });
});

describe('the end', () => {
  it('while a model finishes what it has accepted, and afterwards: 503', async (t) => {
    let release = (): void => {};
    t.after(() => release());
    const folder = writeRepository(mkdtempSync(path.join(tmpdir(), 'shoal-http-')), { ident: ident('FP32') });
    t.after(() => rmSync(folder, { recursive: true }));
    const service = await Service.create({ models: folder, logLevel: 'silent', instances: 1 });
    const app = fastify();
    t.after(() => app.close());
    app.register(service.plugin);
    const client = new TestClient(await app.listen({ port: 0 }));
    t.after(() => client.close());
    await service.loaded();
    release = holdExecutors();
    const accepted = client.infer('ident', numbers([7]));
    while (service.registry.get('ident', undefined).inflightRequests === 0) await new Promise(setImmediate);
    const drained = service.drain();
    expectFailure(await client.infer('ident', numbers([1])), 'SHUTTING_DOWN', /'ident' is being shut down/);
    release();
    assert.deepEqual(parseReply(await accepted).outputs[0]!.data, [7]);
    await drained;
    expectFailure(await client.infer('ident', numbers([1])), 'MODEL_NOT_READY', /'ident'.*unloaded/);
  });
});

describe('the codes', () => {
  /** Codes that no client can get, and why. */
  const NOT_SENT: Partial<Record<ErrorCode, string>> = {
    CANCELLED: 'its caller has left; metrics and logs alone have it',
    CONFLICT: 'trainings alone have it; see the tests of training',
    REMOTE_FAILED: 'inputs given by addresses alone have it; see their tests',
    REMOTE_TIMEOUT: 'as REMOTE_FAILED',
    STORAGE_FAILED: 'training alone has it; see the tests of examples',
    UNSUPPORTED_MEDIA_TYPE: 'pipelines alone have it; see their tests',
    INTERNAL: 'it stands for faults of the server itself; what is sent then is a test of the error handler',
  };

  it('each has been met above, or is never sent', () => {
    const met = [...seen, ...Object.keys(NOT_SENT)].sort();
    assert.deepEqual(met, Object.keys(STATUS).sort());
  });
});
