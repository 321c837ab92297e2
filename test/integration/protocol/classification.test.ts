import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeStrings } from '../../../src/tensor/tensor.ts';
import { add2, flat0, ident, idents, mat2, scalar0 } from '../../support/models.ts';
import {
  type BinaryReply,
  expectError,
  type InferRequest,
  parseBinaryReply,
  parseReply,
  useServer,
} from '../../support/server.ts';

const VALUES = { name: 'x', datatype: 'FP32', shape: [1, 4], data: [1.1, 3.3, 0.5, 2.4] };

describe('classification', () => {
  const running = useServer(
    () => ({
      ...idents(),
      labelled: {
        '1': add2(),
        'config.pbtxt': Buffer.from('output [{ name: "sum" label_filename: "labels.txt" }, { name: "diff" }]'),
        'labels.txt': Buffer.from('cat\ngroßer Hund\ncow\n'),
      },
      ident: ident('FP32'),
      add2: add2(),
      mat2: mat2(),
      flat0: flat0(),
      scalar0: scalar0(),
    }),
    {
      maxBatchSize: 8,
    },
  );
  const ask = (classification: unknown, x: object = VALUES, more: object = {}): InferRequest => ({
    inputs: [x],
    outputs: [{ name: 'y', parameters: { classification, ...more } }],
  });
  const top = async (model: string, request: InferRequest): Promise<unknown> =>
    parseReply(await running().infer(model, request)).outputs;

  it('case 57: the k largest come as texts of value and index, never more than there are', async () => {
    const y = { name: 'y', datatype: 'BYTES' };
    assert.deepEqual(await top('ident', ask(2)), [{ ...y, shape: [1, 2], data: ['3.300000:1', '2.400000:3'] }]);
    assert.deepEqual(await top('ident', ask(9)), [
      { ...y, shape: [1, 4], data: ['3.300000:1', '2.400000:3', '1.100000:0', '0.500000:2'] },
    ]);
    assert.deepEqual(await top('ident', ask(Number.MAX_SAFE_INTEGER)), await top('ident', ask(9)));
    for (const off of [0, null]) assert.deepEqual(await top('ident', ask(off)), [{ ...VALUES, name: 'y' }]);
  });

  it('case 57: what cannot be ranked is refused before it runs', async () => {
    const before = await running().statistics('ident_BYTES');
    const refuse = async (model: string, request: InferRequest, text: RegExp): Promise<void> => {
      expectError(await running().infer(model, request), 'INVALID_REQUEST', text);
    };
    const words = { name: 'x', datatype: 'BYTES', shape: [1, 2], data: ['a', 'b'] };
    await refuse('ident_BYTES', ask(2, words), /output 'y' is BYTES, of which there is no classification/);
    await refuse('ident_BYTES', ask(2, words, { binary_data: true }), /BYTES/);
    await refuse('ident_BOOL', ask(1, { ...words, datatype: 'BOOL', data: [true, false] }), /BOOL/);
    assert.deepEqual(await running().statistics('ident_BYTES'), before);
    for (const wrong of [-1, 1.5, '2', true, [2], { k: 2 }])
      await refuse('ident', ask(wrong), /classification of output 'y' is .*, expected an integer of 0 or more/);
    await refuse('ident', { inputs: [VALUES], outputs: [{ name: 'z', parameters: { classification: 1 } }] }, /'z'/);
    await refuse('ident', ask(1, { ...VALUES, shape: [1, 0], data: [] }), /'y' of shape \[1,0\] has no elements/);
  });

  it('case 57: FP16 is refused in JSON and in binary', async () => {
    const x = { name: 'x', datatype: 'FP16', shape: [1, 1], parameters: { binary_data_size: 2 } };
    for (const binary_data of [true, false]) {
      const answer = await running().inferBinary('ident_FP16', ask(1, x, { binary_data }), [Buffer.from([0, 0x3c])]);
      expectError(answer, 'INVALID_REQUEST', /output 'y' is FP16, of which there is no classification/);
    }
  });

  it('rows are ranked each for itself, also of callers who share a run', async () => {
    const two = { ...VALUES, shape: [2, 3], data: [1, 2, 3, 6, 5, 4] };
    const expected = {
      name: 'y',
      datatype: 'BYTES',
      shape: [2, 2],
      data: ['3.000000:2', '2.000000:1', '6.000000:0', '5.000000:1'],
    };
    assert.deepEqual(await top('ident', ask(2, two)), [expected]);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => top('ident', ask(1, { ...VALUES, data: [i, i + 0.5, -i, 0] }))),
    );
    assert.deepEqual(
      answers,
      Array.from({ length: 20 }, (_, i) => [{ name: 'y', datatype: 'BYTES', shape: [1, 1], data: [`${i}.500000:1`] }]),
    );
  });

  it('a model without rows is ranked as a whole, a scalar included', async () => {
    const square = { ...VALUES, shape: [2, 2], data: [1, 4, 3, 2] };
    assert.deepEqual(await top('flat0', ask(3, square)), [
      { name: 'y', datatype: 'BYTES', shape: [3], data: ['4.000000:1', '3.000000:2', '2.000000:3'] },
    ]);
    assert.deepEqual(await top('scalar0', ask(3, { ...VALUES, shape: [], data: [7] })), [
      { name: 'y', datatype: 'BYTES', shape: [1], data: ['7.000000:0'] },
    ]);
  });

  it('every integer is ranked and written exactly', async () => {
    for (const [datatype, data, expected] of [
      ['INT8', '[-128,127]', ['127:1', '-128:0']],
      ['UINT8', '[1,255]', ['255:1', '1:0']],
      ['INT16', '[-5,3]', ['3:1', '-5:0']],
      ['UINT16', '[65535,3]', ['65535:0', '3:1']],
      ['INT32', '[-2147483648,3]', ['3:1', '-2147483648:0']],
      ['UINT32', '[4294967295,4294967294]', ['4294967295:0', '4294967294:1']],
      ['INT64', '[9007199254740992,9007199254740993]', ['9007199254740993:1', '9007199254740992:0']],
      ['UINT64', '[18446744073709551614,18446744073709551615]', ['18446744073709551615:1', '18446744073709551614:0']],
      ['FP64', '[0.1,1e21]', ['1000000000000000000000.000000:1', '0.100000:0']],
    ] as const) {
      const text = `{"inputs":[{"name":"x","datatype":"${datatype}","shape":[1,2],"data":${data}}],"outputs":[{"name":"y","parameters":{"classification":2}}]}`;
      const [y] = parseReply(await running().infer(`ident_${datatype}`, text)).outputs;
      assert.deepEqual(y?.data, expected, datatype);
    }
  });

  it('equal values keep their order, and NaN comes last', async () => {
    const text =
      '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,5],"data":[1,NaN,1,-Infinity,2]}],"outputs":[{"name":"y","parameters":{"classification":5}}]}';
    const [y] = parseReply(await running().infer('ident', text)).outputs;
    assert.deepEqual(y?.data, ['2.000000:4', '1.000000:0', '1.000000:2', '-inf:3', 'nan:1']);
  });

  it('one output may be classified beside another that is not, in JSON and in binary', async () => {
    const a = { name: 'a', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] };
    const both = (parameters: object): InferRequest => ({
      inputs: [a, { ...a, name: 'b', data: [9, 0, 0, 0] }],
      outputs: [
        { name: 'diff', parameters: { classification: 1, ...parameters } },
        { name: 'sum', parameters },
      ],
    });
    const json = parseReply(await running().infer('add2', both({}))).outputs;
    assert.deepEqual(json, [
      { name: 'diff', datatype: 'BYTES', shape: [1, 1], data: ['4.000000:3'] },
      { name: 'sum', datatype: 'FP32', shape: [1, 4], data: [10, 2, 3, 4] },
    ]);
    const binary: BinaryReply = parseBinaryReply(await running().infer('add2', both({ binary_data: true })));
    assert.deepEqual(binary.reply.outputs, [
      { name: 'diff', datatype: 'BYTES', shape: [1, 1], parameters: { binary_data_size: 14 } },
      { name: 'sum', datatype: 'FP32', shape: [1, 4], parameters: { binary_data_size: 16 } },
    ]);
    assert.deepEqual(decodeStrings(binary.sections[0]!, 1), ['4.000000:3']);
  });

  it('a large row is ranked whole, and others are answered meanwhile', async () => {
    const length = 400_000;
    const values = Float32Array.from({ length }, (_, i) => (i * 7919) % length);
    const x = { name: 'x', datatype: 'FP32', shape: [1, length], parameters: { binary_data_size: 4 * length } };
    const bytes = Buffer.from(values.buffer);
    let large = true;
    const done = running()
      .inferBinary('mat2', ask(length, x, { binary_data: true }), [bytes])
      .finally(() => {
        large = false;
      });
    let meanwhile = 0;
    while (large) {
      parseReply(await running().infer('ident', ask(1)));
      meanwhile++;
    }
    assert.ok(meanwhile > 3, `${meanwhile} answers meanwhile`);
    const { reply, sections } = parseBinaryReply(await done);
    assert.deepEqual(reply.outputs[0]!.shape, [1, length]);
    const texts = decodeStrings(sections[0]!, length);
    assert.equal(texts[0], `${length - 1}.000000:${values.indexOf(length - 1)}`);
    assert.equal(texts.at(-1), '0.000000:0');
  });

  it('case 57: classes are named where the configuration names a file of labels', async () => {
    const outputs = [{ name: 'sum', parameters: { classification: 3 } }];
    const a = { name: 'a', datatype: 'FP32', shape: [2, 4], data: [1, 9, 3, 4, 5, 6, 7, 8] };
    const b = { ...a, name: 'b', data: [0, 0, 0, 0, 0, 0, 0, 1] };
    const [sum] = parseReply(await running().infer('labelled', { inputs: [a, b], outputs })).outputs;
    assert.deepEqual(sum!.shape, [2, 3]);
    // The last class has no label.
    assert.deepEqual(sum!.data, [
      '9.000000:1:großer Hund',
      '4.000000:3',
      '3.000000:2:cow',
      '9.000000:3',
      '7.000000:2:cow',
      '6.000000:1:großer Hund',
    ]);
    const [diff] = parseReply(
      await running().infer('labelled', { inputs: [a, b], outputs: [{ ...outputs[0], name: 'diff' }] }),
    ).outputs;
    assert.deepEqual(diff!.data?.[0], '9.000000:1');
  });

  it('the extension is advertised', async () => {
    const { extensions } = (await running().json('/v2')) as { extensions: string[] };
    assert.ok(extensions.includes('classification'));
  });
});
