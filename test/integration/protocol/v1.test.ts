import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deflateSync, gzipSync } from 'node:zlib';
import { BUSY_LABELS, numbers, startBusyServer } from '../../support/busy.ts';
import { add2, broken, pairwise, reduceMeanBatch, stateModel } from '../../support/models.ts';
import { encodeModel, node, tensor } from '../../support/onnx-builder.ts';
import { type Answer, expectError, parseJson, startServer, useServer } from '../../support/server.ts';
import { requestBytes, WireConnection } from '../../support/wire.ts';
import { brokenFixture, fixtures } from './fixtures.ts';

/** BYTES `text` [N] → `text_bytes` = `echo` = text. */
function twice(): Buffer {
  return encodeModel({
    inputs: [tensor('text', 'BYTES', ['N'])],
    outputs: [tensor('text_bytes', 'BYTES', ['N']), tensor('echo', 'BYTES', ['N'])],
    nodes: [node('Identity', ['text'], ['text_bytes']), node('Identity', ['text'], ['echo'])],
  });
}

const ROW = { a: [1, 2, 3, 4], b: [1, 1, 1, 1] };

describe('version 1', () => {
  const running = useServer(() => ({
    ...fixtures(),
    ...brokenFixture(),
    twice: twice(),
    state: stateModel(),
    mean: reduceMeanBatch(),
    pairwise: pairwise(),
    'with:colon': add2(),
  }));

  const post = (path: string, body: unknown): Promise<Answer> =>
    running().send('POST', `/v1/models/${path}`, typeof body === 'string' ? body : JSON.stringify(body));
  /** The text of a successful answer. */
  const predict = async (model: string, body: unknown): Promise<string> => {
    const answer = await post(`${model}:predict`, body);
    assert.equal(answer.status, 200, answer.body.toString());
    assert.equal(answer.headers['content-type'], 'application/json');
    assert.equal(answer.headers['content-length'], String(answer.body.length));
    return answer.body.toString();
  };
  const refuse = async (model: string, body: unknown, text: RegExp): Promise<void> => {
    expectError(await post(`${model}:predict`, body), 'INVALID_REQUEST', text);
  };

  it('case 86: rows by the names of the inputs, or bare where there is one', async () => {
    const answer = await post('add2:predict', { instances: [ROW] });
    assert.deepEqual(parseJson(answer, 200), { predictions: [{ sum: [2, 3, 4, 5], diff: [0, 1, 2, 3] }] });
    assert.equal(await predict('ident_FP32', { instances: [[1, 2]] }), '{"predictions":[[1,2]]}');
    assert.equal(await predict('ident_FP32', { instances: [{ x: [1, 2] }] }), '{"predictions":[[1,2]]}');
    for (const path of [
      'add2%3Apredict',
      'add2%3apredict',
      'add2/versions/2:predict',
      'add2/versions/1%3Apredict',
      'add2:predict/',
    ]) {
      const { predictions } = parseJson(await post(path, { instances: [ROW, ROW] }), 200) as { predictions: unknown[] };
      assert.equal(predictions.length, 2, path);
    }
    assert.deepEqual(JSON.parse(await predict('with:colon', { instances: [ROW] })).predictions[0].sum, [2, 3, 4, 5]);
  });

  it('case 86: rows keep their order and may name their inputs in any', async () => {
    const rows = Array.from({ length: 8 }, (_, i) =>
      i % 2 ? { b: [0, 0, 0, i], a: [i, 0, 0, 0] } : { a: [i, 0, 0, 0], b: [0, 0, 0, i] },
    );
    const { predictions } = JSON.parse(await predict('add2', { instances: rows }));
    assert.deepEqual(
      predictions.map(({ sum }: { sum: number[] }) => sum),
      rows.map((_, i) => [i, 0, 0, i]),
    );
  });

  it('case 87: columns by the names of the inputs, or bare where there is one', async () => {
    const answer = await post('add2:predict', { inputs: { a: [[1, 2, 3, 4]], b: [[1, 1, 1, 1]] } });
    assert.deepEqual(parseJson(answer, 200), { outputs: { sum: [[2, 3, 4, 5]], diff: [[0, 1, 2, 3]] } });
    assert.equal(
      await predict('ident_FP32', {
        inputs: [
          [1, 2],
          [3, 4],
        ],
      }),
      '{"outputs":[[1,2],[3,4]]}',
    );
    assert.equal(await predict('ident_FP32', { inputs: { x: [[1, 2]] } }), '{"outputs":[[1,2]]}');
    assert.equal(
      await predict('flat0', {
        inputs: [
          [1, 2],
          [3, 4],
        ],
      }),
      '{"outputs":[[1,2],[3,4]]}',
    );
    assert.equal(await predict('scalar0', { inputs: 3.5 }), '{"outputs":3.5}');
    assert.equal(await predict('scalar0', { inputs: { x: 3.5 } }), '{"outputs":3.5}');
    assert.equal(await predict('ident_FP32', { inputs: [[]] }), '{"outputs":[[]]}');
    assert.equal(await predict('ident_FP32', { inputs: [[], []] }), '{"outputs":[[],[]]}');
    assert.equal(
      await predict('mat2', {
        inputs: [
          [[1], [2]],
          [[3], [4]],
        ],
      }),
      '{"outputs":[[[1],[2]],[[3],[4]]]}',
    );
  });

  it('case 88: what is no row or column is refused, naming what is wrong', async () => {
    for (const [body, text] of [
      [{ instances: [ROW], inputs: ROW }, /both 'instances' and 'inputs'/],
      [{ inputs: ROW, instances: [] }, /both 'instances' and 'inputs'/],
      [{}, /neither 'instances' nor 'inputs'/],
      [{ instances: null }, /neither/],
      [{ instances: [] }, /'instances' is empty/],
      [{ instances: {} }, /'instances' is \{, expected an array/],
      [{ instances: 'x' }, /'instances' is "x", expected an array/],
      [{ instances: 5 }, /'instances' is 5, expected an array/],
      [{ instances: [[1, 2, 3, 4]] }, /instances\[0\] is \[1, expected an object with the keys 'a', 'b'/],
      [{ instances: [ROW, 5] }, /instances\[1\] is 5, expected an object/],
      [{ instances: [{ a: [1, 2, 3, 4] }] }, /instances\[0\] has no key 'b'/],
      [{ instances: [ROW, { ...ROW, c: 1 }] }, /instances\[1\] has the key 'c', expected the keys 'a', 'b'/],
      ['{"instances":[{"a":[1,2,3,4],"a":[1,2,3,4],"b":[1,1,1,1]}]}', /instances\[0\] has the key 'a' twice/],
      [
        { instances: [ROW, { ...ROW, a: [1, 2, 3] }] },
        /input 'a' is ragged at byte \d+.* has the length 3, the ones before have 4/,
      ],
      [{ instances: [{ ...ROW, a: [1, [2], 3, 4] }] }, /ragged.*an array stands where an element is expected/],
      [{ instances: [{ ...ROW, a: [[1], 2] }] }, /ragged.*an element stands where an array is expected/],
      [
        {
          instances: [
            { ...ROW, a: 'x' },
            { ...ROW, a: 'x' },
          ],
        },
        /input 'a'/,
      ],
      [{ instances: [{ ...ROW, a: [1, 2, 3, {}] }] }, /input 'a' has an object at byte/],
      [{ instances: [{ ...ROW, a: [1, 2, 3] }] }, /input 'a' of model 'add2' has shape \[1,3\], expected \[-1,4\]/],
      [{ instances: [{ ...ROW, a: ['1', '2', '3', '4'] }] }, /element 0 of input 'a' is "1", expected a number/],
      [{ instances: Array(9).fill(ROW) }, /9 rows.*at most 8/],
      [{ inputs: [[1, 2, 3, 4]] }, /'inputs' is \[, expected an object with the keys 'a', 'b'/],
      [{ inputs: { a: [[1, 2, 3, 4]] } }, /'inputs' has no key 'b'/],
      [numbers([1]), /array of tensors as in version 2, which is asked at \/v2/],
      [{ inputs: { a: [[1, 2, 3, 4], [1]], b: [[1, 1, 1, 1]] } }, /ragged/],
      [{ inputs: { ...ROW } }, /input 'a' of model 'add2' has shape \[4\]/],
      [{ instances: [ROW], signature_name: 'other' }, /'signature_name' is 'other', expected 'serving_default'/],
      [{ instances: [ROW], signature_name: 5 }, /'signature_name' is 5, expected a string/],
      ['[]', /the request is \[, expected a JSON object/],
      ['', /no body/],
      ['{"instances":[{"a":[1,2,3,4],"b":[1,1,1,1]}]', /ends after/],
      ['{"instances":[{"a":[1,2,3,4],"b":[1,1,1,1]}]} x', /expected the end/],
      ['{"instances":[{"a":[1,2,3x,4],"b":[1,1,1,1]}]}', /malformed JSON at byte 25: expected ',' or '\]'.*got x/],
      [`{"instances":[{"a":${'['.repeat(100)}1${']'.repeat(100)}}]}`, /nested more than 99 deep/],
    ] as const)
      await refuse('add2', body, text);
    await refuse(
      'ident_FP32',
      { instances: [[1, 2], [3]] },
      /input 'x' is ragged.* has the length 1, the ones before have 2/,
    );
    await refuse('ident_FP32', { instances: [1, 2] }, /input 'x' of model 'ident_FP32' has shape \[2\]/);
    await refuse('ident_FP32', { instances: [{ y: [1] }] }, /instances\[0\] has the key 'y', expected the key 'x'/);
    await refuse('ident_FP32', { instances: [{ b64: 'AAAA' }] }, /instances\[0\] has the key 'b64'/);
    await refuse('ident_INT32', { instances: [[1.5]] }, /element 0 of input 'x' is 1\.5, expected an integer/);
  });

  it('what else stands in a request is ignored, in any order', async () => {
    const body = { id: [{ deep: [1] }], instances: [[1]], signature_name: '', parameters: null, inputs: null };
    assert.equal(await predict('ident_FP32', body), '{"predictions":[[1]]}');
    const last = '{"signature_name":"serving_default","x":{"instances":5},"instances":[[1]]}';
    assert.equal(await predict('ident_FP32', last), '{"predictions":[[1]]}');
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'bogus']) {
      const answer = await running().send('POST', '/v1/models/ident_FP32:predict', last, { 'content-type': type });
      assert.equal(answer.status, 200);
    }
  });

  it('every datatype goes in and out; integers to the last digit, numbers that are none as null', async () => {
    for (const [datatype, data] of [
      ['BOOL', '[[true,false],[false,true]]'],
      ['INT8', '[[-128,127]]'],
      ['UINT8', '[[0,255]]'],
      ['INT16', '[[-32768,32767]]'],
      ['UINT16', '[[0,65535]]'],
      ['INT32', '[[-2147483648,2147483647]]'],
      ['UINT32', '[[0,4294967295]]'],
      ['INT64', '[[9007199254740993,-9223372036854775808]]'],
      ['UINT64', '[[18446744073709551615,9007199254740993]]'],
      ['FP16', '[[1.5,-0.25],[65504,0]]'],
      ['FP32', '[[0.1,16777217e3]]'],
      ['FP64', '[[0.1,1e-300]]'],
      ['BYTES', '[["é","\\"\\\\\\n"],["","日本"]]'],
    ]) {
      const echoed = datatype === 'FP32' ? '[[0.1,16777217000]]' : data;
      assert.equal(await predict(`ident_${datatype}`, `{"instances":${data}}`), `{"predictions":${echoed}}`);
      assert.equal(await predict(`ident_${datatype}`, `{"inputs":{"x":${data}}}`), `{"outputs":${echoed}}`);
      const rows = data!.slice(1, -1).replace(/\[(.*?)\]/g, '{"x":[$1]}');
      assert.equal(await predict(`ident_${datatype}`, `{"instances":[${rows}]}`), `{"predictions":${echoed}}`);
    }
    for (const datatype of ['FP16', 'FP32', 'FP64']) {
      const text = '{"instances":[[NaN,Infinity,-Infinity,null,1]]}';
      assert.equal(await predict(`ident_${datatype}`, text), '{"predictions":[[null,null,null,null,1]]}');
    }
    await refuse('ident_FP16', { instances: [[65520]] }, /element 0 of input 'x' is 65520, .* range of FP16/);
    await refuse('ident_INT32', '{"instances":[[null]]}', /element 0 of input 'x' is null/);
    await refuse('ident_UINT8', { instances: [[256]] }, /from 0 to 255/);
  });

  it('case 88: bytes come as text or base64, and leave as base64 where the name or the bytes ask for it', async () => {
    const b64 = (text: string): object => ({ b64: Buffer.from(text).toString('base64') });
    const body = { instances: ['plain', b64('Grüße'), { text: b64('x') }.text, b64('')] };
    assert.deepEqual(JSON.parse(await predict('twice', body)), {
      predictions: ['plain', 'Grüße', 'x', ''].map((text) => ({ text_bytes: b64(text), echo: text })),
    });
    assert.deepEqual(JSON.parse(await predict('twice', { instances: [b64('a'), 'b'] })).predictions[1].echo, 'b');
    assert.deepEqual(
      JSON.parse(await predict('twice', { instances: [{ text: b64('a') }, { text: 'b' }] })).predictions[0].echo,
      'a',
    );
    assert.deepEqual(JSON.parse(await predict('twice', { inputs: [b64('a'), 'b'] })).outputs, {
      text_bytes: [b64('a'), b64('b')],
      echo: ['a', 'b'],
    });
    assert.equal(await predict('str1', { instances: [[b64('427')]] }), '{"predictions":[["427"]]}');
    // Without padding, URL-safe, with an escaped slash, with line breaks.
    for (const text of ['{"b64":"Pz8_"}', '{ "b64" : "Pz8\\/" }', '{"b64":"Pz\\n8/\\r\\n"}', '{"b64":"Pz8/"}'])
      assert.equal(await predict('str1', `{"instances":[[${text}]]}`), '{"predictions":[["???"]]}');
    assert.equal(await predict('str1', '{"instances":[[{"b64":"YQ"}]]}'), '{"predictions":[["a"]]}');
    for (const [element, text] of [
      ['{"b64":"A"}', /"b64" that is not base64/],
      ['{"b64":"YQ="}', /not base64/],
      ['{"b64":"Y=Q="}', /not base64/],
      ['{"b64":"YQ==="}', /not base64/],
      ['{"b64":"Y!=="}', /not base64/],
      ['{"b64":5}', /expected a string of base64/],
      ['{"b64":"YQ==","x":1}', /expected '}'/],
      ['{"text":"YQ=="}', /has an object at byte 15 of the JSON text, expected an element or \{"b64": …\}/],
      ['{"b64":"/w=="}', /element 0 of input 'x' is, decoded, not valid UTF-8/],
      ['{"b64":"AGE="}', /element 0 of input 'x' has a NUL/],
      ['5', /element 0 of input 'x' is 5, expected a string/],
    ] as const)
      await refuse('str1', `{"instances":[[${element}]]}`, text);
  });

  it('rows are answered only where every output has them', async () => {
    await refuse('state', { instances: [{ input: [1], state: [1], sr: 1 }] }, /send 'inputs'/);
    await refuse(
      'mean',
      {
        instances: [
          [1, 2, 3, 4],
          [1, 2, 3, 4],
        ],
      },
      /output 'y' has shape \[4\].*2 instances: send 'inputs'/,
    );
    assert.equal(
      await predict('mean', {
        inputs: [
          [1, 2, 3, 4],
          [3, 4, 5, 6],
        ],
      }),
      '{"outputs":[2,3,4,5]}',
    );
    assert.equal(
      await predict('pairwise', {
        instances: [
          [1, 0, 0, 0],
          [2, 0, 0, 0],
        ],
      }),
      '{"predictions":[[1,2],[2,4]]}',
    );
    assert.equal(
      await predict('flat0', {
        instances: [
          [1, 2],
          [3, 4],
        ],
      }),
      '{"predictions":[[1,2],[3,4]]}',
    );
  });

  it('a large body is exact, and others are answered while it is read and written', async () => {
    const values = Array.from({ length: 6 }, (_, i) => Array.from({ length: 150_000 }, (_, j) => i * 1000 + j / 8));
    let large = true;
    const done = predict('ident_FP32', { instances: values }).finally(() => {
      large = false;
    });
    let meanwhile = 0;
    while (large) {
      assert.equal(await predict('ident_INT32', { instances: [[7]] }), '{"predictions":[[7]]}');
      meanwhile++;
    }
    assert.ok(meanwhile > 3, `${meanwhile} answers meanwhile`);
    assert.deepEqual(JSON.parse(await done), { predictions: values });
    const rows = values.map((x) => ({ x }));
    assert.deepEqual(JSON.parse(await predict('ident_FP32', { instances: rows })), { predictions: values });
  });

  it('a compressed body is expanded, and the reply is plain whatever the client would take', async () => {
    const body = JSON.stringify({ instances: [ROW] });
    for (const [coding, bytes] of [
      ['gzip', gzipSync(body)],
      ['deflate', deflateSync(body)],
    ] as const) {
      const headers = { 'content-encoding': coding, 'accept-encoding': coding };
      const answer = await running().send('POST', '/v1/models/add2:predict', bytes, headers);
      assert.deepEqual(parseJson(answer, 200), { predictions: [{ sum: [2, 3, 4, 5], diff: [0, 1, 2, 3] }] });
      assert.equal(answer.headers['content-encoding'], undefined);
    }
    const brotli = await running().send('POST', '/v1/models/add2:predict', body, { 'content-encoding': 'br' });
    expectError(brotli, 'UNSUPPORTED_ENCODING');
  });

  it('many callers at once get their own rows', async () => {
    const answers = await Promise.all(
      Array.from({ length: 64 }, (_, i) => predict('add2', { instances: [{ a: [i, 0, 0, 0], b: [0, 0, 0, i] }] })),
    );
    for (const [i, answer] of answers.entries()) {
      assert.deepEqual(JSON.parse(answer).predictions, [{ sum: [i, 0, 0, i], diff: [i, 0, 0, 0 - i] }]);
    }
  });

  it('a large text in base64 is exact', async () => {
    const text = 'Schwärme fischen gemeinsam. '.repeat(100_000);
    const body = { instances: [{ b64: Buffer.from(text).toString('base64') }] };
    const [{ text_bytes, echo }] = JSON.parse(await predict('twice', body)).predictions;
    assert.equal(echo, text);
    assert.equal(Buffer.from(text_bytes.b64, 'base64').toString(), text);
  });

  it('unknown and failed models, verbs and methods', async () => {
    const body = { instances: [ROW] };
    expectError(await post('nope:predict', body), 'MODEL_NOT_FOUND', /'nope'/);
    expectError(await post('add2/versions/9:predict', body), 'MODEL_NOT_FOUND', /'9'/);
    expectError(await post('add2/versions/x:predict', body), 'MODEL_NOT_FOUND', /'x'/);
    expectError(await post('broken:predict', body), 'MODEL_NOT_READY', /'broken' version 1 is failed/);
    for (const verb of ['classify', 'regress', 'explain']) {
      expectError(await post(`add2:${verb}`, body), 'UNIMPLEMENTED', new RegExp(`:${verb} is not implemented`));
      expectError(await post(`nope/versions/1:${verb}`, body), 'UNIMPLEMENTED');
    }
    const bare = await post('add2', body);
    expectError(bare, 'METHOD_NOT_ALLOWED', /:predict/);
    assert.equal(bare.headers['allow'], 'GET, HEAD');
    for (const path of ['/v1/models/add2:predict', '/v1/models/add2/versions/1:predict']) {
      const get = await running().get(path);
      expectError(get, 'METHOD_NOT_ALLOWED', /only POST/);
      assert.equal(get.headers['allow'], 'POST');
    }
    for (const path of ['/v1/models/add2/labels/stable', '/v1/models/add2/labels/stable:predict', '/v1/other'])
      expectError(await running().get(path), 'NOT_FOUND', /there is nothing at/);
    expectError(await post('add2/labels/stable:predict', body), 'NOT_FOUND', /there is nothing at/);
  });

  it('case 85: the status as KServe and TensorFlow Serving read it', async () => {
    const available = { state: 'AVAILABLE', status: { error_code: 'OK', error_message: '' } };
    assert.deepEqual(await running().json('/v1/models/add2'), {
      name: 'add2',
      ready: true,
      model_version_status: [
        { version: '1', ...available },
        { version: '2', ...available },
      ],
    });
    assert.deepEqual(await running().json('/v1/models/add2/versions/1'), {
      name: 'add2',
      ready: true,
      model_version_status: [{ version: '1', ...available }],
    });
    assert.deepEqual(await running().json('/v1/models/with:colon'), {
      name: 'with:colon',
      ready: true,
      model_version_status: [{ version: '1', ...available }],
    });
    expectError(await running().get('/v1/models/nope'), 'MODEL_NOT_FOUND');
    const answer = await running().get('/v1/models/broken');
    expectError(answer, 'MODEL_NOT_READY', /failed/, ['name', 'ready', 'model_version_status']);
    expectError(await running().get('/v1/models/broken/metadata'), 'MODEL_NOT_READY', /failed/);
    expectError(await running().get('/v1/models/nope/metadata'), 'MODEL_NOT_FOUND');
    const { models } = (await running().json('/v1/models')) as { models: string[] };
    assert.ok(models.includes('add2'));
  });

  it('case 85: programs are told that the server is alive, browsers get a page', async () => {
    for (const accept of [undefined, '*/*', 'application/json', 'application/json, text/plain, */*', 'text/plain']) {
      const answer = await running().get('/', accept === undefined ? {} : { accept });
      assert.deepEqual(parseJson(answer, 200), { status: 'alive' }, accept);
    }
    const page = await running().get('/', {
      accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
    });
    assert.equal(page.status, 200);
    assert.match(String(page.headers['content-type']), /^text\/html/);
  });

  it('metadata is the signature as TensorFlow Serving has it', async () => {
    const dim = (...sizes: number[]): object => ({
      dim: sizes.map((size) => ({ size: String(size), name: '' })),
      unknown_rank: false,
    });
    const float = (name: string): object => ({ dtype: 'DT_FLOAT', tensor_shape: dim(-1, 4), name });
    const signature = {
      inputs: { a: float('a'), b: float('b') },
      outputs: { sum: float('sum'), diff: float('diff') },
      method_name: 'tensorflow/serving/predict',
    };
    for (const [path, version] of [
      ['/v1/models/add2/metadata', '2'],
      ['/v1/models/add2/versions/1/metadata', '1'],
    ] as const) {
      assert.deepEqual(await running().json(path), {
        model_spec: { name: 'add2', signature_name: '', version },
        metadata: { signature_def: { signature_def: { serving_default: signature } } },
      });
    }
    const scalar = JSON.stringify(await running().json('/v1/models/scalar0/metadata'));
    assert.match(scalar, /"dim":\[\],"unknown_rank":false/);
  });
});

describe('version 1 beside version 2', () => {
  it('requests of both share a run, and are counted by protocol', async (t) => {
    const { running, first, release, until } = await startBusyServer(t);
    const predict = (values: readonly number[][]): Promise<Answer> =>
      running.send('POST', '/v1/models/ident:predict', JSON.stringify({ instances: values }));
    const waiting = [predict([[1], [2]]), running.infer('ident', numbers([3]))];
    await until(3, 3);
    release();
    await first;
    assert.equal((await waiting[0]!).body.toString(), '{"predictions":[[1],[2]]}');
    assert.equal((await waiting[1]!).status, 200);
    assert.match(String((await waiting[0]!).headers['server-timing']), /desc="rows=3 requests=2 reason=freed share=/);
    expectError(await predict([]), 'INVALID_REQUEST');
    const metrics = await running.metrics();
    assert.equal(metrics.value('shoal_requests_total', { ...BUSY_LABELS, protocol: 'v1', outcome: 'ok' }), 1);
    assert.equal(metrics.value('shoal_requests_total', { ...BUSY_LABELS, protocol: 'v1', outcome: 'invalid' }), 1);
    assert.equal(metrics.value('shoal_requests_total', { ...BUSY_LABELS, protocol: 'v2', outcome: 'ok' }), 2);
    const { batch_stats } = await running.statistics('ident');
    assert.deepEqual(
      batch_stats.map(({ batch_size }) => batch_size),
      [1, 3],
    );
  });

  it('a client that leaves is dropped before its run', async (t) => {
    const { running, first, release, until } = await startBusyServer(t);
    const leaver = await WireConnection.open(running.port);
    await leaver.send(requestBytes('POST', '/v1/models/ident:predict', '{"instances":[[1]]}'));
    await until(2, 1);
    leaver.close();
    await until(1, 0);
    release();
    await first;
    const metrics = await until(0, 0);
    assert.equal(metrics.value('shoal_cancelled_total', BUSY_LABELS), 1);
    assert.equal(metrics.value('shoal_requests_total', { ...BUSY_LABELS, protocol: 'v1', outcome: 'cancelled' }), 1);
    assert.equal((await running.statistics('ident')).execution_count, 1);
  });

  it('a body over the limit is counted once, whatever the verb', async (t) => {
    const running = await startServer(t, { add2: add2(), broken: broken() }, { bodyLimit: '1KiB' });
    const large = Buffer.alloc(5000, 0x20);
    expectError(await running.send('POST', '/v1/models/add2:predict', large), 'BODY_TOO_LARGE');
    const metrics = await running.metrics();
    const labels = { model: 'add2', version: '1', protocol: 'v1', outcome: 'invalid' };
    assert.equal(metrics.value('shoal_requests_total', labels), 1);
  });
});
