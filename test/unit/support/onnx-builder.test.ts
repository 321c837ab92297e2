import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PbfReader } from 'pbf';
import { type Attribute, encodeModel, fp32, type Graph, type Model, node, tensor } from '../../support/onnx-builder.ts';
import { feed, type OrtTensor, runModel } from '../../support/run-model.ts';

async function run(model: Model, feeds: Record<string, OrtTensor>): Promise<ReadonlyMap<string, OrtTensor>> {
  const { loadError, runs } = await runModel(encodeModel(model), [feeds]);
  assert.equal(loadError, undefined);
  const [first] = runs;
  assert.ok(first && 'outputs' in first, first && 'error' in first ? first.error : 'no answer');
  return first.outputs;
}

describe('the ONNX builder', { concurrency: 2 }, () => {
  it('writes every kind of attribute', async () => {
    const constants: [string, Attribute, OrtTensor][] = [
      ['value_int', { int: -3 }, feed('INT64', [], [-3])],
      ['value_float', { float: 0.5 }, feed('FP32', [], [0.5])],
      ['value_string', { string: 'é' }, feed('BYTES', [], ['é'])],
      ['value_ints', { ints: [-1, 300, 2 ** 40] }, feed('INT64', [3], [-1, 300, 2 ** 40])],
      ['value_floats', { floats: [0.25, -1] }, feed('FP32', [2], [0.25, -1])],
      ['value_strings', { strings: ['', 'b'] }, feed('BYTES', [2], ['', 'b'])],
      ['value', { tensor: fp32('', [1, 2], [2, 1]) }, feed('FP32', [2, 1], [1, 2])],
    ];
    const outputs = await run(
      {
        inputs: [],
        outputs: constants.map(([name, , { type, dims }]) =>
          tensor(name, type === 'int64' ? 'INT64' : type === 'float32' ? 'FP32' : 'BYTES', dims),
        ),
        nodes: constants.map(([name, attribute]) => node('Constant', [], [name], { [name]: attribute })),
      },
      {},
    );
    for (const [name, , expected] of constants) assert.deepEqual(outputs.get(name), expected, name);
  });

  it('writes sub-graphs and constants of strings', async () => {
    const branch = (word: string): Graph => ({
      inputs: [],
      outputs: [tensor(word, 'BYTES', [1])],
      nodes: [node('Identity', [`${word}Constant`], [word])],
      initializers: [{ name: `${word}Constant`, element: 'BYTES', dims: [1], data: { strings: [word] } }],
    });
    const model: Model = {
      inputs: [tensor('which', 'BOOL', [])],
      outputs: [tensor('word', 'BYTES', [1])],
      nodes: [
        node('If', ['which'], ['word'], {
          then_branch: { graph: branch('yes') },
          else_branch: { graph: branch('no') },
        }),
      ],
    };
    for (const [which, word] of [
      [1, 'yes'],
      [0, 'no'],
    ] as const) {
      const outputs = await run(model, { which: feed('BOOL', [], [which]) });
      assert.deepEqual(outputs.get('word'), feed('BYTES', [1], [word]));
    }
  });

  it('writes versions, operator sets and metadata where ModelProto has them', () => {
    const bytes = encodeModel({
      irVersion: 10,
      opset: 21,
      domains: { 'com.microsoft': 1 },
      metadata: { labels: 'a,b' },
      inputs: [],
      outputs: [],
      nodes: [],
    });
    const found: [number, string | number][] = [];
    const pbf = new PbfReader(bytes);
    for (let field = pbf.nextField(); field !== 0; field = pbf.nextField()) {
      found.push([field, field === 1 ? pbf.readVarint() : Buffer.from(pbf.readBytes()).toString('latin1')]);
    }
    assert.deepEqual(found, [
      [1, 10],
      [2, 'shoal-tests'],
      [7, '\x12\x05graph'],
      [8, '\x0a\x00\x10\x15'],
      [8, '\x0a\x0dcom.microsoft\x10\x01'],
      [14, '\x0a\x06labels\x12\x03a,b'],
    ]);
  });
});
