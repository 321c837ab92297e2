import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { startBusyServer } from '../../support/busy.ts';
import { add2, broken, hangLoad, ident } from '../../support/models.ts';
import { expectError, parseJson, parseReply, startServer, TestServer, useServer } from '../../support/server.ts';
import { brokenFixture, fixtures } from './fixtures.ts';

/** Health, metadata and configuration; the numbers are those of the protocol's conformance list. */

interface Metadata {
  readonly name: string;
  readonly versions: string[];
  readonly platform: string;
  readonly inputs: { name: string; datatype: string; shape: number[] }[];
  readonly outputs: { name: string; datatype: string; shape: number[] }[];
}

interface ModelConfig {
  readonly max_batch_size: number;
  readonly dynamic_batching?: object;
  readonly input: { name: string; data_type: string; dims: number[]; is_shape_tensor: boolean; optional: boolean }[];
  readonly output: { name: string; data_type: string; dims: number[] }[];
}

/** Checks that every number anywhere in a value is an integer that JSON carries exactly. */
function assertIntegers(value: unknown): void {
  if (typeof value === 'number') assert.ok(Number.isSafeInteger(value), String(value));
  else if (typeof value === 'object' && value !== null) for (const one of Object.values(value)) assertIntegers(one);
}

describe('health, metadata and configuration', () => {
  const models = { ...fixtures(), 'with space+': ident('FP32') };
  const running = useServer(() => models);

  it('case 1: the server is live', async () => {
    assert.deepEqual(await running().json('/v2/health/live'), { live: true });
  });

  it('case 2: the server is ready when all models are', async () => {
    assert.deepEqual(await running().json('/v2/health/ready'), { live: true, ready: true });
  });

  it('case 5: a model and its versions are ready; what does not exist is unknown', async () => {
    assert.deepEqual(await running().json('/v2/models/add2/ready'), { name: 'add2', ready: true });
    assert.deepEqual(await running().json('/v2/models/add2/versions/1/ready'), { name: 'add2', ready: true });
    expectError(await running().get('/v2/models/add2/versions/9/ready'), 'MODEL_NOT_FOUND', /'9', only 1, 2$/);
    expectError(await running().get('/v2/models/nope/ready'), 'MODEL_NOT_FOUND', /'nope'/);
  });

  it('case 6: server metadata, with and without a trailing slash, lists what works', async () => {
    for (const path of ['/v2', '/v2/', '/v2?any=thing']) {
      const metadata = (await running().json(path)) as { extensions: string[] };
      assert.deepEqual(Object.keys(metadata), ['name', 'version', 'extensions']);
      for (const name of ['binary_tensor_data', 'classification', 'model_configuration', 'parameters', 'statistics'])
        assert.ok(metadata.extensions.includes(name), name);
      for (const name of ['system_shared_memory', 'cuda_shared_memory', 'trace', 'sequence'])
        assert.ok(!metadata.extensions.includes(name), name);
    }
  });

  it('case 7: metadata lists the ready versions and full shapes', async () => {
    const metadata = (await running().json('/v2/models/add2')) as Metadata;
    assert.equal(metadata.name, 'add2');
    assert.equal(metadata.platform, 'onnxruntime_onnx');
    assert.deepEqual(metadata.versions, ['1', '2']);
    assert.deepEqual(metadata.inputs, [
      { name: 'a', datatype: 'FP32', shape: [-1, 4] },
      { name: 'b', datatype: 'FP32', shape: [-1, 4] },
    ]);
    assert.deepEqual(metadata.outputs, [
      { name: 'sum', datatype: 'FP32', shape: [-1, 4] },
      { name: 'diff', datatype: 'FP32', shape: [-1, 4] },
    ]);
    const one = (await running().json('/v2/models/add2/versions/1')) as Metadata;
    assert.deepEqual(one.versions, ['1']);
  });

  it('case 8: a model without a batch dimension says so', async () => {
    const metadata = (await running().json('/v2/models/flat0')) as Metadata;
    assert.deepEqual(metadata.inputs[0]!.shape, [2, 2]);
    const config = (await running().json('/v2/models/flat0/config')) as ModelConfig;
    assert.equal(config.max_batch_size, 0);
    assert.deepEqual(config.input[0]!.dims, [2, 2]);
    assert.equal(config.dynamic_batching, undefined);
  });

  it('case 9: the configuration of a batched model leaves the batch dimension out', async () => {
    const config = (await running().json('/v2/models/add2/config')) as ModelConfig;
    assert.equal(config.max_batch_size, 8);
    for (const tensor of [...config.input, ...config.output]) {
      assert.deepEqual(tensor.dims, [4]);
      assert.equal(tensor.data_type, 'TYPE_FP32');
    }
    assertIntegers(config);
    assert.equal(config.input[0]!.is_shape_tensor, false);
    assert.equal(config.input[0]!.optional, false);
  });

  it('a scalar has an empty shape', async () => {
    const metadata = (await running().json('/v2/models/scalar0')) as Metadata;
    assert.deepEqual(metadata.inputs[0]!.shape, []);
  });

  it('case 10: unknown models and versions that are no numbers are not found', async () => {
    for (const path of ['/v2/models/nope', '/v2/models/nope/config', '/v2/models/nope/stats'])
      expectError(await running().get(path), 'MODEL_NOT_FOUND', /'nope'/);
    for (const version of ['x', '1.0', '-1', '01', '1e0', '%31x'])
      expectError(await running().get(`/v2/models/add2/versions/${version}`), 'MODEL_NOT_FOUND');
  });

  it('case 11: a wrong method is refused with the right ones', async () => {
    for (const [method, path, allow] of [
      ['POST', '/v2/health/live', 'GET, HEAD'],
      ['GET', '/v2/models/add2/infer', 'POST'],
      ['HEAD', '/v2/models/add2/infer/', 'POST'],
      ['DELETE', '/v2/models/add2', 'GET, HEAD'],
      ['PUT', '/metrics', 'GET, HEAD'],
      ['OPTIONS', '/v2', 'GET, HEAD'],
      ['PATCH', '/', 'GET, HEAD'],
      ['TRACE', '/v2', 'GET, HEAD'],
      ['QUERY', '/v2/models/add2/', 'GET, HEAD'],
      ['PROPFIND', '/v2/models/add2/versions/1/infer', 'POST'],
    ] as const) {
      const answer = await running().send(method, path);
      assert.equal(answer.headers['allow'], allow, `${method} ${path}`);
      if (method === 'HEAD') {
        assert.equal(answer.status, 405);
        assert.equal(answer.body.length, 0);
      } else expectError(answer, 'METHOD_NOT_ALLOWED', new RegExp(`^${method} `));
    }
  });

  it('case 12: an unknown path is not found, whatever the method', async () => {
    for (const [method, path] of [
      ['GET', '/nowhere'],
      ['POST', '/v2/models'],
      ['GET', '/v2/models/add2/versions'],
      ['GET', '/v2/models/add2/versions/1/nothing'],
      ['GET', '//v2'],
      ['DELETE', '/nowhere'],
      ['QUERY', '/v2/models/add2/nothing'],
    ] as const) {
      const answer = await running().send(method, path, method === 'POST' ? '{}' : undefined);
      if (path === '/v2/models') expectError(answer, 'METHOD_NOT_ALLOWED');
      else expectError(answer, 'NOT_FOUND', new RegExp(`${method} ${path}$`));
    }
  });

  it('case 14: a percent-encoded name is the name', async () => {
    const plain = await running().json('/v2/models/add2');
    assert.deepEqual(await running().json('/v2/models/%61%64d2'), plain);
    const x = { name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2] };
    const reply = parseReply(await running().infer('with%20space%2B', { inputs: [x] }));
    assert.equal(reply.model_name, 'with space+');
  });

  it('case 85: the status routes of version 1', async () => {
    assert.deepEqual(await running().json('/'), { status: 'alive' });
    const body = (await running().json('/v1/models/add2')) as Record<string, unknown>;
    const available = { state: 'AVAILABLE', status: { error_code: 'OK', error_message: '' } };
    assert.deepEqual(body, {
      name: 'add2',
      ready: true,
      model_version_status: [
        { version: '1', ...available },
        { version: '2', ...available },
      ],
    });
    assert.deepEqual(await running().json('/v1/models'), { models: Object.keys(models).sort() });
    expectError(await running().get('/v1/models/nope'), 'MODEL_NOT_FOUND');
  });

  it('all models are listed by name', async () => {
    assert.deepEqual(await running().json('/v2/models'), { models: Object.keys(models).sort() });
  });

  it('case 13: replies are never compressed', async () => {
    for (const path of ['/v2', '/v2/health/ready', '/v2/models/add2', '/v2/models/add2/config', '/nowhere']) {
      const answer = await running().get(path, { 'accept-encoding': 'gzip, deflate, br' });
      assert.equal(answer.headers['content-encoding'], undefined);
    }
  });

  it('HEAD has the headers of GET and no body', async () => {
    for (const path of ['/v2/health/ready', '/v2/models/add2', '/metrics', '/']) {
      const [get, head] = [await running().get(path), await running().send('HEAD', path)];
      assert.equal(head.status, 200);
      assert.equal(head.body.length, 0);
      assert.equal(head.headers['content-type'], get.headers['content-type']);
      if (path !== '/metrics') assert.equal(head.headers['content-length'], String(get.body.length));
    }
  });
});

describe('a model that cannot be served', () => {
  const running = useServer(() => ({ ...brokenFixture(), add2: { '1': add2(), '2': broken() } }));

  it('case 3: while a model is broken the server is live and not ready', async () => {
    const answer = await running().get('/v2/health/ready');
    const text = expectError(answer, 'MODEL_NOT_READY', /'broken'/, ['live', 'ready']);
    assert.doesNotMatch(text, /add2/, 'an older ready version counts');
    assert.deepEqual(JSON.parse(answer.body.toString()), { error: text, live: true, ready: false });
    assert.deepEqual(await running().json('/v2/health/live'), { live: true });
  });

  it('case 5: it is known and not ready, with the reason', async () => {
    expectError(await running().get('/v2/models/broken/ready'), 'MODEL_NOT_READY', /broken.*failed: \S+/, [
      'name',
      'ready',
    ]);
    expectError(await running().get('/v2/models/broken'), 'MODEL_NOT_READY');
    expectError(await running().get('/v2/models/broken/config'), 'MODEL_NOT_READY');
    expectError(await running().infer('broken', { inputs: [] }), 'MODEL_NOT_READY', /failed/);
  });

  it('case 85: version 1 says so, too', async () => {
    const answer = await running().get('/v1/models/broken');
    expectError(answer, 'MODEL_NOT_READY', /failed/, ['name', 'ready', 'model_version_status']);
    const { ready, model_version_status } = JSON.parse(answer.body.toString());
    assert.equal(ready, false);
    assert.equal(model_version_status[0].state, 'END');
    assert.equal(model_version_status[0].status.error_code, 'UNKNOWN');
    assert.match(model_version_status[0].status.error_message, /./);
  });

  it('the highest version that is ready answers, and is the only one listed', async () => {
    const metadata = (await running().json('/v2/models/add2')) as Metadata;
    assert.deepEqual(metadata.versions, ['1']);
    expectError(await running().get('/v2/models/add2/versions/2'), 'MODEL_NOT_READY', /version 2 is failed/);
  });
});

describe('readiness over time', () => {
  it('case 3: while a model loads the server is not ready, and others serve', async (t) => {
    const running = await TestServer.start({ late: hangLoad(12_000), add2: add2() }, {}, {}, { awaitLoaded: false });
    t.after(() => running.close());
    expectError(await running.get('/v2/health/ready'), 'MODEL_NOT_READY', /'late' is loading/, ['live', 'ready']);
    expectError(await running.get('/v2/models/late/ready'), 'MODEL_NOT_READY', /loading/, ['name', 'ready']);
    expectError(await running.get('/v2/models/late'), 'MODEL_NOT_READY', /loading/);
    assert.deepEqual(await running.json('/v2/health/live'), { live: true });
    while ((await running.get('/v2/models/add2/ready')).status !== 200);
    expectError(await running.get('/v2/health/ready'), 'MODEL_NOT_READY', /^model 'late' is loading$/, [
      'live',
      'ready',
    ]);
    await running.server.loaded();
    assert.deepEqual(await running.json('/v2/health/ready'), { live: true, ready: true });
  });

  it('a server that is not strict is ready while models load or are broken', async (t) => {
    const running = await startServer(t, { broken: broken() }, { strictReadiness: false });
    assert.deepEqual(await running.json('/v2/health/ready'), { live: true, ready: true });
    expectError(await running.get('/v2/models/broken/ready'), 'MODEL_NOT_READY', /./, ['name', 'ready']);
  });

  it('case 4: while draining the server is live and not ready, and requests in flight are answered', async (t) => {
    const { running, first, release } = await startBusyServer(t, { drainDelay: '1s' });
    const closed = running.server.close();
    expectError(await running.get('/v2/health/ready'), 'MODEL_NOT_READY', /shutting down/, ['live', 'ready']);
    assert.deepEqual(await running.json('/v2/health/live'), { live: true });
    release();
    assert.deepEqual(parseReply(await first).outputs[0]!.data, [0]);
    await closed;
  });

  it('an empty folder serves', async (t) => {
    const running = await startServer(t, {});
    assert.deepEqual(await running.json('/v2/health/ready'), { live: true, ready: true });
    assert.deepEqual(parseJson(await running.get('/v2/models'), 200), { models: [] });
    expectError(await running.infer('any', {}), 'MODEL_NOT_FOUND');
  });
});
