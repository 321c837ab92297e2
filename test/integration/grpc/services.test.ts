import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type ClientDuplexStream, credentials, Metadata, makeGenericClientConstructor, status } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { expectRefusal, GrpcClient, type Message } from '../../support/grpc.ts';
import { add2, ident, writeRepository } from '../../support/models.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';
import { type Scope, startServer, type TestServer, useServer } from '../../support/server.ts';
import { brokenFixture } from '../protocol/fixtures.ts';

function clientOf(scope: Scope, { server }: TestServer): GrpcClient {
  const client = new GrpcClient(server.grpcAddress!);
  scope.after(async () => client.close());
  return client;
}

describe('the health service', () => {
  it('answers for the server and for each model', async (t) => {
    const running = await startServer(t, { add2: add2(), ...brokenFixture() }, { grpcPort: 0, strictReadiness: false });
    const client = clientOf(t, running);
    const check = async (service: string): Promise<unknown> => (await client.ok('Check', { service }))['status'];
    assert.equal(await check(''), 'SERVING');
    assert.equal(await check('inference.GRPCInferenceService'), 'SERVING');
    assert.equal(await check('add2'), 'SERVING');
    assert.equal(await check('broken'), 'NOT_SERVING');
    expectRefusal(await client.call('Check', { service: 'none' }), 'NOT_FOUND', /^there is no service 'none'$/);
    const { statuses } = await client.ok('List');
    assert.deepEqual(Object.keys(statuses as Message).sort(), ['', 'add2', 'broken', 'inference.GRPCInferenceService']);
  });

  it('tells those who watch of every change, of services it does not know yet, too', async (t) => {
    const running = await startServer(
      t,
      { add2: { 1: add2() } },
      { grpcPort: 0, modelControlMode: 'explicit', loadModel: ['add2'] },
    );
    const client = clientOf(t, running);
    const [model, later] = [client.watch('add2'), client.watch('later')];
    for (const watch of [model, later]) watch.on('error', () => {});
    const next = async (watch: typeof model): Promise<unknown> =>
      ((await once(watch, 'data')) as [Message])[0]['status'];
    assert.deepEqual(await Promise.all([next(model), next(later)]), ['SERVING', 'SERVICE_UNKNOWN']);
    await client.ok('RepositoryModelUnload', { model_name: 'add2' });
    assert.equal(await next(model), 'NOT_SERVING');
    writeRepository(running.folder, { later: ident('FP32') });
    await client.ok('RepositoryModelLoad', { model_name: 'later' });
    assert.equal(await next(later), 'SERVING');
    for (const watch of [model, later]) watch.cancel();
  });
});

describe('the repository methods', () => {
  it('list, load and unload models as over HTTP', async (t) => {
    const running = await startServer(
      t,
      { add2: { 1: add2() }, other: { 1: ident('FP32') } },
      { grpcPort: 0, modelControlMode: 'explicit', loadModel: ['add2'] },
    );
    const client = clientOf(t, running);
    const index = async (request: Message = {}): Promise<string[]> =>
      ((await client.ok('RepositoryIndex', request))['models'] as Message[]).map(
        ({ name, version, state }) => `${name}/${version} ${state}`,
      );
    assert.deepEqual(await index(), ['add2/1 READY', 'other/ UNAVAILABLE']);
    assert.deepEqual(await index({ ready: true }), ['add2/1 READY']);
    await client.ok('RepositoryModelLoad', { model_name: 'other' });
    const unload = { model_name: 'add2', parameters: { unload_dependents: { bool_param: false } } };
    await client.ok('RepositoryModelUnload', unload);
    assert.deepEqual(await index({ ready: true }), ['other/1 READY']);
    const load = (more: Message): ReturnType<GrpcClient['call']> => client.call('RepositoryModelLoad', more);
    expectRefusal(await load({ model_name: 'none' }), 'MODEL_NOT_FOUND');
    expectRefusal(
      await load({ model_name: 'add2', repository_name: 'r' }),
      'UNIMPLEMENTED',
      /^repository 'r' is not known/,
    );
    const file = { 'file:1/model.onnx': { bytes_param: Buffer.from('x') } };
    expectRefusal(
      await load({ model_name: 'add2', parameters: file }),
      'UNIMPLEMENTED',
      /files of models are not taken/,
    );
    const config = { config: { string_param: '{"max_batch_size": 2}' } };
    assert.equal((await load({ model_name: 'add2', parameters: config })).error, undefined);
    const { config: told } = await client.ok('ModelConfig', { name: 'add2' });
    assert.equal((told as Message)['max_batch_size'], 2);
    rmSync(path.join(running.folder, 'other'), { recursive: true });
    expectRefusal(await load({ model_name: 'other' }), 'MODEL_NOT_FOUND');
  });

  it('refuse to load where model control is off', async (t) => {
    const client = clientOf(t, await startServer(t, { add2: add2() }, { grpcPort: 0 }));
    const refused = await client.call('RepositoryModelLoad', { model_name: 'add2' });
    expectRefusal(refused, 'CONTROL_DISABLED', /--model-control-mode explicit$/);
  });
});

describe('LogSettings', () => {
  it('reads and changes what HTTP does', async (t) => {
    const running = await startServer(t, { add2: add2() }, { grpcPort: 0 });
    const client = clientOf(t, running);
    const { settings } = await client.ok('LogSettings', { settings: { log_error: { bool_param: false } } });
    const values = Object.entries(settings as Record<string, Message>).map(([name, choice]) => [
      name,
      choice[String(choice['parameter_choice'])],
    ]);
    const told = (await running.json('/v2/logging')) as Message;
    assert.deepEqual(Object.fromEntries(values), told);
    assert.equal(told['log_error'], false);
    const set = (name: string, value: Message): ReturnType<GrpcClient['call']> =>
      client.call('LogSettings', { settings: { [name]: value } });
    expectRefusal(await set('log_file', { string_param: '/tmp/x' }), 'UNIMPLEMENTED', /^log_file is not implemented/);
    expectRefusal(
      await set('log_info', { uint32_param: 1 }),
      'INVALID_REQUEST',
      /^log_info is 1, expected true or false$/,
    );
    expectRefusal(await set('log_what', { uint32_param: 1 }), 'INVALID_REQUEST', /^there is no log setting 'log_what'/);
  });
});

describe('reflection', () => {
  const server = useServer(() => ({ add2: add2() }), { grpcPort: 0 });
  const folder = path.join(REPOSITORY_ROOT, 'node_modules/@grpc/reflection/build/proto/grpc/reflection');

  for (const version of ['v1', 'v1alpha']) {
    it(`lists the services and gives their files (${version})`, async () => {
      const all = loadSync(path.join(folder, version, 'reflection.proto'), { keepCase: true });
      const Reflection = makeGenericClientConstructor(all[`grpc.reflection.${version}.ServerReflection`] as never, 'r');
      const client = new Reflection(server().server.grpcAddress!, credentials.createInsecure());
      const stream = (
        client as unknown as { ServerReflectionInfo(): ClientDuplexStream<Message, Message> }
      ).ServerReflectionInfo();
      const ask = async (request: Message): Promise<Message> => {
        stream.write(request);
        return ((await once(stream, 'data')) as [Message])[0];
      };
      const { list_services_response: listed } = await ask({ list_services: '' });
      const names = ((listed as { service: { name: string }[] }).service ?? []).map(({ name }) => name);
      assert.deepEqual(names.sort(), ['grpc.health.v1.Health', 'inference.GRPCInferenceService']);
      const { file_descriptor_response: files } = await ask({
        file_containing_symbol: 'inference.GRPCInferenceService',
      });
      const bytes = Buffer.concat((files as { file_descriptor_proto: Buffer[] }).file_descriptor_proto).toString(
        'latin1',
      );
      for (const method of ['ModelInfer', 'ModelStreamInfer', 'RepositoryModelLoad', 'ModelConfig']) {
        assert.ok(bytes.includes(method), method);
      }
      // Ended by the server, so that nothing is under way when it closes.
      const ended = once(stream.resume(), 'end');
      stream.end();
      await ended;
      client.close();
    });
  }
});

describe('hostile gRPC callers', () => {
  const server = useServer(() => ({ ident: ident('FP32') }), { grpcPort: 0, bodyLimit: '1MiB' });
  let client: GrpcClient;
  before(() => {
    client = new GrpcClient(server().server.grpcAddress!);
  });
  after(() => client.close());

  it('get INVALID_ARGUMENT from every method for what is no message', async () => {
    const methods = ['ModelInfer', 'ModelReady', 'ModelMetadata', 'ModelConfig', 'ModelStatistics', 'RepositoryIndex'];
    for (const method of [...methods, 'RepositoryModelLoad', 'Check']) {
      for (const bytes of [Buffer.of(0x0a), Buffer.of(0x57, 1), Buffer.alloc(12, 0xff)]) {
        const outcome = await client.sendBytes(method, bytes);
        expectRefusal(outcome, 'INVALID_REQUEST', /^the message is not well-formed: /);
      }
    }
    // What is left out of a message has its default, and there is no model without a name.
    expectRefusal(await client.sendBytes('ModelInfer', Buffer.alloc(0)), 'MODEL_NOT_FOUND');
  });

  it('get UNIMPLEMENTED for methods that are not there', async () => {
    const [identity, bytes] = [(value: Buffer): Buffer => value, Buffer.alloc(0)];
    const Any = makeGenericClientConstructor({}, 'any');
    const any = new Any(client.address, credentials.createInsecure());
    for (const method of ['SystemSharedMemoryStatus', 'CudaSharedMemoryRegister', 'TraceSetting']) {
      const code = await new Promise((resolve) => {
        const path1 = `/inference.GRPCInferenceService/${method}`;
        any.makeUnaryRequest(path1, identity, identity, bytes, new Metadata(), (error) => resolve(error?.code));
      });
      assert.equal(code, status.UNIMPLEMENTED, method);
    }
    any.close();
  });

  it('do no harm with garbage on the wire', async () => {
    const [host, port] = client.address.split(':');
    const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1');
    const texts = ['GET / HTTP/1.1\r\n\r\n', 'PRI * HTTP/2.0\r\n', '\0'.repeat(1000)].map((text) =>
      Buffer.from(text, 'latin1'),
    );
    const random = Array.from({ length: 20 }, () => Buffer.concat([preface, randomBytes(500)]));
    for (const bytes of [...texts, ...random]) {
      const socket = connect(Number(port), host);
      socket.on('error', () => {});
      socket.end(bytes);
      // Node answers a frame that is none without closing; the server's own look at idle connections does that later.
      await Promise.race([once(socket, 'close'), once(socket, 'data')]);
      socket.destroy();
    }
    const reply = await client.infer({
      model_name: 'ident',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 1], contents: { fp32_contents: [5] } }],
    });
    assert.deepEqual(reply.outputs[0]!.contents!['fp32_contents'], [5]);
    assert.deepEqual(server().logged, []);
  });
});
