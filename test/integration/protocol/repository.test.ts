import assert from 'node:assert/strict';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import type { ConfigInput } from '../../../src/config.ts';
import type { RepositoryIndexEntry } from '../../../src/protocol/repository-index.ts';
import { add2, broken, ident, writeRepository } from '../../support/models.ts';
import { type Answer, expectError, parseJson, parseReply, startServer, type TestServer } from '../../support/server.ts';
import { childrenOf, waitFor } from '../serving/helpers.ts';

/** The model repository extension; the numbers are those of the protocol's conformance list. */

const EXPLICIT: ConfigInput = { modelControlMode: 'explicit', provider: 'cpu', instances: 1 };

const ADD2 = {
  inputs: [
    { name: 'a', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] },
    { name: 'b', datatype: 'FP32', shape: [1, 4], data: [1, 1, 1, 1] },
  ],
};

function load(server: TestServer, model: string, body?: unknown): Promise<Answer> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return server.send('POST', `/v2/repository/models/${model}/load`, text);
}

function unload(server: TestServer, model: string, body?: unknown): Promise<Answer> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return server.send('POST', `/v2/repository/models/${model}/unload`, text);
}

async function index(server: TestServer, body?: unknown): Promise<RepositoryIndexEntry[]> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const entries = parseJson(await server.send('POST', '/v2/repository/index', text), 200) as RepositoryIndexEntry[];
  for (const { name, state, reason } of entries)
    assert.deepEqual(
      [name, state, reason].map((one) => typeof one),
      Array(3).fill('string'),
    );
  return entries;
}

/** `name/version state reason` of each entry. */
async function indexLines(server: TestServer, body?: unknown): Promise<string[]> {
  return (await index(server, body)).map(({ name, version, state, reason }) =>
    `${name}/${version} ${state} ${reason}`.trim(),
  );
}

describe('repository index', () => {
  it('case 80: lists every version with state and reason; ready asks for those that are ready', async (t) => {
    const server = await startServer(t, { add2: { 1: add2(), 2: add2() }, bad: broken() });
    const ready = [
      { name: 'add2', version: '1', state: 'READY', reason: '' },
      { name: 'add2', version: '2', state: 'READY', reason: '' },
    ];
    for (const body of [undefined, {}, { ready: false }, { ready: null }]) {
      const [first, second, bad, ...rest] = await index(server, body);
      assert.deepEqual([first, second], ready);
      assert.deepEqual({ ...bad, reason: '' }, { name: 'bad', version: '1', state: 'UNAVAILABLE', reason: '' });
      assert.match(bad!.reason, /protobuf parsing failed/i);
      assert.deepEqual(rest, []);
    }
    assert.deepEqual(await index(server, { ready: true }), ready);
    for (const body of ['{"ready":1}', '{"ready":"true"}', '[]', '5', '{', '{"ready":true}}']) {
      expectError(await server.send('POST', '/v2/repository/index', body), 'INVALID_REQUEST');
    }
  });

  it('has models that have never been loaded, without a version, where they can be', async (t) => {
    const server = await startServer(
      t,
      { one: ident('FP32'), two: ident('FP32') },
      { ...EXPLICIT, loadModel: ['two'] },
    );
    assert.deepEqual(await index(server), [
      { name: 'one', state: 'UNAVAILABLE', reason: 'not loaded' },
      { name: 'two', version: '1', state: 'READY', reason: '' },
    ]);
    assert.deepEqual(await indexLines(server, { ready: true }), ['two/1 READY']);
  });
});

describe('load and unload', () => {
  it('case 81: load answers when the model is ready or with the cause; unload; load again', async (t) => {
    const server = await startServer(t, { add2: { 1: add2(), 2: add2() }, bad: broken() }, EXPLICIT);
    expectError(await server.infer('add2', ADD2), 'MODEL_NOT_FOUND');
    for (const body of [undefined, {}, { parameters: {} }, { parameters: null }]) {
      assert.deepEqual(parseJson(await load(server, 'add2', body), 200), { name: 'add2', load: true });
      assert.equal(parseReply(await server.infer('add2', ADD2)).model_version, '2');
    }
    expectError(await load(server, 'nope'), 'MODEL_NOT_FOUND', /no model 'nope'/);
    expectError(await unload(server, 'nope'), 'MODEL_NOT_FOUND', /no model 'nope'/);
    expectError(
      await load(server, 'bad'),
      'LOAD_FAILED',
      /^model 'bad' was not loaded: version 1: .*protobuf parsing failed/i,
    );
    const [, , bad] = await index(server);
    assert.equal(bad!.state, 'UNAVAILABLE');
    assert.match(bad!.reason, /protobuf parsing failed/i);

    for (const body of [{ parameters: { unload_dependents: false } }, undefined, {}]) {
      assert.deepEqual(parseJson(await unload(server, 'add2', body), 200), { name: 'add2', unload: true });
      expectError(
        await server.infer('add2', ADD2),
        'MODEL_NOT_READY',
        /^model 'add2' version 2 is (draining|unloaded)$/,
      );
    }
    await waitFor(() => server.server.summary().every(({ state }) => state !== 'draining'), 'it is unloaded');
    assert.deepEqual((await indexLines(server)).slice(0, 2), [
      'add2/1 UNAVAILABLE unloaded',
      'add2/2 UNAVAILABLE unloaded',
    ]);
    expectError(await server.get('/v2/models/add2'), 'MODEL_NOT_READY');
    expectError(await server.get('/v2/models/add2/ready'), 'MODEL_NOT_READY', /unloaded/, ['name', 'ready']);
    assert.deepEqual(await server.json('/v2/models'), { models: ['bad'] });

    assert.deepEqual(parseJson(await load(server, 'add2'), 200), { name: 'add2', load: true });
    parseReply(await server.infer('add2', ADD2));
    assert.deepEqual(await indexLines(server, { ready: true }), ['add2/1 READY', 'add2/2 READY']);
  });

  it('case 82: a model whose reload fails goes on serving', async (t) => {
    const server = await startServer(t, { add2: { 1: add2() } }, { ...EXPLICIT, loadModel: ['*'] });
    writeRepository(server.folder, { add2: { 1: broken(), 2: add2() } });
    const text = expectError(await load(server, 'add2'), 'LOAD_FAILED', /^model 'add2' was not loaded: version 1: /);
    assert.match(text, /; serving: version 1$/);
    assert.equal(parseReply(await server.infer('add2', ADD2)).model_version, '1');
    assert.deepEqual(await indexLines(server), ['add2/1 READY']);
    assert.equal(server.server.summary().length, 1);
    await waitFor(() => childrenOf(process.pid).length === 1, 'the new versions have no executors');

    writeRepository(server.folder, { add2: { 1: add2() } });
    parseJson(await load(server, 'add2'), 200);
    assert.equal(parseReply(await server.infer('add2', ADD2)).model_version, '2');
    assert.deepEqual(await indexLines(server), ['add2/1 READY', 'add2/2 READY']);
  });

  it('takes up a model that has appeared and lets go one that has disappeared', async (t) => {
    const server = await startServer(t, {}, EXPLICIT);
    writeRepository(server.folder, { late: add2() });
    parseJson(await load(server, 'late'), 200);
    parseReply(await server.infer('late', ADD2));
    rmSync(path.join(server.folder, 'late.onnx'));
    expectError(await load(server, 'late'), 'MODEL_NOT_FOUND');
    parseReply(await server.infer('late', ADD2));
    parseJson(await unload(server, 'late'), 200);
    await waitFor(() => server.server.summary()[0]!.state === 'unloaded', 'it is unloaded');
    expectError(await load(server, 'late'), 'MODEL_NOT_FOUND');
    expectError(await server.infer('late', ADD2), 'MODEL_NOT_FOUND');
    assert.deepEqual(await index(server), []);
  });

  it('says once what fails several versions', async (t) => {
    const server = await startServer(t, { add2: { 1: add2(), 2: add2(), 3: broken() } }, EXPLICIT);
    const text = expectError(
      await load(server, 'add2', { parameters: { config: '{"max_batch_size":"many"}' } }),
      'LOAD_FAILED',
    );
    assert.match(text, /^model 'add2' was not loaded: version 1, 2, 3: the configuration given: [^;]*$/);
    expectError(
      await load(server, 'add2'),
      'LOAD_FAILED',
      /^model 'add2' was not loaded: version 3: .*; serving: version 1, 2$/,
    );
    parseReply(await server.infer('add2', ADD2));
  });

  it('takes no body for an empty object, and blanks for no JSON', async (t) => {
    const server = await startServer(t, { add2: add2() }, EXPLICIT);
    const path = '/v2/repository/models/add2/unload';
    parseJson(await load(server, 'add2'), 200);
    expectError(await server.send('POST', path, '\t'), 'INVALID_REQUEST', /not valid JSON/);
    parseReply(await server.infer('add2', ADD2));
    parseJson(await server.send('POST', path, ''), 200);
  });

  it('does not leave the models folder', async (t) => {
    const server = await startServer(t, { add2: add2() }, EXPLICIT);
    for (const name of ['..%2Fadd2', '..%2F..', 'add2%2F..%2Fadd2', 'a%00', '.hidden', 'add2.onnx']) {
      expectError(await load(server, name), 'MODEL_NOT_FOUND');
      expectError(await unload(server, name), 'MODEL_NOT_FOUND');
    }
  });

  it('case 83: refuses files within a load request, wherever they say that they belong', async (t) => {
    const server = await startServer(t, { add2: add2() }, EXPLICIT);
    for (const name of ['file:../x', 'file:1/model.onnx', 'file:/etc/passwd']) {
      const body = { parameters: { config: '{}', [name]: 'AAAA' } };
      expectError(await load(server, 'add2', body), 'UNIMPLEMENTED', /file:/);
    }
    assert.deepEqual(await indexLines(server), ['add2/undefined UNAVAILABLE not loaded']);
  });

  it('refuses parameters it does not know and those it does not support', async (t) => {
    const server = await startServer(t, { add2: add2() }, EXPLICIT);
    const parameters = (value: unknown) => ({ parameters: value });
    expectError(await load(server, 'add2', parameters({ foo: 1 })), 'INVALID_REQUEST', /'foo' is not known/);
    expectError(await load(server, 'add2', parameters({ config: {} })), 'INVALID_REQUEST', /config is \{\}/);
    expectError(await load(server, 'add2', parameters({ 'file:1/model.onnx': 'AAAA' })), 'UNIMPLEMENTED', /file:/);
    expectError(await unload(server, 'add2', parameters({ foo: 1 })), 'INVALID_REQUEST', /'foo' is not known/);
    expectError(await unload(server, 'add2', parameters({ unload_dependents: 1 })), 'INVALID_REQUEST');
    for (const body of [parameters([]), parameters('x'), [], 5]) {
      expectError(await load(server, 'add2', body), 'INVALID_REQUEST', /expected an object/);
    }
    assert.deepEqual(await indexLines(server), ['add2/undefined UNAVAILABLE not loaded']);
  });

  it('is followed by the page, the lists and the readiness of models', async (t) => {
    const server = await startServer(t, { add2: add2(), other: add2() }, { ...EXPLICIT, loadModel: ['other'] });
    const page = async (): Promise<string> => (await server.get('/', { accept: 'text/html' })).body.toString();
    assert.doesNotMatch(await page(), /add2/);
    assert.deepEqual(await server.json('/v2/models'), { models: ['other'] });
    parseJson(await load(server, 'add2'), 200);
    assert.match(await page(), /versions\/1">add2<\/a> 1<td><span class="ready">/);
    assert.deepEqual(await server.json('/v2/models'), { models: ['other', 'add2'] });
    parseJson(await server.get('/v2/models/add2/ready'), 200);
    parseJson(await unload(server, 'add2'), 200);
    await waitFor(() => server.server.summary().some(({ state }) => state === 'unloaded'), 'it is unloaded');
    assert.match(await page(), /versions\/1">add2<\/a> 1<td><span class="unloaded">/);
    assert.deepEqual(await server.json('/v1/models'), { models: ['other'] });
    parseJson(await server.get('/v2/health/ready'), 200);
    await server.server.load('add2');
    assert.deepEqual(
      (await server.server.index(true)).map(({ name }) => name),
      ['add2', 'other'],
    );
    await server.server.unload('add2');
  });

  it('has an index also when the models folder is gone', async (t) => {
    const server = await startServer(t, { add2: add2() }, { ...EXPLICIT, loadModel: ['add2'] });
    renameSync(server.folder, `${server.folder}-away`);
    try {
      assert.deepEqual(await indexLines(server), ['add2/1 READY']);
      expectError(await load(server, 'add2'), 'MODEL_NOT_FOUND');
      parseReply(await server.infer('add2', ADD2));
    } finally {
      renameSync(`${server.folder}-away`, server.folder);
    }
  });

  it('is refused without explicit model control', async (t) => {
    const server = await startServer(t, { add2: add2() });
    for (const name of ['add2', 'nope']) {
      expectError(await load(server, name), 'CONTROL_DISABLED', /--model-control-mode explicit/);
      expectError(await unload(server, name), 'CONTROL_DISABLED', /--model-control-mode explicit/);
    }
    parseReply(await server.infer('add2', ADD2));
  });

  it('takes a configuration that stands until the next load', async (t) => {
    const server = await startServer(t, { add2: { 1: add2() } }, { ...EXPLICIT, loadModel: ['add2'] });
    const limit = async (): Promise<number> =>
      ((await server.json('/v2/models/add2/config')) as { max_batch_size: number }).max_batch_size;
    assert.equal(await limit(), 128);
    parseJson(await load(server, 'add2', { parameters: { config: '{"max_batch_size":4}' } }), 200);
    assert.equal(await limit(), 4);
    expectError(await load(server, 'add2', { parameters: { config: '{"max_batch_size":"many"}' } }), 'LOAD_FAILED');
    assert.equal(await limit(), 4);
    writeFileSync(path.join(server.folder, 'add2', 'config.pbtxt'), 'max_batch_size: 8');
    parseJson(await load(server, 'add2'), 200);
    assert.equal(await limit(), 8);
  });
});
