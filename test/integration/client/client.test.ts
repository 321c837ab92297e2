import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, before, describe, it } from 'node:test';
import {
  type ClientOptions,
  fromHalf,
  type InferReply,
  type InputTensor,
  ShoalClient,
  ShoalClientError,
} from '../../../src/client/index.ts';
import { numbers, startBusyServer } from '../../support/busy.ts';
import {
  add2,
  broken,
  flat0,
  gatherPoison,
  idents,
  mat2,
  multiInput,
  scalar0,
  stateModel,
} from '../../support/models.ts';
import { SAMPLES } from '../../support/samples.ts';
import { parseReply, type Scope, startServer, type TestServer, useServer } from '../../support/server.ts';

/** The client against a real server. */

function connect(scope: Scope, { url }: TestServer, options: ClientOptions = {}): ShoalClient {
  const client = new ShoalClient(url, options);
  scope.after(() => client.close());
  return client;
}

describe('the client and a server', () => {
  const running = useServer(() => ({
    ...idents(),
    add2: { '1': add2(), '2': add2() },
    scalar0: scalar0(),
    flat0: flat0(),
    mat2: mat2(),
    state: stateModel(),
    multi: multiInput(),
    'with space+': add2(),
  }));
  let client: ShoalClient;
  before(() => {
    client = new ShoalClient(running().url);
  });
  after(() => client.close());

  for (const format of ['binary', 'json'] as const) {
    for (const [datatype, { input, back = input.data }] of Object.entries(SAMPLES)) {
      if (format === 'json' && datatype === 'FP16') continue;
      it(`carries ${datatype} there and back, ${format}`, async () => {
        const { outputs, modelName, modelVersion } = await client.infer(`ident_${datatype}`, { x: input }, { format });
        assert.deepEqual([modelName, modelVersion], [`ident_${datatype}`, '1']);
        assert.deepEqual(outputs['y'], { datatype, shape: input.shape, data: back });
      });
    }
  }

  it('takes BOOL as bytes when it is told so, and a scalar', async () => {
    const bytes = await client.infer('ident_BOOL', {
      x: { data: Uint8Array.of(0, 1), shape: [1, 2], datatype: 'BOOL' },
    });
    assert.deepEqual(bytes.outputs['y']!.data, Uint8Array.of(0, 1));
    const scalar = await client.infer('scalar0', { x: { data: Float32Array.of(3), shape: [] } });
    assert.deepEqual(scalar.outputs['y'], { datatype: 'FP32', shape: [], data: Float32Array.of(3) });
  });

  const Half = (globalThis as { Float16Array?: { from(values: number[]): InputTensor['data'] } }).Float16Array;
  // Node.js 20 has none.
  if (Half !== undefined) {
    it('takes Float16Arrays', async () => {
      const { outputs } = await client.infer('ident_FP16', {
        x: { data: Half.from([1.5, -2]), shape: [1, 2] } as InputTensor,
      });
      assert.deepEqual(fromHalf(outputs['y']!.data as Uint16Array), Float32Array.of(1.5, -2));
    });
  }

  it('carries bytes that are no text, and gives them back as they are when asked', async () => {
    const raw = [Uint8Array.of(0xff, 0xfe), 'ü', new Uint8Array(0)];
    await assert.rejects(client.infer('ident_BYTES', { x: { data: raw, shape: [1, 3] } }), /UTF-8/);
    const data = ['ü', Buffer.from('x')];
    const { outputs } = await client.infer('ident_BYTES', { x: { data, shape: [1, 2] } }, { bytes: 'binary' });
    assert.deepEqual(
      (outputs['y']!.data as readonly Uint8Array[]).map((element) => Buffer.from(element).toString('hex')),
      ['c3bc', '78'],
    );
  });

  it('carries empty tensors', async () => {
    for (const format of ['binary', 'json'] as const) {
      const x: InputTensor = { data: new Float32Array(0), shape: [2, 0] };
      const { outputs } = await client.infer('mat2', { x }, { format });
      assert.deepEqual(outputs['y'], { datatype: 'FP32', shape: [2, 0], data: new Float32Array(0) });
      const none: InputTensor = { data: [], shape: [1, 0], datatype: 'BYTES' };
      assert.deepEqual((await client.infer('ident_BYTES', { x: none }, { format })).outputs['y']!.data, []);
    }
  });

  it('carries NaN and infinities in binary, and in JSON only NaN', async () => {
    const data = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, 1);
    const { outputs } = await client.infer('ident_FP32', { x: { data, shape: [1, 3] } });
    assert.deepEqual(outputs['y']!.data, data);
    const json = await client.infer(
      'ident_FP32',
      { x: { data: Float32Array.of(Number.NaN), shape: [1, 1] } },
      { format: 'json' },
    );
    assert.deepEqual(json.outputs['y']!.data, Float32Array.of(Number.NaN));
    await assert.rejects(client.infer('ident_FP32', { x: { data, shape: [1, 3] } }, { format: 'json' }), {
      name: 'ShoalClientError',
      code: 'BAD_ARGUMENT',
      attempts: 0,
      message: "element 1 of input 'x' is Infinity, which JSON does not carry; send it in binary",
    });
  });

  it('sends views of larger buffers, and several inputs and outputs', async () => {
    const all = Float32Array.from({ length: 40 }, (_, i) => i);
    const a: InputTensor = { data: all.subarray(3, 11), shape: [2, 4] };
    const b: InputTensor = { data: all.subarray(17, 25), shape: [2, 4] };
    const { outputs } = await client.infer('add2', { b, a });
    assert.deepEqual(
      outputs['sum']!.data,
      Float32Array.from({ length: 8 }, (_, i) => 20 + 2 * i),
    );
    assert.deepEqual(outputs['diff']!.data, new Float32Array(8).fill(-14));
    const state: InputTensor = { data: new Float32Array(2 * 3 * 8), shape: [2, 3, 8] };
    const reply = await client.infer('state', {
      input: { data: new Float32Array(12), shape: [3, 4] },
      state,
      sr: { data: BigInt64Array.of(16_000n), shape: [] },
    });
    assert.deepEqual(
      [reply.outputs['output']!.shape, reply.outputs['stateN']!.shape],
      [
        [3, 1],
        [2, 3, 8],
      ],
    );
  });

  it('asks for the outputs wanted, in either format, for a version and with a name', async () => {
    const one: InputTensor = { data: new Float32Array(4), shape: [1, 4] };
    for (const format of ['binary', 'json'] as const) {
      const options = { outputs: ['diff'], version: '1', id: 'é 7', format };
      const reply: InferReply<object> = await client.infer('add2', { a: one, b: one }, options);
      assert.deepEqual(Object.keys(reply.outputs), ['diff']);
      assert.deepEqual([reply.modelVersion, reply.id], ['1', 'é 7']);
      assert.match(String(reply.headers['server-timing']), /compute;dur/);
    }
    assert.equal((await client.infer('with space+', { a: one, b: one }, { outputs: [] })).modelName, 'with space+');
  });

  it('gives views of one buffer, which nobody else writes to', async () => {
    const x: InputTensor = { data: Float64Array.of(1, 2, 3), shape: [1, 3] };
    const first = (await client.infer('ident_FP64', { x })).outputs['y']!.data as Float64Array;
    assert.ok(first.buffer.byteLength > 24, 'a view of the whole reply');
    const one: InputTensor = { data: new Float32Array(4).fill(1), shape: [1, 4] };
    const { sum, diff } = (await client.infer('add2', { a: one, b: one })).outputs;
    assert.equal((sum!.data as Float32Array).buffer, (diff!.data as Float32Array).buffer);
    for (let i = 0; i < 20; i++)
      await client.infer('ident_FP64', { x: { data: new Float64Array(3).fill(9), shape: [1, 3] } });
    assert.deepEqual(first, Float64Array.of(1, 2, 3));
  });

  it('sends large bodies in pieces and takes large replies', async () => {
    const data = Float32Array.from({ length: 300_000 }, (_, i) => i);
    const { outputs } = await client.infer('ident_FP32', { x: { data, shape: [3, 100_000] } });
    assert.deepEqual(outputs['y']!.data, data);
    const a: InputTensor = { data: data.subarray(0, 60_000), shape: [100, 600] };
    await assert.rejects(client.infer('multi', { a, b: a }), { code: 'INVALID_REQUEST', status: 400 });
    const small = new ShoalClient(running().url, { maxReplyBytes: 1000 });
    await assert.rejects(small.infer('ident_FP32', { x: { data, shape: [3, 100_000] } }), {
      code: 'BAD_REPLY',
      message: /it is larger than 1000 bytes/,
    });
    await small.close();
  });

  it("passes the server's text on, with status and code", async () => {
    const x: InputTensor = { data: new Float32Array(3), shape: [1, 3] };
    await assert.rejects(client.infer('add2', { a: x, b: x }), (error: unknown) => {
      assert.ok(error instanceof ShoalClientError);
      assert.deepEqual([error.code, error.status, error.attempts], ['INVALID_REQUEST', 400, 1]);
      assert.equal(error.serverText, "input 'a' of model 'add2' has shape [1,3], expected [-1,4]");
      assert.equal(error.message, `POST /v2/models/add2/infer: 400 INVALID_REQUEST: ${error.serverText}`);
      return true;
    });
    await assert.rejects(client.infer('nope', {}), { code: 'MODEL_NOT_FOUND', status: 404, attempts: 1 });
    await assert.rejects(client.infer('add2', {}, { version: '9' }), { code: 'MODEL_NOT_FOUND', status: 404 });
  });

  it('tells what is wrong with inputs before anything is sent', async () => {
    const wrong: readonly (readonly [unknown, RegExp])[] = [
      [undefined, /^input 'x' is undefined, expected \{ data, shape \}$/],
      [{ data: new Float32Array(2) }, /^the shape of input 'x' is undefined, expected whole numbers from 0$/],
      [{ data: new Float32Array(2), shape: [-1, 2] }, /^the shape of input 'x' is \[-1,2\]/],
      [{ data: new Float32Array(2), shape: [3] }, /^input 'x' of shape \[3\] has 3 elements, its data has 2$/],
      [
        { data: [1, 2], shape: [2] },
        /^input 'x' is BYTES, expected an array of strings or Uint8Arrays, not an array of number$/,
      ],
      [{ data: 'text', shape: [4] }, /^the data of input 'x' is text, expected a typed array, strings or booleans$/],
      [{ data: [], shape: [0] }, /^input 'x' is an empty array, which does not say its datatype; give one$/],
      [{ data: new Uint8ClampedArray(1), shape: [1] }, /^the data of input 'x' is a Uint8ClampedArray/],
      [
        { data: new Float32Array(1), shape: [1], datatype: 'FP64' },
        /^input 'x' is FP64, expected a Float64Array, not a Float32Array$/,
      ],
      [
        { data: new Float32Array(1), shape: [1], datatype: 'BF16' },
        /^input 'x' has the datatype 'BF16', which there is not$/,
      ],
      [{ data: new Float32Array(1), shape: [1], datatype: 'FP16' }, /Uint16Array \(the bits\) or a Float16Array/],
    ];
    for (const [x, message] of wrong) {
      const call = client.infer('ident_FP32', { x: x as InputTensor });
      await assert.rejects(call, { code: 'BAD_ARGUMENT', attempts: 0, message });
    }
    await assert.rejects(client.infer('ident_FP16', { x: SAMPLES['FP16']!.input }, { format: 'json' }), /binary/);
    await assert.rejects(client.infer('ident_FP32', null as never), /inputs are null/);
    await assert.rejects(client.infer('', {}), /name of the model is empty/);
    await assert.rejects(client.infer('ident_FP32', {}, { priority: 1.5 }), /priority is 1.5/);
    await assert.rejects(client.infer('ident_FP32', {}, { queueTimeoutMs: -1 }), /queueTimeoutMs is -1/);
    await assert.rejects(client.isLive({ timeoutMs: Number.NaN }), /timeoutMs is NaN/);
    for (const address of ['nonsense', 'ftp://here']) {
      assert.throws(() => new ShoalClient(address), { code: 'BAD_ARGUMENT' });
    }
  });

  it('reads what a server says of itself and its models', async () => {
    assert.deepEqual([await client.isLive(), await client.isReady()], [true, true]);
    assert.deepEqual(
      [await client.isModelReady('add2'), await client.isModelReady('add2', { version: '9' })],
      [true, false],
    );
    const { name, extensions } = await client.serverMetadata();
    assert.equal(name, 'shoal');
    assert.ok(extensions.includes('binary_tensor_data'));
    const metadata = await client.modelMetadata('add2');
    assert.deepEqual(metadata.versions, ['1', '2']);
    assert.deepEqual(metadata.inputs[0], { name: 'a', datatype: 'FP32', shape: [-1, 4] });
    assert.deepEqual((await client.modelMetadata('add2', { version: '1' })).versions, ['1']);
    const config = await client.modelConfig('add2');
    assert.equal(config['platform'], 'onnxruntime_onnx');
    const [, second] = await client.statistics('add2');
    assert.equal(second!.version, '2');
    assert.ok(second!.inference_stats.success.count > 0);
    assert.ok((await client.statistics()).length > 10);
  });

  it('a base address may have a path', async (t) => {
    const below = new ShoalClient(`${running().url}/v2/..//`);
    t.after(() => below.close());
    assert.equal(await below.isLive(), true);
    const wrong = new ShoalClient(new URL(`${running().url}/elsewhere/`));
    t.after(() => wrong.close());
    await assert.rejects(wrong.serverMetadata(), { code: 'NOT_FOUND', message: /^GET \/elsewhere\/v2: 404 NOT_FOUND/ });
  });
});

describe('the client and a server that has troubles', () => {
  it('a model that cannot be loaded is not ready; the call is tried again and then fails', async (t) => {
    const running = await startServer(t, { broken: broken() });
    const client = connect(t, running, { retry: { baseMs: 1 } });
    assert.deepEqual(
      [await client.isLive(), await client.isReady(), await client.isModelReady('broken')],
      [true, false, false],
    );
    await assert.rejects(client.infer('broken', {}), { code: 'MODEL_NOT_READY', status: 503, attempts: 3 });
  });

  it('models are loaded and unloaded, and the index says so', async (t) => {
    const running = await startServer(t, { add2: add2(), broken: broken() }, { modelControlMode: 'explicit' });
    const client = connect(t, running);
    const states = async (): Promise<unknown[]> =>
      (await client.repositoryIndex()).map(({ name, state }) => [name, state]).toSorted();
    const one: InputTensor = { data: new Float32Array(4), shape: [1, 4] };
    assert.deepEqual(await client.repositoryIndex({ ready: true }), []);
    await client.loadModel('add2');
    assert.deepEqual((await client.infer('add2', { a: one, b: one })).outputs['sum']!.data, new Float32Array(4));
    assert.deepEqual((await states())[0], ['add2', 'READY']);
    await client.loadModel('add2', { config: { max_batch_size: 2 } });
    assert.equal((await client.modelConfig('add2'))['max_batch_size'], 2);
    await assert.rejects(client.loadModel('broken'), { status: 400, attempts: 1 });
    await assert.rejects(client.loadModel('nope'), { code: 'MODEL_NOT_FOUND', status: 404 });
    await client.unloadModel('add2');
    assert.equal(await client.isModelReady('add2'), false);
    assert.deepEqual((await states())[0], ['add2', 'UNAVAILABLE']);
  });

  it('a run that fails is not tried again', async (t) => {
    const running = await startServer(t, { gather: gatherPoison() });
    const client = connect(t, running);
    const ids: InputTensor = { data: BigInt64Array.of(99n), shape: [1] };
    await assert.rejects(client.infer('gather', { ids }), { code: 'INVALID_REQUEST', attempts: 1 });
    assert.equal((await client.statistics('gather'))[0]!.inference_stats.fail.count, 1);
  });

  it('a full queue is tried again after its Retry-After', async (t) => {
    const { running, first, release, until } = await startBusyServer(t, { maxQueueRows: 1 });
    const waiting = running.infer('ident', numbers([1]));
    await until(2, 1);
    const client = connect(t, running);
    const x: InputTensor = { data: Float32Array.of(5), shape: [1, 1] };
    const startMs = performance.now();
    const call = client.infer('ident', { x });
    // Refused once, it comes back a second later, to a queue that has room.
    let refused = 0;
    while (refused === 0) {
      refused = (await running.metrics()).value('shoal_rejected_total', {
        model: 'ident',
        version: '1',
        reason: 'queue_full',
      });
    }
    release();
    assert.deepEqual((await call).outputs['y']!.data, Float32Array.of(5));
    assert.ok(performance.now() - startMs >= 990, `${performance.now() - startMs} ms`);
    for (const answer of await Promise.all([first, waiting])) parseReply(answer);
  });

  it('priority and the time in the queue are passed on; the latter is answered by the server', async (t) => {
    const { running, first, release } = await startBusyServer(t);
    const client = connect(t, running);
    const x: InputTensor = { data: Float32Array.of(5), shape: [1, 1] };
    await assert.rejects(client.infer('ident', { x }, { priority: 1, queueTimeoutMs: 2, parameters: { mine: true } }), {
      code: 'DEADLINE_EXCEEDED',
      status: 504,
      attempts: 1,
    });
    release();
    parseReply(await first);
  });

  it('an abort and a timeout end the call at once, and the server drops the request', async (t) => {
    const { running, first, release, until } = await startBusyServer(t);
    const client = connect(t, running);
    const x: InputTensor = { data: Float32Array.of(5), shape: [1, 1] };
    const controller = new AbortController();
    const aborted = client.infer('ident', { x }, { signal: controller.signal });
    await until(2, 1);
    controller.abort('enough');
    await assert.rejects(aborted, { name: 'ShoalClientError', code: 'ABORTED', cause: 'enough', attempts: 1 });
    await until(1, 0);
    await assert.rejects(client.infer('ident', { x }, { timeoutMs: 30 }), {
      code: 'TIMEOUT',
      message: /longer than 30 ms/,
    });
    await until(1, 0);
    await assert.rejects(client.isLive({ signal: AbortSignal.abort() }), { code: 'ABORTED' });
    release();
    parseReply(await first);
  });

  it('connections are kept, shared and closed', async (t) => {
    const running = await startServer(t, { ident_FP32: idents()['ident_FP32']! });
    const sockets: number[] = [];
    running.server.app.server.on('connection', (socket) => {
      sockets.push(1);
      socket.once('close', () => sockets.pop());
    });
    const client = new ShoalClient(running.url, { connections: 2 });
    const x: InputTensor = { data: Float32Array.of(5), shape: [1, 1] };
    // A second one comes about where a call follows in the very moment in which the one before has ended.
    for (let i = 0; i < 50; i++) await client.infer('ident_FP32', { x });
    assert.ok(sockets.length <= 2, `one caller, ${sockets.length} connections`);
    await Promise.all(Array.from({ length: 20 }, () => client.infer('ident_FP32', { x })));
    assert.equal(sockets.length, 2, 'twenty callers, at most two connections');
    const last = client.infer('ident_FP32', { x });
    await client.close();
    assert.deepEqual((await last).outputs['y']!.data, Float32Array.of(5), 'what was under way is answered');
    while (sockets.length > 0) await new Promise(setImmediate);
    await assert.rejects(client.isLive(), { code: 'CLOSED', attempts: 0 });
    await client.close();
    {
      await using disposed = new ShoalClient(running.url);
      assert.equal(await disposed.isLive(), true);
      assert.equal(sockets.length, 1);
    }
    while (sockets.length > 0) await new Promise(setImmediate);
  });

  it('where nobody listens no connection comes about, which is told apart', async (t) => {
    const free = createServer().listen(0, '127.0.0.1');
    await once(free, 'listening');
    const address = free.address();
    assert.ok(typeof address === 'object' && address !== null);
    free.close();
    await once(free, 'close');
    const client = new ShoalClient(`http://127.0.0.1:${address.port}`, { retry: { baseMs: 1, attempts: 2 } });
    t.after(() => client.close());
    await assert.rejects(client.isReady(), (error: unknown) => {
      assert.ok(error instanceof ShoalClientError);
      assert.deepEqual([error.code, error.status, error.attempts], ['CONNECT_FAILED', undefined, 2]);
      assert.match(error.message, /ECONNREFUSED/);
      assert.ok(error.cause instanceof Error);
      return true;
    });
    const unknown = new ShoalClient('http://shoal.invalid', { retry: { attempts: 1 } });
    t.after(() => unknown.close());
    await assert.rejects(unknown.loadModel('x'), { code: 'CONNECT_FAILED', attempts: 1 });
  });
});
