import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { ConfigError } from '../../../src/config.ts';
import { ShoalError } from '../../../src/errors.ts';
import type { Service } from '../../../src/service.ts';
import { readTensor } from '../../../src/tensor/typed.ts';
import { executorPids, holdExecutors } from '../../support/busy.ts';
import { broken, ident, writeRepository } from '../../support/models.ts';
import { encodeModel, fp32, int64, node, tensor } from '../../support/onnx-builder.ts';
import { parseJson, parseReply, startServer } from '../../support/server.ts';
import { createService, startService } from '../../support/service.ts';
import { errorOf, isAlive, row, waitFor } from './helpers.ts';

const EXPLICIT = { modelControlMode: 'explicit', instances: 1 } as const;

/** FP32 `x` [N, 4] → `y` = x + `value`. */
function plus(value: number): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    initializers: [fp32('value', [value])],
    nodes: [node('Add', ['x', 'value'], ['y'])],
  });
}

/** A model whose optimiser takes far longer than any test. */
function endlessLoad(): Buffer {
  const products = Array.from({ length: 400 }, (_, i) => node('MatMul', [`m${i}`, `m${i}`], [`m${i + 1}`]));
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    initializers: [fp32('seed', [0], [1, 1]), int64('shape', [4096, 4096])],
    nodes: [
      node('Expand', ['seed', 'shape'], ['m0']),
      ...products,
      node('ReduceMax', ['m400'], ['zero'], { keepdims: { int: 0 } }),
      node('Add', ['x', 'zero'], ['y']),
    ],
  });
}

async function infer(service: Service, version?: string): Promise<number> {
  const { outputs } = await service.infer('m', { x: row(1) }, { version });
  return readTensor(outputs['y']!)[0] as number;
}

/** The code with which an operation fails. */
async function codeOf(operation: Promise<unknown>): Promise<string> {
  const error = await operation.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof ShoalError, String(error));
  return error.code;
}

function states(service: Service): string[] {
  return service.summary().map(({ name, version, state }) => `${name}/${version} ${state}`);
}

async function noExecutors(): Promise<void> {
  await waitFor(() => executorPids().every((pid) => !isAlive(pid)), 'no executor is left');
}

describe('explicit model control at the start', () => {
  it('loads nothing unless told, the models named, or all', async (t) => {
    const models = { a: plus(1), b: plus(2), broken: broken() };
    const loaded = async (loadModel: string[]): Promise<string[]> => {
      const service = await startService(t, models, { ...EXPLICIT, loadModel });
      const found = states(service);
      await service.drain();
      return found;
    };
    assert.deepEqual(await loaded([]), []);
    assert.deepEqual(await loaded(['b']), ['b/1 ready']);
    assert.deepEqual(await loaded(['*']), ['a/1 ready', 'b/1 ready', 'broken/1 failed']);
  });

  it('refuses a model that is not there', async (t) => {
    const started = startService(t, { a: plus(1) }, { ...EXPLICIT, loadModel: ['a', 'c'] });
    await assert.rejects(
      started,
      (error) => error instanceof ConfigError && /^--load-model is 'c', /.test(error.message),
    );
  });

  it('makes the server ready without what was not named, unloaded, or could not be loaded later', async (t) => {
    const service = await startService(t, { a: plus(1), broken: broken() }, { ...EXPLICIT, loadModel: ['a'] });
    assert.equal(service.notReady(), undefined);
    assert.equal(await codeOf(service.load('broken')), 'LOAD_FAILED');
    assert.equal(service.notReady(), undefined);
    await service.unload('a');
    assert.equal(service.notReady(), undefined);
    await service.load('a');
    assert.equal(service.notReady(), undefined);
  });

  it('is not ready while a model named for the start is failed', async (t) => {
    const service = await startService(t, { broken: broken() }, { ...EXPLICIT, loadModel: ['broken'] });
    assert.equal(service.notReady(), "model 'broken' is failed");
    await service.unload('broken');
    assert.equal(service.notReady(), undefined);
    assert.deepEqual(states(service), ['broken/1 unloaded']);
  });
});

describe('loading and unloading', () => {
  it('keeps what has not changed and replaces what has', async (t) => {
    const models = { m: { 1: plus(1), 2: plus(2), 3: plus(3) } };
    const service = await startService(t, models, { ...EXPLICIT, loadModel: ['m'] });
    const folder = service.config.models;
    const [one, two, three] = service.registry.versions('m');
    await service.load('m');
    assert.deepEqual(service.registry.versions('m'), [one, two, three]);
    // Of the same size, so that only its time tells them apart.
    writeRepository(folder, { m: { 2: plus(20), 4: plus(4) } });
    rmSync(path.join(folder, 'm', '3'), { recursive: true });
    await service.load('m');
    assert.deepEqual(states(service), ['m/1 ready', 'm/2 ready', 'm/4 ready']);
    assert.equal(service.registry.versions('m')[0], one);
    assert.notEqual(service.registry.versions('m')[1], two);
    assert.deepEqual([await infer(service, '1'), await infer(service, '2'), await infer(service)], [2, 21, 5]);
    assert.equal((await errorOf(service.infer('m', { x: row(1) }, { version: '3' }))).code, 'MODEL_NOT_FOUND');
    await waitFor(() => two!.state === 'unloaded' && three!.state === 'unloaded', 'those replaced have ended');
    await waitFor(() => executorPids().length === 3, 'their executors are gone');
  });

  it('is done once for loads that come together', async (t) => {
    const service = await startService(t, { m: plus(1) }, EXPLICIT);
    await Promise.all(Array.from({ length: 5 }, () => service.load('m')));
    assert.equal(executorPids().length, 1);
    const version = service.registry.get('m', undefined);
    await Promise.all(Array.from({ length: 5 }, () => service.load('m')));
    assert.equal(service.registry.get('m', undefined), version);
  });

  it('comes in the order of the requests', async (t) => {
    const service = await startService(t, { m: plus(1) }, EXPLICIT);
    const order: string[] = [];
    const note = (what: string) => () => void order.push(what);
    await Promise.all([
      service.load('m').then(note('loaded')),
      service.unload('m').then(note('unloaded')),
      service.load('m').then(note('loaded again')),
      service.unload('m').then(note('unloaded again')),
    ]);
    assert.deepEqual(order, ['loaded', 'unloaded', 'loaded again', 'unloaded again']);
    await waitFor(() => states(service)[0] === 'm/1 unloaded', 'it is unloaded');
    await noExecutors();
  });

  it('waits for what the start is loading', async (t) => {
    const service = await createService(t, { m: plus(1) }, { ...EXPLICIT, loadModel: ['m'] });
    const version = service.registry.get('m', undefined);
    assert.equal(version.state, 'loading');
    await service.load('m');
    assert.equal(version.state, 'ready');
    assert.equal(service.registry.get('m', undefined), version);
  });

  it('answers what was accepted before; the next load does not wait for it', async (t) => {
    const service = await startService(t, { m: plus(1) }, { ...EXPLICIT, loadModel: ['m'] });
    let release = holdExecutors();
    t.after(() => release());
    const running = infer(service);
    await service.unload('m');
    assert.deepEqual(await service.index(), [
      { name: 'm', version: '1', state: 'draining', isReady: false, reason: 'unloaded' },
    ]);
    const refused = await errorOf(service.infer('m', { x: row(1) }));
    assert.equal(refused.code, 'MODEL_NOT_READY');
    assert.equal(refused.message, "model 'm' version 1 is draining");
    await service.load('m');
    assert.equal(await infer(service), 2);
    assert.equal(executorPids().length, 2);
    release();
    release = () => {};
    assert.equal(await running, 2);
    await waitFor(() => executorPids().length === 1, 'the first executor has ended');
    assert.equal(await infer(service), 2);
  });

  it('runs on the new version who waited for room at the one replaced', async (t) => {
    const service = await startService(
      t,
      { m: { 1: plus(1) } },
      { ...EXPLICIT, loadModel: ['m'], maxQueueRows: 1, maxBatchSize: 1 },
    );
    let release = holdExecutors();
    t.after(() => release());
    const send = (): Promise<number> =>
      service
        .infer('m', { x: row(1) }, { whenFull: 'wait' })
        .then(({ outputs }) => readTensor(outputs['y']!)[0] as number);
    const version = service.registry.get('m', undefined);
    const running = send();
    await waitFor(() => version.inflightRequests === 1 && version.queuedRows === 0, 'the first one runs');
    const others = [send(), send(), send()];
    writeRepository(service.config.models, { m: { 1: plus(10) } });
    await service.load('m');
    assert.deepEqual(await Promise.all(others.slice(1)), [11, 11]);
    release();
    release = () => {};
    assert.deepEqual([await running, await others[0]], [2, 2]);
  });

  it('lets a model that is being unloaded finish when the server is closed', async (t) => {
    const service = await startService(t, { m: plus(1) }, { ...EXPLICIT, loadModel: ['m'] });
    const release = holdExecutors();
    t.after(() => release());
    const running = infer(service);
    await service.unload('m');
    const drained = service.drain();
    release();
    assert.equal(await running, 2);
    await drained;
    await noExecutors();
  });

  it('is refused once the server is shutting down, and ends then', async (t) => {
    const service = await startService(t, { m: plus(1), hang: endlessLoad() }, { ...EXPLICIT, loadModel: ['m'] });
    const hanging = codeOf(service.load('hang'));
    const queued = codeOf(service.unload('hang'));
    await waitFor(() => executorPids().length === 2, 'its executor has been started');
    service.startDraining();
    assert.deepEqual(await Promise.all([hanging, queued]), ['SHUTTING_DOWN', 'SHUTTING_DOWN']);
    assert.equal(await codeOf(service.load('m')), 'SHUTTING_DOWN');
    assert.equal(await codeOf(service.unload('m')), 'SHUTTING_DOWN');
    assert.equal(await infer(service), 2, 'what is served goes on until the end');
    await waitFor(() => executorPids().length === 1, 'its executor has ended');
  });

  it('takes a model out of the metrics, and keeps the counters of one that is replaced', async (t) => {
    const server = await startServer(t, { m: { 1: plus(1) } }, { ...EXPLICIT, loadModel: ['m'], tritonMetrics: true });
    const labels = { model: 'm', version: '1' };
    const body = { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], data: [0, 0, 0, 0] }] };
    const operate = async (what: string): Promise<void> => {
      parseJson(await server.send('POST', `/v2/repository/models/m/${what}`), 200);
    };
    const answered = async (): Promise<number> =>
      (await server.metrics()).value('shoal_requests_total', { ...labels, protocol: 'v2', outcome: 'ok' });
    parseJson(await server.infer('m', body), 200);
    writeRepository(server.folder, { m: { 1: plus(10) } });
    await operate('load');
    parseJson(await server.infer('m', body), 200);
    assert.equal(await answered(), 2);
    assert.equal((await server.metrics()).value('shoal_executors', labels), 1);

    await operate('unload');
    await waitFor(() => server.server.summary()[0]!.state === 'unloaded', 'it is unloaded');
    assert.deepEqual((await server.metrics()).labelValues('model'), new Set());
    assert.deepEqual(await server.json('/v2/models/stats'), { model_stats: [] });
    await operate('load');
    assert.equal(await answered(), 0);
  });
});

describe('control under traffic', () => {
  /** Sends requests over HTTP from several callers until it is told to stop; counts how they end. */
  async function underTraffic(
    server: Awaited<ReturnType<typeof startServer>>,
    task: () => Promise<void>,
  ): Promise<Map<string, number>> {
    const ends = new Map<string, number>();
    let isOver = false;
    const data = [0, 0, 0, 0];
    const call = async (): Promise<void> => {
      while (!isOver) {
        const answer = await server.infer('m', { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], data }] });
        const end = String(answer.headers['shoal-error-code'] ?? answer.status);
        ends.set(end, (ends.get(end) ?? 0) + 1);
      }
    };
    const callers = Promise.all(Array.from({ length: 8 }, call));
    await task();
    isOver = true;
    await callers;
    return ends;
  }

  it('loses no request while versions are replaced 20 times', async (t) => {
    const server = await startServer(t, { m: { 1: plus(0) } }, { ...EXPLICIT, loadModel: ['m'] });
    const ends = await underTraffic(server, async () => {
      for (let i = 1; i <= 20; i++) {
        // Now another version, now another file of the same one.
        writeRepository(server.folder, { m: { [i % 2 === 0 ? 1 : 2]: plus(i) } });
        parseJson(await server.send('POST', '/v2/repository/models/m/load'), 200);
      }
    });
    assert.deepEqual([...ends.keys()], ['200']);
    const metrics = await server.metrics();
    assert.equal(metrics.sum('shoal_requests_total', { outcome: 'ok' }), ends.get('200'));
    assert.equal(metrics.sum('shoal_requests_total'), ends.get('200'));
    await waitFor(() => executorPids().length === 2, 'those replaced have ended');
  });

  it('answers a request whose body arrived while its version was replaced', async (t) => {
    const server = await startServer(t, { m: { 1: plus(1) } }, { ...EXPLICIT, loadModel: ['m'] });
    let value = 1;
    /** Comes in two parts; between them another file takes the place of the version. */
    async function* body(request: object): AsyncGenerator<Uint8Array> {
      const json = JSON.stringify(request);
      yield Buffer.from(json.slice(0, 10));
      writeRepository(server.folder, { m: { 1: plus(++value) } });
      parseJson(await server.send('POST', '/v2/repository/models/m/load'), 200);
      await waitFor(() => executorPids().length === 1, 'the version replaced has ended');
      yield Buffer.from(json.slice(10));
    }
    const request = { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], data: [0, 0, 0, 0] }] };
    for (const target of ['/v2/models/m/infer', '/v2/models/m/versions/1/infer']) {
      const { outputs } = parseReply(await server.send('POST', target, body(request)));
      assert.deepEqual(outputs[0]!.data, Array(4).fill(value));
    }
    for (const target of ['/v1/models/m:predict', '/v1/models/m/versions/1:predict']) {
      const answer = parseJson(await server.send('POST', target, body({ instances: [[0, 0, 0, 0]] })), 200);
      assert.deepEqual(answer, { predictions: [Array(4).fill(value)] });
    }
  });

  it('answers every request while a model is loaded and unloaded 20 times', async (t) => {
    const server = await startServer(t, { m: ident('FP32') }, { ...EXPLICIT, loadModel: ['m'] });
    const ends = await underTraffic(server, async () => {
      for (let i = 0; i < 20; i++) {
        parseJson(await server.send('POST', '/v2/repository/models/m/unload'), 200);
        parseJson(await server.send('POST', '/v2/repository/models/m/load'), 200);
      }
      parseJson(await server.send('POST', '/v2/repository/models/m/unload'), 200);
    });
    assert.deepEqual([...ends.keys()].sort(), ['200', 'MODEL_NOT_READY']);
    await noExecutors();
    assert.deepEqual((await server.metrics()).labelValues('model'), new Set());
    assert.equal((await server.metrics()).value('shoal_queue_bytes'), 0);
  });
});
