import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { expectError, type InferRequest, parseReply, useServer } from '../../support/server.ts';
import { fixtures } from './fixtures.ts';

/** Inference in JSON; the numbers are those of the protocol's conformance list. */

const A = { name: 'a', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] };
const B = { name: 'b', datatype: 'FP32', shape: [1, 4], data: [10, 20, 30, 40] };
const SUM = { name: 'sum', datatype: 'FP32', shape: [1, 4], data: [11, 22, 33, 44] };
const DIFF = { name: 'diff', datatype: 'FP32', shape: [1, 4], data: [-9, -18, -27, -36] };

describe('inference in JSON', () => {
  const running = useServer(fixtures);

  const refuse = async (request: InferRequest | string, text: RegExp, model = 'add2'): Promise<void> => {
    expectError(await running().infer(model, request), 'INVALID_REQUEST', text);
  };

  /** Sends the text of an array through the identity model of a type; the text of the array that comes back. */
  const echo = async (datatype: string, data: string, count: number): Promise<string> => {
    const request = `{"inputs":[{"name":"x","datatype":"${datatype}","shape":[1,${count}],"data":${data}}]}`;
    const answer = await running().infer(`ident_${datatype}`, request);
    assert.equal(parseReply(answer).outputs[0]!.datatype, datatype);
    return /"data":(\[.*\])\}\]\}$/.exec(answer.body.toString())![1]!;
  };

  it('case 15: flat data without a content type gives flat outputs in the order of the model', async () => {
    const answer = await running().infer('add2', { inputs: [A, B] });
    assert.deepEqual(parseReply(answer), { model_name: 'add2', model_version: '2', outputs: [SUM, DIFF] });
    assert.equal(answer.headers['content-length'], String(answer.body.length));
  });

  it('case 16: the content type of a request decides nothing', async () => {
    for (const type of [
      'application/x-www-form-urlencoded',
      'application/octet-stream',
      'bogus',
      'application/json; charset=utf-8',
      'text/html',
      'multipart/form-data',
      '',
    ]) {
      const answer = await running().infer('add2', { inputs: [A, B] }, { 'content-type': type });
      assert.deepEqual(parseReply(answer).outputs, [SUM, DIFF], type);
    }
  });

  it('case 17: nested data is the same as flat data', async () => {
    for (const data of [
      [[1, 2, 3, 4]],
      [
        [1, 2],
        [3, 4],
      ],
      [[[1]], [[2]], [[3]], [[4]]],
    ]) {
      const reply = parseReply(await running().infer('add2', { inputs: [{ ...A, data }, B] }));
      assert.deepEqual(reply.outputs, [SUM, DIFF]);
    }
  });

  it('case 18: the batch dimension is required, equal and within the limit', async () => {
    const rows = (n: number, shape = [n, 4]): object => ({ ...A, shape, data: Array(n * 4).fill(1) });
    const eight = parseReply(await running().infer('add2', { inputs: [rows(8), { ...rows(8), name: 'b' }] }));
    assert.deepEqual(eight.outputs[0]!.shape, [8, 4]);
    assert.deepEqual(eight.outputs[0]!.data, Array(32).fill(2));
    await refuse({ inputs: [rows(9), { ...rows(9), name: 'b' }] }, /9 rows.*at most 8/);
    await refuse({ inputs: [rows(0), { ...rows(0), name: 'b' }] }, /at least one row/);
    await refuse({ inputs: [rows(1, [4]), { ...rows(1, [4]), name: 'b' }] }, /'a'.*\[4\].*\[-1,4\].*first dimension/);
    await refuse({ inputs: [rows(2), B] }, /'a' has 2, 'b' has 1/);
    await refuse({ inputs: [rows(1, [1, 1, 4]), B] }, /'a'.*\[1,1,4\]/);
    await refuse({ inputs: [{ ...A, shape: [1, 5], data: [1, 2, 3, 4, 5] }, B] }, /'a'.*\[1,5\].*\[-1,4\]/);
  });

  it('case 19: an id is echoed; an empty one counts as none', async () => {
    assert.equal(parseReply(await running().infer('add2', { id: '42', inputs: [A, B] })).id, '42');
    const text = 'é"\\\n日本 😀 \u0001';
    assert.equal(parseReply(await running().infer('add2', { id: text, inputs: [A, B] })).id, text);
    for (const id of ['', null, undefined]) {
      const reply = parseReply(await running().infer('add2', { id, inputs: [A, B] }));
      assert.ok(!('id' in reply), `id ${id}`);
    }
    for (const id of [7, true, ['x'], {}]) await refuse({ id, inputs: [A, B] }, /id/);
  });

  it('case 20: outputs are chosen by name', async () => {
    const outputs = async (list: unknown): Promise<unknown> =>
      parseReply(await running().infer('add2', { inputs: [A, B], outputs: list })).outputs;
    assert.deepEqual(await outputs([{ name: 'diff' }]), [DIFF]);
    assert.deepEqual(await outputs([{ name: 'diff' }, { name: 'sum' }]), [DIFF, SUM]);
    assert.deepEqual(await outputs([]), [SUM, DIFF]);
    assert.deepEqual(await outputs(null), [SUM, DIFF]);
    await refuse({ inputs: [A, B], outputs: [{ name: 'nope' }] }, /'nope'.*'sum', 'diff'/);
    await refuse({ inputs: [A, B], outputs: [{ name: 'sum' }, { name: 'sum' }] }, /'sum'.*twice/);
    for (const wrong of [5, 'sum', {}, [5], [{}], [{ name: 5 }], [null]])
      await refuse({ inputs: [A, B], outputs: wrong }, /output/);
  });

  it('case 21: a version in the path is the one that answers', async () => {
    const path = (version: string): string => `/v2/models/add2/versions/${version}/infer`;
    const body = JSON.stringify({ inputs: [A, B] });
    assert.equal(parseReply(await running().send('POST', path('1'), body)).model_version, '1');
    expectError(await running().send('POST', path('9'), body), 'MODEL_NOT_FOUND', /'9'/);
  });

  it('case 22: inputs are those of the model, each once', async () => {
    await refuse({ inputs: [A] }, /'b'/);
    await refuse({ inputs: [A, B, { ...A, name: 'c' }] }, /'c'/);
    await refuse({ inputs: [A, A, B] }, /'a'/);
    await refuse({ inputs: [] }, /'a'/);
    await refuse({}, /inputs/);
    for (const wrong of [null, 5, 'a', {}, [5], [null], [[]]]) await refuse({ inputs: wrong }, /input/);
    await refuse({ inputs: [{ ...A, name: 7 }, B] }, /name/);
    await refuse({ inputs: [{ ...A, name: undefined }, B] }, /name/);
    await refuse({ inputs: [{ ...A, name: '__proto__' }, B] }, /'a'|__proto__/);
  });

  it('case 23: the datatype is that of the model', async () => {
    await refuse({ inputs: [{ ...A, datatype: 'INT32' }, B] }, /'a'.*FP32.*INT32/);
    await refuse({ inputs: [{ ...A, datatype: 'BF16' }, B] }, /'a'.*BF16/);
    for (const datatype of ['fp32', 'FLOAT', '', 'constructor', 5, null, undefined])
      await refuse({ inputs: [{ ...A, datatype }, B] }, /'a'.*datatype|datatype.*'a'/);
  });

  it('case 24: a shape is a list of whole numbers, and nothing large is allocated for it', async () => {
    const before = process.memoryUsage().rss;
    for (const shape of [[1, -4], [1, 4.5], ['1', 4], [1, null], 4, '4', null, undefined, {}, [[1, 4]], [true, 4]])
      await refuse({ inputs: [{ ...A, shape }, B] }, /'a'.*shape|shape.*'a'/);
    for (const shape of ['[16,1152921504606846978]', '[1,1e308]', '[1,1e999]', '[4294967296,4294967296]']) {
      await refuse(
        `{"inputs":[{"name":"a","datatype":"FP32","shape":${shape},"data":[1]},${JSON.stringify(B)}]}`,
        /'a'/,
      );
    }
    await refuse({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2 ** 40], data: [1] }] }, /'x'/, 'ident_FP32');
    await refuse({ inputs: [{ ...A, shape: Array(100_000).fill(1) }, B] }, /'a'/);
    assert.ok(process.memoryUsage().rss - before < 200e6);
  });

  it('case 25: there are as many elements as the shape says', async () => {
    await refuse({ inputs: [{ ...A, data: [1, 2, 3] }, B] }, /'a'.*3/);
    await refuse({ inputs: [{ ...A, data: [1, 2, 3, 4, 5] }, B] }, /'a'/);
    await refuse({ inputs: [{ ...A, data: [] }, B] }, /'a'/);
    for (const data of [5, 'x', { 0: 1 }, true]) await refuse({ inputs: [{ ...A, data }, B] }, /'a'.*data|data.*'a'/);
    const nested = (depth: number): string =>
      `{"inputs":[{"name":"a","datatype":"FP32","shape":[1,4],"data":${'['.repeat(depth)}1,2,3,4${']'.repeat(depth)}},${JSON.stringify(B)}]}`;
    assert.deepEqual(parseReply(await running().infer('add2', nested(30))).outputs, [SUM, DIFF]);
    for (const depth of [101, 1000, 100_000]) await refuse(nested(depth), /nest|deep/);
  });

  it('case 26: each element is of the type, and the message names the tensor', async () => {
    for (const [datatype, data] of [
      ['FP32', '["1"]'],
      ['FP32', '[true]'],
      ['FP32', '[1e40]'],
      ['FP32', '[{}]'],
      ['FP64', '["1"]'],
      ['FP64', '[1e400]'],
      ['INT32', '[1.5]'],
      ['INT32', '[null]'],
      ['INT32', '["1"]'],
      ['INT32', '[true]'],
      ['INT32', '[2147483648]'],
      ['INT32', '[1e-1]'],
      ['UINT8', '[300]'],
      ['UINT8', '[-1]'],
      ['INT8', '[128]'],
      ['INT16', '[-32769]'],
      ['UINT16', '[65536]'],
      ['UINT32', '[4294967296]'],
      ['INT64', '[9223372036854775808]'],
      ['INT64', '[0.5]'],
      ['UINT64', '[18446744073709551616]'],
      ['UINT64', '[-1]'],
      ['BOOL', '["true"]'],
      ['BOOL', '[2]'],
      ['BOOL', '[null]'],
      ['BYTES', '[5]'],
      ['BYTES', '[null]'],
      ['BYTES', '[true]'],
      ['BYTES', '[{"b64":"AA=="}]'],
      ['BYTES', '["a\\u0000b"]'],
    ]) {
      const request = `{"inputs":[{"name":"x","datatype":"${datatype}","shape":[1,1],"data":${data}}]}`;
      expectError(await running().infer(`ident_${datatype}`, request), 'INVALID_REQUEST', /'x'/);
    }
  });

  it('case 27: booleans, also as 0 and 1', async () => {
    assert.equal(await echo('BOOL', '[true,false,1,0]', 4), '[true,false,true,false]');
  });

  it('case 28: integers of 64 bits come back digit for digit', async () => {
    const int64 = '[9007199254740993,-9223372036854775808,9223372036854775807,0,-1]';
    assert.equal(await echo('INT64', int64, 5), int64);
    const uint64 = '[18446744073709551615,9007199254740993,0]';
    assert.equal(await echo('UINT64', uint64, 3), uint64);
  });

  it('integers of every width come back exactly at their limits', async () => {
    for (const [datatype, least, most] of [
      ['INT8', -128, 127],
      ['INT16', -32768, 32767],
      ['INT32', -2147483648, 2147483647],
      ['UINT8', 0, 255],
      ['UINT16', 0, 65535],
      ['UINT32', 0, 4294967295],
    ] as const)
      assert.equal(await echo(datatype, `[${least},${most},7]`, 3), `[${least},${most},7]`);
    assert.equal(await echo('INT32', '[1.0,2e3,-0]', 3), '[1,2000,0]');
  });

  it('floating-point numbers come back as the same number', async () => {
    const fp32 = await echo('FP32', '[0.1,1e-45,3.4028234663852886e38,-0.0,16777217,1e-7]', 6);
    const numbers = (JSON.parse(fp32) as number[]).map(Math.fround);
    const expected = [0.1, 1e-45, 3.4028234663852886e38, -0, 16777217, 1e-7].map(Math.fround);
    assert.ok(
      numbers.every((x, i) => Object.is(x, expected[i])),
      fp32,
    );
    assert.match(fp32, /^\[0\.1,/, 'as short as it can be');
    const fp64 = '[0.1,5e-324,1.7976931348623157e+308,0.30000000000000004,9007199254740993]';
    assert.deepEqual(JSON.parse(await echo('FP64', fp64, 5)), JSON.parse(fp64));
  });

  it('case 29: what is not finite comes in as a token or null, and goes out as null', async () => {
    for (const datatype of ['FP32', 'FP64'])
      assert.equal(await echo(datatype, '[NaN,Infinity,-Infinity,null,1.5]', 5), '[null,null,null,null,1.5]', datatype);
    const request = '{"inputs":[{"name":"x","datatype":"INT32","shape":[1,1],"data":[NaN]}]}';
    await refuse(request, /'x'/, 'ident_INT32');
  });

  it('case 30: FP16 goes in binary only', async () => {
    const x = { name: 'x', datatype: 'FP16', shape: [1, 1], data: [1] };
    await refuse({ inputs: [x] }, /'x'.*FP16.*binary|'x'.*binary.*FP16|FP16.*'x'.*binary/, 'ident_FP16');
    const { data: _, ...rest } = x;
    const binary = { ...rest, parameters: { binary_data_size: 2 } };
    for (const outputs of [undefined, [], [{ name: 'y' }], [{ name: 'y', parameters: { binary_data: false } }]]) {
      const request = { inputs: [binary], outputs };
      const answer = await running().inferBinary('ident_FP16', request, [Buffer.of(0, 0x3c)]);
      expectError(answer, 'INVALID_REQUEST', /'y'.*binary/);
    }
    assert.equal((await running().statistics('ident_FP16')).execution_count, 0, 'it is known before anything runs');
  });

  it('case 31: texts come back as they are, whatever their shape', async () => {
    const data = ['é', '', 'x', '日本', '😀', '"\\\n\u0007', 'long '.repeat(1000)];
    for (const shape of [
      [data.length, 1],
      [1, data.length],
    ]) {
      const x = { name: 'x', datatype: 'BYTES', shape, data };
      const [output] = parseReply(await running().infer('ident_BYTES', { inputs: [x] })).outputs;
      assert.deepEqual(output, { name: 'y', datatype: 'BYTES', shape, data });
    }
  });

  it('case 32: null counts as absent', async () => {
    const nulls = { parameters: null, id: null, outputs: null };
    const inputs = [
      { ...A, parameters: null },
      { ...B, parameters: null },
    ];
    assert.deepEqual(parseReply(await running().infer('add2', { ...nulls, inputs })).outputs, [SUM, DIFF]);
    const outputs = [{ name: 'sum', parameters: null }];
    assert.deepEqual(parseReply(await running().infer('add2', { inputs, outputs })).outputs, [SUM]);
    await refuse({ inputs: [{ ...A, data: null }, B] }, /'a'/);
  });

  it('case 33: unknown keys are ignored', async () => {
    const request = {
      model_name: 'other',
      extra: { deep: [1, { x: '}' }] },
      inputs: [{ ...A, anything: [[]], parameters: { content_type: 'np' } }, B],
    };
    assert.deepEqual(parseReply(await running().infer('add2', request)).outputs, [SUM, DIFF]);
  });

  it('a key that means something may stand there once, another as often as it likes', async () => {
    const text = (more: string): string => `{${more},${JSON.stringify({ inputs: [A, B] }).slice(1)}`;
    assert.deepEqual(parseReply(await running().infer('add2', text('"x":1,"x":2'))).outputs, [SUM, DIFF]);
    await refuse(text('"id":"a","id":"b"'), /the request has 'id' twice/);
    await refuse(text('"inputs":[]'), /the request has 'inputs' twice/);
    await refuse(text('"parameters":{"timeout":1,"timeout":2}'), /timeout twice/);
  });

  it('case 34: what is no JSON object is refused', async () => {
    const whole = JSON.stringify({ inputs: [A, B] });
    for (const text of [
      '',
      ' ',
      '[]',
      '5',
      'null',
      '"x"',
      '{',
      '{"inputs":[',
      whole.slice(0, -1),
      `${whole}x`,
      `${whole}${whole}`,
      whole.replace('[1,2,3,4]', '[1,2,3,4,]'),
      whole.replace('[1,2,3,4]', '[01,2,3,4]'),
      whole.replace('[1,2,3,4]', '[1,2,+3,4]'),
      whole.replace('[1,2,3,4]', '[.5,2,3,4]'),
      whole.replace('[1,2,3,4]', '[0x1,2,3,4]'),
      whole.replace('[1,2,3,4]', '[1 2 3 4]'),
      whole.replaceAll('"', "'"),
      '\0'.repeat(100),
      `\ufeff\ufeff${whole}`,
    ])
      await refuse(text, /./);
    const bytes = Buffer.concat([Buffer.from('{"id":"'), Buffer.of(0xff, 0xfe), Buffer.from(`",${whole.slice(1)}`)]);
    expectError(await running().send('POST', '/v2/models/add2/infer', bytes), 'INVALID_REQUEST');
  });

  it('white space between tokens is allowed', async () => {
    const text = JSON.stringify({ inputs: [A, B] }).replace(/[[\]{}:,]/g, ' \r\n\t$& \n');
    assert.deepEqual(parseReply(await running().infer('add2', text)).outputs, [SUM, DIFF]);
  });

  it('case 35: a scalar has one element', async () => {
    const x = { name: 'x', datatype: 'FP32', shape: [], data: [3] };
    const [y] = parseReply(await running().infer('scalar0', { inputs: [x] })).outputs;
    assert.deepEqual(y, { name: 'y', datatype: 'FP32', shape: [], data: [3] });
    await refuse({ inputs: [{ ...x, data: [] }] }, /'x'/, 'scalar0');
    await refuse({ inputs: [{ ...x, shape: [1] }] }, /'x'/, 'scalar0');
  });

  it('case 36: a model without a batch dimension takes its shape and no other', async () => {
    const x = { name: 'x', datatype: 'FP32', shape: [2, 2], data: [1, 2, 3, 4] };
    assert.deepEqual(parseReply(await running().infer('flat0', { inputs: [x] })).outputs[0]!.shape, [2, 2]);
    await refuse({ inputs: [{ ...x, shape: [1, 2, 2] }] }, /'x'.*\[1,2,2\].*\[2,2\]/, 'flat0');
    await refuse({ inputs: [{ ...x, shape: [4] }] }, /'x'/, 'flat0');
  });

  it('case 49: an empty tensor in JSON', async () => {
    const x = { name: 'x', datatype: 'FP32', shape: [1, 0], data: [] };
    const [y] = parseReply(await running().infer('ident_FP32', { inputs: [x] })).outputs;
    assert.deepEqual(y, { name: 'y', datatype: 'FP32', shape: [1, 0], data: [] });
  });
});
