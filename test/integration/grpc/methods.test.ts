import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { expectRefusal, GrpcClient, type Message } from '../../support/grpc.ts';
import { useServer } from '../../support/server.ts';
import { brokenFixture, fixtures } from '../protocol/fixtures.ts';

describe('gRPC methods that describe the server and its models', () => {
  const server = useServer(() => ({ ...fixtures(), ...brokenFixture() }), { grpcPort: 0 });
  let client: GrpcClient;
  before(() => {
    client = new GrpcClient(server().server.grpcAddress!);
  });
  after(() => client.close());

  it('says that the server lives, and whether it is ready', async () => {
    assert.deepEqual(await client.ok('ServerLive'), { live: true });
    // A model that should be there is not.
    assert.deepEqual(await client.ok('ServerReady'), { ready: false });
  });

  it('says what HTTP says of the server', async () => {
    assert.deepEqual(await client.ok('ServerMetadata'), await server().json('/v2'));
  });

  it('says which models are ready', async () => {
    assert.deepEqual(await client.ok('ModelReady', { name: 'add2' }), { ready: true });
    assert.deepEqual(await client.ok('ModelReady', { name: 'add2', version: '1' }), { ready: true });
    assert.deepEqual(await client.ok('ModelReady', { name: 'broken' }), { ready: false });
    expectRefusal(await client.call('ModelReady', { name: 'none' }), 'MODEL_NOT_FOUND', /^there is no model 'none'$/);
    expectRefusal(await client.call('ModelReady', { name: 'add2', version: '7' }), 'MODEL_NOT_FOUND', /only 1, 2$/);
  });

  it('says what HTTP says of a model', async () => {
    for (const version of ['', '1']) {
      const path = `/v2/models/add2${version === '' ? '' : `/versions/${version}`}`;
      const { inputs, ...told } = (await server().json(path)) as Message;
      const { inputs: own, ...metadata } = await client.ok('ModelMetadata', { name: 'add2', version });
      assert.deepEqual(numbers({ own, outputs: metadata['outputs'] }), { own: inputs, outputs: told['outputs'] });
      for (const key of ['name', 'versions', 'platform', 'properties']) assert.deepEqual(metadata[key], told[key]);
    }
    expectRefusal(
      await client.call('ModelMetadata', { name: 'broken' }),
      'MODEL_NOT_READY',
      /'broken' version 1 is failed/,
    );
  });

  it('gives a model’s configuration as HTTP does', async () => {
    const told = (await server().json('/v2/models/add2/config')) as Message;
    const { config } = await client.ok('ModelConfig', { name: 'add2' });
    const own = numbers(config) as Message;
    for (const key of ['name', 'platform', 'backend', 'max_batch_size', 'default_model_filename']) {
      assert.deepEqual(own[key], told[key], key);
    }
    for (const key of ['input', 'output', 'instance_group', 'dynamic_batching']) containsAll(own[key], told[key], key);
    expectRefusal(await client.call('ModelConfig', { name: 'none' }), 'MODEL_NOT_FOUND');
  });

  it('gives statistics as HTTP does, of one version, of one model, and of all', async () => {
    await client.infer({
      model_name: 'flat0',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [2, 2] }],
      raw_input_contents: [Buffer.alloc(16)],
    });
    const told = (await server().json('/v2/models/flat0/stats')) as Message;
    const own = numbers(await client.ok('ModelStatistics', { name: 'flat0' }));
    assert.deepEqual(own, told);
    const [flat] = (own as { model_stats: [{ inference_count: number }] }).model_stats;
    assert.equal(flat.inference_count, 1, 'requests over gRPC count');
    const count = async (request: Message): Promise<number> =>
      ((await client.ok('ModelStatistics', request))['model_stats'] as unknown[]).length;
    assert.equal(await count({ name: 'add2' }), 2);
    assert.equal(await count({ name: 'add2', version: '2' }), 1);
    assert.equal(
      await count({}),
      ((await server().json('/v2/models/stats')) as { model_stats: unknown[] }).model_stats.length,
    );
    expectRefusal(await client.call('ModelStatistics', { name: 'none' }), 'MODEL_NOT_FOUND');
  });

  it('gives and changes the logging settings that HTTP has', async () => {
    const told = async (): Promise<Message> => (await server().json('/v2/logging')) as Message;
    const own = async (settings: Message): Promise<Message> => {
      const { settings: all } = await client.ok('LogSettings', { settings });
      const entries = Object.entries(all as Readonly<Record<string, Record<string, unknown>>>);
      return Object.fromEntries(entries.map(([name, one]) => [name, one[String(one['parameter_choice'])]]));
    };
    const before = await told();
    assert.deepEqual(await own({}), before);
    const changed = await own({ log_verbose_level: { uint32_param: 1 }, log_info: {} });
    assert.deepEqual(changed, { ...before, log_verbose_level: 1 });
    assert.deepEqual(await told(), changed);
    assert.deepEqual(await own({ log_verbose_level: { uint32_param: 0 } }), before);
    const change = (settings: Message): ReturnType<typeof client.call> => client.call('LogSettings', { settings });
    expectRefusal(await change({ log_file: { string_param: 'x' } }), 'UNIMPLEMENTED', /log_file/);
    expectRefusal(await change({ log_info: { uint32_param: 1 } }), 'INVALID_REQUEST', /log_info is 1/);
    expectRefusal(await change({ nothing: { bool_param: true } }), 'INVALID_REQUEST', /'nothing'/);
    assert.deepEqual(await told(), before);
  });
});

/** 64-bit integers come as strings of digits, which are numbers over HTTP. */
function numbers(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(numbers);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, one]) => [key, /^(name|version)$/.test(key) ? one : numbers(one)]),
    );
  }
  return typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value;
}

/** Whether `own` has everything that `told` has; protobuf adds the defaults of fields that JSON leaves out. */
function containsAll(own: unknown, told: unknown, path: string): void {
  if (typeof told !== 'object' || told === null) {
    assert.deepEqual(own, told, path);
    return;
  }
  for (const [key, value] of Object.entries(told)) containsAll((own as Message)[key], value, `${path}.${key}`);
}
