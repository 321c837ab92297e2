import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { DATATYPE_NAMES, type Datatype, encodeStrings } from '../../../src/tensor/tensor.ts';
import { expectRefusal, GrpcClient, type GrpcReply, type Message } from '../../support/grpc.ts';
import { useServer } from '../../support/server.ts';
import { fixtures, MAX_BATCH_SIZE } from '../protocol/fixtures.ts';

/** Two elements of each datatype that wrong codecs get wrong: extremes, fractions, text outside ASCII. */
const EXTREMES: Readonly<Record<Datatype, { field?: string; values: readonly unknown[]; bytes: Buffer }>> = {
  BOOL: { field: 'bool_contents', values: [true, false], bytes: Buffer.of(1, 0) },
  INT8: { field: 'int_contents', values: [-128, 127], bytes: Buffer.of(0x80, 0x7f) },
  INT16: { field: 'int_contents', values: [-32768, 32767], bytes: bytesOf(Int16Array.of(-32768, 32767)) },
  INT32: {
    field: 'int_contents',
    values: [-(2 ** 31), 2 ** 31 - 1],
    bytes: bytesOf(Int32Array.of(-(2 ** 31), 2 ** 31 - 1)),
  },
  INT64: {
    field: 'int64_contents',
    values: ['-9223372036854775808', '9007199254740993'],
    bytes: bytesOf(BigInt64Array.of(-(2n ** 63n), 2n ** 53n + 1n)),
  },
  UINT8: { field: 'uint_contents', values: [0, 255], bytes: Buffer.of(0, 255) },
  UINT16: { field: 'uint_contents', values: [1, 65535], bytes: bytesOf(Uint16Array.of(1, 65535)) },
  UINT32: { field: 'uint_contents', values: [1, 2 ** 32 - 1], bytes: bytesOf(Uint32Array.of(1, 2 ** 32 - 1)) },
  UINT64: {
    field: 'uint64_contents',
    values: ['1', '18446744073709551615'],
    bytes: bytesOf(BigUint64Array.of(1n, 2n ** 64n - 1n)),
  },
  FP16: { values: [], bytes: Buffer.of(0x00, 0x3c, 0x01, 0x00) },
  FP32: {
    field: 'fp32_contents',
    values: [Number.NEGATIVE_INFINITY, Math.fround(0.1)],
    bytes: bytesOf(Float32Array.of(Number.NEGATIVE_INFINITY, 0.1)),
  },
  FP64: {
    field: 'fp64_contents',
    values: [5e-324, Number.MAX_VALUE],
    bytes: bytesOf(Float64Array.of(5e-324, Number.MAX_VALUE)),
  },
  BYTES: {
    field: 'bytes_contents',
    values: [Buffer.from('é漢🐟'), Buffer.alloc(0)],
    bytes: encodeStrings(['é漢🐟', '']),
  },
};

function bytesOf(array: ArrayBufferView): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}

const floats = (...values: number[]): Buffer => bytesOf(Float32Array.from(values));

/** A raw request to `add2` with one row. */
const add2 = (more: Message = {}): Message => ({
  model_name: 'add2',
  inputs: [
    { name: 'a', datatype: 'FP32', shape: [1, 4] },
    { name: 'b', datatype: 'FP32', shape: [1, 4] },
  ],
  raw_input_contents: [floats(1, 2, 3, 4), floats(10, 20, 30, 40)],
  ...more,
});

describe('ModelInfer', () => {
  const server = useServer(fixtures, { grpcPort: 0 });
  let client: GrpcClient;
  before(() => {
    client = new GrpcClient(server().server.grpcAddress!);
  });
  after(() => client.close());

  const ident = (datatype: Datatype, shape: readonly number[], more: Message): Message => ({
    model_name: `ident_${datatype}`,
    inputs: [{ name: 'x', datatype, shape, ...('contents' in more ? { contents: more['contents'] } : {}) }],
    ...('raw' in more ? { raw_input_contents: [more['raw']] } : {}),
  });

  for (const datatype of DATATYPE_NAMES) {
    const { field, values, bytes } = EXTREMES[datatype];
    it(`carries ${datatype}, raw${field === undefined ? ' only' : ' and typed'}`, async () => {
      const raw = await client.infer(ident(datatype, [1, 2], { raw: bytes }));
      assert.deepEqual(raw.outputs[0], { name: 'y', datatype, shape: ['1', '2'], contents: null, parameters: {} });
      assert.deepEqual(raw.raw_output_contents, [bytes]);
      if (field === undefined) {
        const typed = ident(datatype, [1, 2], { contents: { fp32_contents: [1, 2] } });
        expectRefusal(await client.call('ModelInfer', typed), 'INVALID_REQUEST', /raw_input_contents only$/);
        return;
      }
      const typed = await client.infer(ident(datatype, [1, 2], { contents: { [field]: values } }));
      assert.deepEqual(typed.outputs[0]!.contents![field], values);
      assert.deepEqual(typed.raw_output_contents, []);
    });

    it(`carries no elements of ${datatype}`, async () => {
      for (const more of [{ raw: Buffer.alloc(0) }, { contents: {} }, {}]) {
        const { outputs, raw_output_contents: raw } = await client.infer(ident(datatype, [1, 0], more));
        assert.deepEqual(outputs[0]!.shape, ['1', '0']);
        assert.ok(raw.length === 0 || raw[0]!.length === 0);
      }
    });
  }

  it('carries a scalar', async () => {
    const request = { model_name: 'scalar0', inputs: [{ name: 'x', datatype: 'FP32', shape: [] }] };
    const { outputs, raw_output_contents: raw } = await client.infer({ ...request, raw_input_contents: [floats(2.5)] });
    assert.deepEqual([outputs[0]!.shape, raw], [[], [floats(2.5)]]);
  });

  it('echoes the id, and says which model and version ran', async () => {
    const reply = await client.infer(add2({ id: 'naïve-1', model_version: '1' }));
    assert.deepEqual([reply.id, reply.model_name, reply.model_version], ['naïve-1', 'add2', '1']);
    const newest = await client.infer(add2());
    assert.deepEqual([newest.id, newest.model_version], ['', '2']);
  });

  it('gives the outputs asked for, in that order', async () => {
    const all = await client.infer(add2());
    assert.deepEqual(names(all), ['sum', 'diff']);
    assert.deepEqual(all.raw_output_contents, [floats(11, 22, 33, 44), floats(-9, -18, -27, -36)]);
    const two = await client.infer(add2({ outputs: [{ name: 'diff' }, { name: 'sum' }] }));
    assert.deepEqual(names(two), ['diff', 'sum']);
    assert.deepEqual(two.raw_output_contents, [floats(-9, -18, -27, -36), floats(11, 22, 33, 44)]);
    const unknown = await client.call('ModelInfer', add2({ outputs: [{ name: 'product' }] }));
    expectRefusal(unknown, 'INVALID_REQUEST', /^model 'add2' has no output 'product', only 'sum', 'diff'$/);
  });

  it('answers typed requests raw where an output asks for it', async () => {
    const inputs = ['a', 'b'].map((name) => ({
      name,
      datatype: 'FP32',
      shape: [1, 4],
      contents: { fp32_contents: [1, 2, 3, 4] },
    }));
    const outputs = [{ name: 'sum', parameters: { binary_data: { bool_param: true } } }];
    const { raw_output_contents: raw } = await client.infer({ model_name: 'add2', inputs, outputs });
    assert.deepEqual(raw, [floats(2, 4, 6, 8)]);
  });

  it('classifies', async () => {
    const outputs = [{ name: 'sum', parameters: { classification: { int64_param: 2 } } }];
    const raw = await client.infer(add2({ outputs }));
    assert.deepEqual([raw.outputs[0]!.datatype, raw.outputs[0]!.shape], ['BYTES', ['1', '2']]);
    assert.deepEqual(raw.raw_output_contents, [encodeStrings(['44.000000:3', '33.000000:2'])]);
  });

  it('says what is wrong with a request in the words of HTTP', async () => {
    const wrong: [Message, RegExp][] = [
      [{ inputs: [] }, /^model 'add2' needs input 'a' \(FP32 \[-1,4\]\), the request has none$/],
      [
        { raw_input_contents: [floats(1), floats(2)] },
        /^the raw contents of input 'a' has 4 bytes, its shape \[1,4\] of FP32 needs 16$/,
      ],
      [{ parameters: { triton_x: { bool_param: true } } }, /^parameter 'triton_x' is reserved/],
    ];
    for (const [more, text] of wrong) {
      const { raw_input_contents: raw, ...request } = add2(more);
      const whole = more['inputs'] === undefined ? { ...request, raw_input_contents: raw } : request;
      expectRefusal(await client.call('ModelInfer', whole), 'INVALID_REQUEST', text);
    }
    const rows = ident('FP32', [MAX_BATCH_SIZE + 1, 1], { raw: Buffer.alloc(4 * (MAX_BATCH_SIZE + 1)) });
    expectRefusal(
      await client.call('ModelInfer', rows),
      'INVALID_REQUEST',
      /has 9 rows, model 'ident_FP32' takes at most 8/,
    );
  });

  it('says that a model is not there before it says what else is wrong', async () => {
    expectRefusal(
      await client.call('ModelInfer', add2({ model_name: 'none' })),
      'MODEL_NOT_FOUND',
      /^there is no model 'none'$/,
    );
    expectRefusal(await client.call('ModelInfer', add2({ model_version: '9' })), 'MODEL_NOT_FOUND', /no version '9'/);
    const both = add2({ model_name: 'none', raw_input_contents: [] });
    expectRefusal(await client.call('ModelInfer', both), 'MODEL_NOT_FOUND');
  });

  it('counts its requests', async () => {
    const before = await server().metrics();
    await client.infer(ident('UINT8', [1, 1], { raw: Buffer.of(1) }));
    await client.call('ModelInfer', ident('UINT8', [1, 1], { raw: Buffer.of(1, 2) }));
    const after1 = await server().metrics();
    const labels = (outcome: string): Record<string, string> => ({
      model: 'ident_UINT8',
      version: '1',
      protocol: 'grpc',
      outcome,
    });
    for (const outcome of ['ok', 'invalid']) {
      assert.equal(
        after1.value('shoal_requests_total', labels(outcome)) - before.value('shoal_requests_total', labels(outcome)),
        1,
        outcome,
      );
    }
  });

  it('tells how long the stages took in a trailer', async () => {
    const { trailers } = await client.call('ModelInfer', add2());
    assert.match(String(trailers.get('server-timing')[0]), /^decode;dur=[\d.]+, queue;dur=.*total;dur=[\d.]+$/);
  });

  it('takes compressed messages', async () => {
    const compressing = new GrpcClient(client.address, { 'grpc.default_compression_algorithm': 2 });
    const reply = await compressing.infer(ident('FP32', [1, 1000], { raw: Buffer.alloc(4000) }));
    compressing.close();
    assert.deepEqual(reply.raw_output_contents, [Buffer.alloc(4000)]);
  });
});

function names({ outputs }: GrpcReply): string[] {
  return outputs.map((output) => output.name);
}
