import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import fastify, { type FastifyInstance } from 'fastify';
import { type ConfigInput, makeTensor, readTensor, Service } from '../../../src/index.ts';
import { holdExecutors } from '../../support/busy.ts';
import { ident, type RepositoryContent, writeRepository } from '../../support/models.ts';
import {
  type Answer,
  expectError,
  type InferRequest,
  parseJson,
  parseReply,
  type Scope,
  TestClient,
} from '../../support/server.ts';

/** The service as a plugin of somebody else's Fastify app. */

const row = (...data: number[]): InferRequest => ({
  inputs: [{ name: 'x', datatype: 'FP32', shape: [1, data.length], data }],
});

interface Host {
  readonly app: FastifyInstance;
  readonly service: Service;
  readonly client: TestClient;
  /** See {@link holdExecutors}; they are let go at the end of the test at the latest. */
  readonly hold: () => () => void;
}

/** A host with a service under `prefix`; `prepare` is what the host has of its own. */
async function startHost(
  scope: Scope,
  models: RepositoryContent,
  { prefix = '/ml', options = {} as ConfigInput, prepare = (_app: FastifyInstance): void => {} } = {},
): Promise<Host> {
  let release = (): void => {};
  scope.after(async () => release());
  const folder = writeRepository(mkdtempSync(path.join(tmpdir(), 'shoal-http-')), models);
  const service = await Service.create({ models: folder, logLevel: 'silent', ...options });
  const app = fastify();
  prepare(app);
  app.register(service.plugin, { prefix });
  const client = new TestClient(await app.listen({ port: 0 }));
  scope.after(async () => {
    await client.close();
    await app.close();
    rmSync(folder, { recursive: true });
  });
  await service.loaded();
  const hold = (): (() => void) => {
    release = holdExecutors();
    return release;
  };
  return { app, service, client, hold };
}

describe('embedding', () => {
  it('all routes are under the prefix, and calls in the process are the same as requests', async (t) => {
    const { client, service } = await startHost(t, { ident: ident('FP32') });
    assert.deepEqual(parseJson(await client.get('/ml/v2/health/ready'), 200), { live: true, ready: true });
    const answer = await client.send('POST', '/ml/v2/models/ident/infer', JSON.stringify(row(1, 2)));
    assert.deepEqual(parseReply(answer).outputs[0]!.data, [1, 2]);
    const x = makeTensor('FP32', [1, 2], Float32Array.of(3, 4));
    const { outputs, version } = await service.infer('ident', { x });
    assert.deepEqual([...readTensor(outputs['y']!)], [3, 4]);
    assert.equal(version, '1');
    for (const target of ['/ml', '/ml/'])
      assert.deepEqual(parseJson(await client.get(target), 200), { status: 'alive' });
    assert.match((await client.get('/ml/metrics')).body.toString(), /shoal_requests_total\{.*outcome="ok"\} 1/);
  });

  it("the host's parsers, hooks, error handler and unknown paths stay the host's", async (t) => {
    const seen: string[] = [];
    const { client } = await startHost(
      t,
      { ident: ident('FP32') },
      {
        prepare(app) {
          app.addContentTypeParser('text/csv', { parseAs: 'string' }, (_request, body, done) =>
            done(null, String(body).split(',')),
          );
          app.addHook('onRequest', async (request) => void seen.push(request.url));
          app.setErrorHandler((error: Error, _request, reply) => reply.code(418).send({ host: error.message }));
          app.setNotFoundHandler((_request, reply) => reply.code(404).send({ host: 'nothing' }));
          app.post('/own', (request, reply) => reply.send({ got: request.body }));
          app.get('/fail', () => {
            throw new Error('broken');
          });
        },
      },
    );
    const own = async (body: string, type: string, headers = {}): Promise<Answer> =>
      client.send('POST', '/own', body, { 'content-type': type, ...headers });

    assert.deepEqual(JSON.parse((await own('{"a":1}', 'application/json')).body.toString()), { got: { a: 1 } });
    assert.deepEqual(JSON.parse((await own('a,b', 'text/csv')).body.toString()), { got: ['a', 'b'] });
    assert.equal((await own('x', 'application/x-unknown')).status, 418);
    assert.equal((await own('{}', 'application/json', { origin: 'http://elsewhere.test' })).status, 200);
    const failed = await client.get('/fail');
    assert.equal(failed.status, 418);
    assert.deepEqual(JSON.parse(failed.body.toString()), { host: 'broken' });
    assert.equal(failed.headers['server-timing'], undefined);
    const nothing = await client.get('/nothing');
    assert.deepEqual(JSON.parse(nothing.body.toString()), { host: 'nothing' });
    assert.equal(nothing.headers['shoal-error-code'], undefined);

    expectError(await client.get('/ml/nothing'), 'NOT_FOUND', /GET \/ml\/nothing/);
    expectError(await client.get('/ml/v2', { origin: 'http://elsewhere.test' }), 'CROSS_ORIGIN');
    expectError(await client.send('POST', '/ml/v2/models/ident/infer', '{'), 'INVALID_REQUEST');
    assert.ok(seen.includes('/own') && seen.includes('/ml/v2'), "the host's hooks see everything, as they should");
  });

  it('without a prefix the host keeps its routes and its unknown paths', async (t) => {
    const { client } = await startHost(
      t,
      { ident: ident('FP32') },
      {
        prefix: '',
        prepare(app) {
          app.setNotFoundHandler((_request, reply) => reply.code(404).send({ host: 'nothing' }));
          app.get('/own', async () => ({ own: true }));
        },
      },
    );
    assert.deepEqual(JSON.parse((await client.get('/own')).body.toString()), { own: true });
    assert.deepEqual(parseReply(await client.infer('ident', row(1))).outputs[0]!.data, [1]);
    assert.deepEqual(JSON.parse((await client.get('/nothing')).body.toString()), { host: 'nothing' });
  });

  it("the service's own limit on bodies holds, not the host's", async (t) => {
    const { client } = await startHost(t, { ident: ident('FP32') }, { options: { bodyLimit: '3MiB' } });
    const target = '/ml/v2/models/ident/infer';
    const data = Array(150_000).fill(0.123456789);
    const body = JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, data.length], data }] });
    assert.ok(body.length > 2 ** 20);
    assert.equal(parseReply(await client.send('POST', target, body)).outputs[0]!.data!.length, data.length);
    expectError(await client.send('POST', target, ' '.repeat(3 * 2 ** 20 + 1)), 'BODY_TOO_LARGE');
  });

  it("requests of Fastify's own test client work", async (t) => {
    const { app } = await startHost(t, { ident: ident('FP32') });
    const { statusCode, body } = await app.inject({
      method: 'POST',
      url: '/ml/v2/models/ident/infer',
      payload: row(5),
    });
    assert.equal(statusCode, 200);
    assert.deepEqual(JSON.parse(body).outputs[0].data, [5]);
  });

  it('two services in one host, and a host that listens to nothing of the process', async (t) => {
    const events = ['SIGTERM', 'SIGINT', 'uncaughtException', 'unhandledRejection', 'exit', 'beforeExit'];
    const listeners = (): number[] => events.map((event) => process.listenerCount(event));
    const before = listeners();
    const folder = writeRepository(mkdtempSync(path.join(tmpdir(), 'shoal-http-')), { other: ident('INT32') });
    t.after(() => rmSync(folder, { recursive: true }));
    const second = await Service.create({ models: folder, logLevel: 'silent' });
    const { client } = await startHost(
      t,
      { ident: ident('FP32') },
      { prepare: (app) => void app.register(second.plugin, { prefix: '/second' }) },
    );
    await second.loaded();
    assert.deepEqual(parseJson(await client.get('/ml/v2/models'), 200), { models: ['ident'] });
    assert.deepEqual(parseJson(await client.get('/second/v2/models'), 200), { models: ['other'] });
    assert.deepEqual(listeners(), before);
  });

  it('closing the host answers what was accepted, and ends the executors', async (t) => {
    const { app, service, client, hold } = await startHost(t, { ident: ident('FP32') });
    const release = hold();
    const accepted = [1, 2, 3].map((n) => client.send('POST', '/ml/v2/models/ident/infer', JSON.stringify(row(n))));
    const version = service.registry.get('ident', undefined);
    while (version.inflightRequests < 3) await new Promise(setImmediate);
    const closed = app.close();
    while (app.server.listening) await new Promise(setImmediate);
    release();
    for (const [i, answer] of (await Promise.all(accepted)).entries())
      assert.deepEqual(parseReply(answer).outputs[0]!.data, [i + 1]);
    await closed;
    assert.equal(version.state, 'unloaded');
    await assert.rejects(service.infer('ident', {}), { code: /MODEL_NOT_READY|SHUTTING_DOWN/ });
  });

  it('closing the host also finishes calls made in the process', async (t) => {
    const { app, service, hold } = await startHost(t, { ident: ident('FP32') });
    const release = hold();
    const x = makeTensor('FP32', [1, 1], Float32Array.of(5));
    const calls = [1, 2].map(() => service.infer('ident', { x }));
    const closed = app.close();
    while (app.server.listening) await new Promise(setImmediate);
    release();
    for (const { outputs } of await Promise.all(calls)) assert.deepEqual([...readTensor(outputs['y']!)], [5]);
    await closed;
  });
});
