import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import {
  add2,
  fixedBatch,
  flat0,
  ident,
  mat2,
  type RepositoryContent,
  scalar0,
  softmaxAxis0,
  stateModel,
} from '../../support/models.ts';
import { encodeModel, node, tensor } from '../../support/onnx-builder.ts';
import {
  type Answer,
  expectError,
  parseJson,
  parseReply,
  startServer,
  type TestServer,
  useServer,
} from '../../support/server.ts';

type Folder = Exclude<RepositoryContent[string], Uint8Array>;

function configured(model: Uint8Array, config: string, more: Readonly<Record<string, string>> = {}): Folder {
  const files = Object.entries(more).map(([name, text]) => [name, Buffer.from(text)]);
  return { 1: model, 'config.pbtxt': Buffer.from(config), ...Object.fromEntries(files) };
}

interface ConfigReply {
  readonly max_batch_size: number;
  readonly input: { readonly name: string; readonly dims: number[]; readonly reshape?: { readonly shape: number[] } }[];
  readonly output: { readonly name: string; readonly dims: number[]; readonly label_filename: string }[];
  readonly dynamic_batching?: Readonly<Record<string, unknown>>;
  readonly instance_group: { readonly kind: string; readonly count: number }[];
}

async function configOf(server: TestServer, model: string): Promise<ConfigReply> {
  return parseJson(await server.get(`/v2/models/${model}/config`), 200) as ConfigReply;
}

/** Shapes by name, as the metadata has them. */
async function shapesOf(server: TestServer, model: string): Promise<Record<string, number[]>> {
  const { inputs, outputs } = parseJson(await server.get(`/v2/models/${model}`), 200) as Record<
    'inputs' | 'outputs',
    { name: string; shape: number[] }[]
  >;
  return Object.fromEntries([...inputs, ...outputs].map(({ name, shape }) => [name, shape]));
}

function summaryOf(server: TestServer, model: string) {
  return server.server.summary().find(({ name }) => name === model)!;
}

const fp32 = (name: string, shape: number[], data: number[]) => ({ name, datatype: 'FP32', shape, data });
const x = (shape: number[], data: number[]) => ({ inputs: [fp32('x', shape, data)] });

/** FP32 `x` [N] → `y` = x + x. */
function rank1(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N'])],
    outputs: [tensor('y', 'FP32', ['N'])],
    nodes: [node('Add', ['x', 'x'], ['y'])],
  });
}

/** FP32 `data_0` [1, 3, 4, 4] → `fc6_1` [1, 3, 1, 1], the means of its planes: the shapes of an image classifier. */
function classifier(): Buffer {
  return encodeModel({
    inputs: [tensor('data_0', 'FP32', [1, 3, 4, 4])],
    outputs: [tensor('fc6_1', 'FP32', [1, 3, 1, 1])],
    nodes: [node('GlobalAveragePool', ['data_0'], ['fc6_1'])],
  });
}

/** FP32 `x` of undeclared shape → `y` = x + x. */
function shapeless(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32')],
    outputs: [tensor('y', 'FP32')],
    nodes: [node('Add', ['x', 'x'], ['y'])],
  });
}

describe('a repository with configurations', () => {
  const given = useServer(() => ({
    labelled: configured(
      add2(),
      `# As Triton's examples have it
       name: "labelled"
       backend: "onnxruntime"
       max_batch_size: 4
       input [ { name: "a" data_type: TYPE_FP32 dims: [ 4 ] }, { name: "b" data_type: TYPE_FP32 dims: [ 4 ] } ]
       output [ { name: "diff" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt" } ]
       dynamic_batching { max_queue_delay_microseconds: 200 }
       instance_group [ { count: 2 kind: KIND_CPU } ]
       parameters { key: "intra_op_thread_count" value: { string_value: "2" } }`,
      { 'labels.txt': 'cat\ndog\nmouse\nbird\n' },
    ),
    fixed: configured(ident('FP32'), 'max_batch_size: 4 input { name: "x" dims: 3 } output { name: "y" dims: 3 }'),
    zero: configured(add2(), 'max_batch_size: 0'),
    reshaped: configured(
      rank1(),
      'max_batch_size: 8 input { name: "x" dims: 1 reshape { } } output { name: "y" dims: [1, 1] reshape { } }',
    ),
    shapeless: configured(
      shapeless(),
      'max_batch_size: 8 input { name: "x" dims: [2] } output { name: "y" dims: [2] }',
    ),
    leaking: configured(softmaxAxis0(), 'max_batch_size: 4'),
    insisting: configured(softmaxAxis0(), 'max_batch_size: 4 dynamic_batching { }'),
    state: configured(stateModel(), 'max_batch_size: 0'),
    classifier: configured(
      classifier(),
      `name: "classifier"
       platform: "onnxruntime_onnx"
       max_batch_size : 0
       input [
         {
           name: "data_0"
           data_type: TYPE_FP32
           format: FORMAT_NCHW
           dims: [ 3, 4, 4 ]
           reshape { shape: [ 1, 3, 4, 4 ] }
         }
       ]
       output [
         {
           name: "fc6_1"
           data_type: TYPE_FP32
           dims: [ 3 ]
           reshape { shape: [ 1, 3, 1, 1 ] }
           label_filename: "labels.txt"
         }
       ]`,
      { 'labels.txt': 'red\ngreen\nblue' },
    ),
    fixedInside: configured(mat2(), 'input { name: "x" dims: [1, 4] }'),
  }));

  it('serves the outputs it lists, with the labels they name', async () => {
    const server = given();
    const inputs = [fp32('a', [1, 4], [1, 2, 3, 4]), fp32('b', [1, 4], [1, 1, 1, 1])];
    const reply = parseReply(await server.infer('labelled', { inputs }));
    assert.deepEqual(
      reply.outputs.map(({ name, data }) => [name, data]),
      [['diff', [0, 1, 2, 3]]],
    );
    expectError(
      await server.infer('labelled', { inputs, outputs: [{ name: 'sum' }] }),
      'INVALID_REQUEST',
      /no output 'sum', only 'diff'/,
    );
    assert.deepEqual(await shapesOf(server, 'labelled'), { a: [-1, 4], b: [-1, 4], diff: [-1, 4] });
    const outputs = [{ name: 'diff', parameters: { classification: 1 } }];
    assert.deepEqual(parseReply(await server.infer('labelled', { inputs, outputs })).outputs[0]!.data, [
      '3.000000:3:bird',
    ]);
    const config = await configOf(server, 'labelled');
    assert.deepEqual(
      config.output.map(({ name, dims, label_filename }) => [name, dims, label_filename]),
      [['diff', [4], 'labels.txt']],
    );
  });

  it('takes the limits, the window, the instances and the threads from it', async () => {
    const server = given();
    const rows = (n: number) => ({ inputs: ['a', 'b'].map((name) => fp32(name, [n, 4], new Array(4 * n).fill(1))) });
    parseReply(await server.infer('labelled', rows(4)));
    expectError(
      await server.infer('labelled', rows(5)),
      'INVALID_REQUEST',
      /has 5 rows, model 'labelled' takes at most 4/,
    );
    const config = await configOf(server, 'labelled');
    assert.equal(config.max_batch_size, 4);
    assert.equal(config.dynamic_batching!['max_queue_delay_microseconds'], 200);
    assert.deepEqual([config.instance_group[0]!.kind, config.instance_group[0]!.count], ['KIND_CPU', 2]);
    const { threads, maxInstances, providerReason } = summaryOf(server, 'labelled');
    assert.deepEqual([threads, maxInstances, providerReason], [2, 2, 'KIND_CPU in config.pbtxt']);
    assert.match(
      summaryOf(server, 'labelled').configuration!,
      /^config.pbtxt: max_batch_size 4, version_policy latest 1, /,
    );
  });

  it('fixes dimensions that the file leaves free', async () => {
    const server = given();
    assert.deepEqual(await shapesOf(server, 'fixed'), { x: [-1, 3], y: [-1, 3] });
    parseReply(await server.infer('fixed', x([2, 3], [1, 2, 3, 4, 5, 6])));
    expectError(await server.infer('fixed', x([1, 2], [1, 2])), 'INVALID_REQUEST', /shape \[1,2\], expected \[-1,3\]/);
    assert.deepEqual(await shapesOf(server, 'fixedInside'), { x: [1, 4], y: [-1, -1] });
    assert.match(summaryOf(server, 'fixedInside').batching, /^unbatched/);
  });

  it('does not stack rows with max_batch_size 0', async () => {
    const server = given();
    const config = await configOf(server, 'zero');
    assert.deepEqual([config.max_batch_size, config.input[0]!.dims, config.dynamic_batching], [0, [-1, 4], undefined]);
    assert.equal(summaryOf(server, 'zero').batching, 'unbatched: max_batch_size is 0 in config.pbtxt');
    const inputs = ['a', 'b'].map((name) => fp32(name, [200, 4], new Array(800).fill(1)));
    assert.equal(parseReply(await server.infer('zero', { inputs })).outputs[0]!.data!.length, 800);
  });

  it('batches along other axes with max_batch_size 0 all the same', async () => {
    const server = given();
    assert.match(summaryOf(server, 'state').batching, /^batched/);
    const config = await configOf(server, 'state');
    assert.deepEqual([config.max_batch_size, config.input[1]!.dims], [0, [2, -1, 8]]);
    assert.ok(config.dynamic_batching !== undefined);
  });

  it('gives the model the shapes of reshape, and callers those of dims, in shared runs, too', async () => {
    const server = given();
    assert.deepEqual(await shapesOf(server, 'reshaped'), { x: [-1, 1], y: [-1, 1, 1] });
    const replies = await Promise.all(
      [[1], [2, 3], [4]].map((values) => server.infer('reshaped', x([values.length, 1], values))),
    );
    assert.deepEqual(
      replies.map((answer) => parseReply(answer).outputs.map(({ shape, data }) => [shape, data])),
      [
        [[[1, 1, 1], [2]]],
        [
          [
            [2, 1, 1],
            [4, 6],
          ],
        ],
        [[[1, 1, 1], [8]]],
      ],
    );
    expectError(await server.infer('reshaped', x([2], [1, 2])), 'INVALID_REQUEST', /expected \[-1,1\]/);
    const config = await configOf(server, 'reshaped');
    assert.deepEqual([config.input[0]!.dims, config.input[0]!.reshape], [[1], { shape: [] }]);
  });

  it('serves the classifier of Triton’s quickstart as its clients expect it', async () => {
    const server = given();
    assert.deepEqual(await shapesOf(server, 'classifier'), { data_0: [3, 4, 4], fc6_1: [3] });
    const data = Array.from({ length: 48 }, (_, i) => Math.floor(i / 16));
    const inputs = [fp32('data_0', [3, 4, 4], data)];
    const outputs = [{ name: 'fc6_1', parameters: { classification: 2 } }];
    const [ranked] = parseReply(await server.infer('classifier', { inputs, outputs })).outputs;
    assert.deepEqual([ranked!.shape, ranked!.data], [[2], ['2.000000:2:blue', '1.000000:1:green']]);
    const [plain] = parseReply(await server.infer('classifier', { inputs })).outputs;
    assert.deepEqual([plain!.shape, plain!.data], [[3], [0, 1, 2]]);
    assert.deepEqual((await configOf(server, 'classifier')).input[0]!.reshape, { shape: [1, 3, 4, 4] });
  });

  it('says the shape of tensors that the file says nothing of', async () => {
    const server = given();
    assert.deepEqual(await shapesOf(server, 'shapeless'), { x: [-1, 2], y: [-1, 2] });
    assert.match(summaryOf(server, 'shapeless').batching, /^batched/);
    expectError(await server.infer('shapeless', x([1, 3], [1, 2, 3])), 'INVALID_REQUEST', /expected \[-1,2\]/);
  });

  it('lets requests have rows where runs cannot be shared, one by one', async () => {
    const server = given();
    const config = await configOf(server, 'leaking');
    assert.deepEqual([config.max_batch_size, config.dynamic_batching, config.input[0]!.dims], [4, undefined, [4]]);
    assert.match(summaryOf(server, 'leaking').batching, /^unbatched: rows influence each other.*insist/);
    const two = x([2, 4], [0, 0, 0, 0, 0, 0, 0, 0]);
    const replies = await Promise.all([0, 1, 2, 3].map(() => server.infer('leaking', two)));
    for (const answer of replies) assert.deepEqual(parseReply(answer).outputs[0]!.data, new Array(8).fill(0.5));
    expectError(await server.infer('leaking', x([5, 4], new Array(20).fill(0))), 'INVALID_REQUEST', /at most 4/);
    const { inference_count, execution_count } = await server.statistics('leaking');
    assert.deepEqual([inference_count, execution_count], [8, 4]);
  });

  it('batches a model whose configuration insists, and says so', async () => {
    const server = given();
    assert.match(
      summaryOf(server, 'insisting').batching,
      /^batched: dynamic_batching in config.pbtxt insists on it, although the probe says: rows influence each other/,
    );
    assert.ok((await configOf(server, 'insisting')).dynamic_batching !== undefined);
  });
});

describe('a configuration that does not fit its model', () => {
  const wrong: Record<string, [model: Buffer, config: string, reason: RegExp]> = {
    name: [add2(), 'name: "other"', /^config.pbtxt: name is 'other', expected the folder's name/],
    unsupported: [add2(), 'sequence_batching { }', /^config.pbtxt: sequence_batching is not supported: /],
    input: [add2(), 'input { name: "c" dims: 4 }', /^config.pbtxt has input 'c', the model file has 'a', 'b'$/],
    output: [add2(), 'output { name: "c" dims: 4 }', /^config.pbtxt has output 'c', the model file has 'sum', 'diff'$/],
    type: [
      add2(),
      'input { name: "a" data_type: TYPE_INT32 }',
      /input 'a' as TYPE_INT32, the model file as TYPE_FP32$/,
    ],
    dims: [
      add2(),
      'max_batch_size: 8 input { name: "a" dims: 5 }',
      /^config.pbtxt gives input 'a' the shape \[-1,5\], the model file has \[-1,4\]$/,
    ],
    rank: [add2(), 'input { name: "a" dims: 4 }', /gives input 'a' the shape \[4\], the model file has \[-1,4\]$/],
    free: [flat0(), 'input { name: "x" dims: [2, -1] }', /the shape \[2,-1\], the model file has \[2,2\]$/],
    fixed: [
      fixedBatch(),
      'max_batch_size: 8',
      /^config.pbtxt has max_batch_size 8, .*input 'x' has shape \[1,4\] in the model file/,
    ],
    scalar: [
      scalar0(),
      'max_batch_size: 8',
      /^config.pbtxt has max_batch_size 8, .*input 'x' has shape \[\] in the model file/,
    ],
    axis: [stateModel(), 'max_batch_size: 8', /max_batch_size 8, .*input 'state' has shape \[2,-1,8\]/],
    gpu: [
      add2(),
      'instance_group { kind: KIND_GPU }',
      /instance_group of KIND_GPU, but models of this server run on the CPU/,
    ],
  };
  const given = useServer(
    () => Object.fromEntries(Object.entries(wrong).map(([name, [model, config]]) => [name, configured(model, config)])),
    { provider: 'cpu' },
  );
  for (const [name, [, config, reason]] of Object.entries(wrong)) {
    it(`fails alone, with both in its reason: ${config}`, async () => {
      const summary = summaryOf(given(), name);
      assert.equal(summary.state, 'failed');
      assert.match(summary.reason!, reason);
      expectError(await given().infer(name, { inputs: [] }), 'MODEL_NOT_READY');
    });
  }
});

it('is read again when its model is loaded again', async (t) => {
  const server = await startServer(
    t,
    { m: configured(add2(), 'max_batch_size: 2') },
    { modelControlMode: 'explicit', loadModel: ['m'] },
  );
  const load = (body = ''): Promise<Answer> => server.send('POST', '/v2/repository/models/m/load', body);
  assert.equal((await configOf(server, 'm')).max_batch_size, 2);
  writeFileSync(path.join(server.folder, 'm/config.pbtxt'), 'max_batch_size: 3');
  assert.equal((await load()).status, 200);
  assert.equal((await configOf(server, 'm')).max_batch_size, 3);
  const override = JSON.stringify({ max_batch_size: 4, parameters: { mine: { string_value: 'kept' } } });
  assert.equal((await load(JSON.stringify({ parameters: { config: override } }))).status, 200);
  assert.equal((await configOf(server, 'm')).max_batch_size, 4);
  writeFileSync(path.join(server.folder, 'm/config.pbtxt'), 'max_batch_sice: 3');
  const failed = await load();
  assert.equal(failed.status, 400);
  assert.match(failed.body.toString(), /line 1: ModelConfig: unknown field 'max_batch_sice'/);
  assert.equal((await configOf(server, 'm')).max_batch_size, 4, 'the old one still serves');
});

describe('the queue of a configured model', () => {
  const BUSY = { inputs: [fp32('x', [1, 4], [1, 2, 3, 4])] };
  const fourFree = (): Buffer =>
    encodeModel({
      inputs: [tensor('x', 'FP32', ['N', 4])],
      outputs: [tensor('y', 'FP32', ['N', 4])],
      nodes: [node('Identity', ['x'], ['y'])],
    });

  it('starts a run when a preferred size is reached, long before its window is over', async (t) => {
    const config = `max_batch_size: 8 instance_group { count: 1 kind: KIND_CPU }
      dynamic_batching { preferred_batch_size: 3 max_queue_delay_microseconds: 60000000 }`;
    const server = await startServer(t, { m: configured(fourFree(), config) });
    const answers = await Promise.all([1, 2, 3].map(() => server.infer('m', BUSY)));
    for (const answer of answers) parseReply(answer);
    const { batch_stats } = await server.statistics('m');
    assert.deepEqual(
      batch_stats.map(({ batch_size }) => batch_size),
      [3],
    );
  });

  it('gives up what has waited for longer than its queue policy allows', async (t) => {
    const config = `max_batch_size: 8
      dynamic_batching {
        max_queue_delay_microseconds: 60000000
        default_queue_policy { default_timeout_microseconds: 20000 }
      }`;
    const server = await startServer(t, { m: configured(fourFree(), config) });
    expectError(await server.infer('m', BUSY), 'DEADLINE_EXCEEDED');
  });
});
