import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ident } from '../../support/models.ts';
import { expectError, parseJson, useServer } from '../../support/server.ts';
import { echo, kinds, picture, upload } from './fixtures.ts';

const PNG = Buffer.from('89504e470d0a1a0a00ff', 'hex');

describe('POST /pipelines/{name}', () => {
  const server = useServer(
    () => ({ ident_FP32: ident('FP32') }),
    { bodyLimit: '300KiB' },
    { pipelines: [echo(), kinds(), upload(), picture()] },
  );
  const post = (name: string, body: unknown, headers: Record<string, string> = {}) =>
    server().send('POST', `/pipelines/${name}`, typeof body === 'string' ? body : JSON.stringify(body), headers);
  const form = async (name: string, data: FormData) => {
    const response = new Response(data);
    const type = response.headers.get('content-type')!;
    return server().send('POST', `/pipelines/${name}`, Buffer.from(await response.arrayBuffer()), {
      'content-type': type,
    });
  };

  test('takes and gives plain JSON: tensors nested, everything else as it is', async () => {
    const answer = await post('echo', {
      x: [
        [1, 2.5],
        [3, 4],
      ],
    });
    assert.deepEqual(parseJson(answer, 200), {
      y: [
        [1, 2.5],
        [3, 4],
      ],
      together: 2,
    });
    const all = {
      text: 'é',
      count: 3,
      ratio: 0.25,
      flag: true,
      words: ['a', ''],
      point: { x: 1, y: -2 },
      grid: [[1], []],
    };
    assert.deepEqual(parseJson(await post('kinds', all), 200), all);
    assert.deepEqual(parseJson(await post('kinds', { text: '' }), 200), { text: '', ratio: 0.5 });
  });

  test('bytes are base64, as a string or wrapped, of either alphabet, padded or not', async () => {
    const bytes = Buffer.from([251, 255, 254, 1]);
    const [plain, url] = [bytes.toString('base64'), bytes.toString('base64url')];
    for (const image of [plain, url, { b64: plain }, plain.replaceAll('=', '')]) {
      const answer = parseJson(await post('upload', { image, weights: [1, 2] }), 200);
      assert.deepEqual(answer, {
        size: 4,
        label: 'none',
        sum: 3,
        reversed: Buffer.from(bytes).reverse().toString('base64'),
      });
    }
    const escaped = `{"weights":[],"image":"${plain.replaceAll('/', '\\/')}"}`;
    assert.equal((parseJson(await post('upload', escaped), 200) as { size: number }).size, 4);
    for (const image of ['A', 'AA=A', 'AAAA=', '####', 'AA\\u0041A']) {
      expectError(
        await post('upload', `{"image":"${image}","weights":[]}`),
        'INVALID_REQUEST',
        /input 'image' is not base64/,
      );
    }
    const big = { image: Buffer.alloc(150_000).toString('base64'), weights: [] };
    expectError(
      await post('upload', big),
      'INVALID_REQUEST',
      /'image' of pipeline 'upload' has 150000 bytes, at most 100000/,
    );
  });

  test('names the field that is wrong, what came and what was expected', async () => {
    const cases: [string, unknown, RegExp][] = [
      ['kinds', {}, /pipeline 'kinds' needs input 'text' \(string\), the request has none/],
      ['kinds', { text: 1 }, /input 'text' of pipeline 'kinds' is 1: must be string/],
      ['kinds', { text: '', count: -1 }, /input 'count' of pipeline 'kinds' is -1: must be >= 0/],
      ['kinds', { text: '', count: 1.5 }, /input 'count' .* must be integer/],
      ['kinds', { text: '', count: 2 ** 60 }, /input 'count' .* an integer of at most 53 bits/],
      ['kinds', { text: '', point: { x: 1 } }, /input 'point' .* is an object: must have required properties y/],
      ['kinds', { text: '', point: { x: 1, y: 1, z: 1 } }, /input 'point' of pipeline 'kinds'/],
      ['kinds', { text: '', grid: [[1], ['a']] }, /input 'grid' .* is an array of 2: \/1\/0 must be integer/],
      ['kinds', { text: '', other: 1 }, /pipeline 'kinds' has no input 'other', only 'text'/],
      ['kinds', '{"text":"a","text":"b"}', /has input 'text' twice/],
      ['kinds', '[]', /expected an object of its inputs/],
      ['kinds', '{"text":', /JSON/],
      ['kinds', '{"text":""} x', /JSON/],
      ['echo', { x: [1] }, /input 'x' of pipeline 'echo' has shape \[1\], expected FP32 \[-1,-1\]/],
      ['echo', { x: [[1], [1, 2]] }, /ragged/],
      ['echo', { x: [['a']] }, /element 0 of input 'x'/],
      ['echo', { x: null }, /input 'x'/],
    ];
    for (const [name, body, text] of cases) expectError(await post(name, body), 'INVALID_REQUEST', text);
    expectError(await server().send('POST', '/pipelines/kinds'), 'INVALID_REQUEST', /no body/);
  });

  test('hostile JSON is refused: prototype keys, deep and huge values', async () => {
    for (const body of [
      '{"__proto__":{"text":"a"}}',
      '{"text":"a","point":{"x":1,"y":2,"__proto__":{"z":1}}}',
      '{"text":"a","point":{"x":1,"y":2,"\\u005f_proto__":1}}',
      `{"text":"a","grid":${'['.repeat(5000)}${']'.repeat(5000)}}`,
      `{"text":"a","constructor":1}`,
    ]) {
      expectError(await post('kinds', body), 'INVALID_REQUEST');
    }
    assert.equal(({} as { z?: number }).z, undefined);
    const wrong = `{"text":"a","words":[${'1,'.repeat(100_000)}1]}`;
    expectError(
      await post('kinds', wrong),
      'INVALID_REQUEST',
      /input 'words' of pipeline 'kinds' does not fit its schema/,
    );
    expectError(await post('kinds', { text: 'x'.repeat(400_000) }), 'BODY_TOO_LARGE');
  });

  test('takes a form: files and texts', async () => {
    const data = new FormData();
    data.set('image', new Blob([PNG], { type: 'image/png' }), 'a.png');
    data.set('label', 'cat');
    data.set('weights', '[1, 2, 3.5]');
    const reversed = Buffer.from(PNG).reverse().toString('base64');
    assert.deepEqual(parseJson(await form('upload', data), 200), { size: 10, label: 'cat', sum: 6.5, reversed });

    data.set('weights', new Blob(['[4]'], { type: 'application/json' }), 'weights.json');
    assert.equal((parseJson(await form('upload', data), 200) as { sum: number }).sum, 4);
  });

  test('a form that is wrong is refused, and the connection goes on', async () => {
    const make = (...parts: [string, string | Blob][]): FormData => {
      const data = new FormData();
      for (const [name, value] of parts) data.append(name, value as string);
      return data;
    };
    const image = new Blob([PNG], { type: 'image/png' });
    const cases: [FormData, RegExp][] = [
      [make(['other', 'x']), /has no input 'other'/],
      [make(['label', 'a'], ['label', 'b']), /input 'label' twice/],
      [make(['image', 'text']), /input 'image' is a text, expected a file/],
      [make(['image', image], ['weights', '[1,']), /input 'weights'|JSON/],
      [make(['image', image]), /needs input 'weights'/],
      [make(['__proto__', 'x']), /name no input has|has no input/],
      [make(['a', '1'], ['b', '1'], ['c', '1'], ['d', '1'], ['e', '1']), /no input 'a'|more parts/],
    ];
    for (const [data, text] of cases) expectError(await form('upload', data), 'INVALID_REQUEST', text);
    const typed = make(['image', new Blob([PNG], { type: 'text/html' })]);
    expectError(
      await form('upload', typed),
      'UNSUPPORTED_MEDIA_TYPE',
      /input 'image' is "text\/html", expected image\/\*/,
    );
    const large = make(['image', new Blob([Buffer.alloc(310 * 1024)], { type: 'image/png' })]);
    expectError(await form('upload', large), 'BODY_TOO_LARGE');
    const cut = await server().send('POST', '/pipelines/upload', '--x\r\nContent-Dispo', {
      'content-type': 'multipart/form-data; boundary=x',
    });
    expectError(cut, 'INVALID_REQUEST', /form is not well-formed/);
    const none = await server().send('POST', '/pipelines/upload', 'abc', { 'content-type': 'multipart/form-data' });
    expectError(none, 'INVALID_REQUEST', /form/);
  });

  test('a large form without a length is read no further than the limit', async () => {
    async function* parts(): AsyncGenerator<Uint8Array> {
      yield Buffer.from(
        '--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n',
      );
      for (let i = 0; i < 100; i++) yield Buffer.alloc(10_000);
      yield Buffer.from('\r\n--x--\r\n');
    }
    const type = { 'content-type': 'multipart/form-data; boundary=x' };
    expectError(await server().send('POST', '/pipelines/upload', parts(), type), 'BODY_TOO_LARGE');
  });

  test('takes a body of bytes where there is one field of them; the others stand in the query', async () => {
    const send = (type: string, target = '/pipelines/picture', body: Uint8Array | string = PNG) =>
      server().send('POST', target, body, type === '' ? {} : { 'content-type': type });
    assert.deepEqual(parseJson(await send('image/png'), 200), { size: 10, scale: 1 });
    assert.deepEqual(parseJson(await send('image/JPEG; q=1', '/pipelines/picture?scale=2.5'), 200), {
      size: 10,
      scale: 2.5,
    });
    assert.deepEqual(parseJson(await send('application/octet-stream'), 200), { size: 10, scale: 1 });
    expectError(
      await send('image/gif'),
      'UNSUPPORTED_MEDIA_TYPE',
      /is "image\/gif", expected application\/json or multipart\/form-data, or image\/png, image\/jpeg, application\/octet-stream/,
    );
    expectError(await send('audio/wav', '/pipelines/kinds'), 'UNSUPPORTED_MEDIA_TYPE');
    expectError(
      await send('image/png', '/pipelines/picture?scale=wide'),
      'INVALID_REQUEST',
      /input 'scale' is no JSON/,
    );
    expectError(await send('image/png', '/pipelines/picture?scale=1&scale=2'), 'INVALID_REQUEST', /more than once/);
    expectError(await send('image/png', '/pipelines/picture?zoom=1'), 'INVALID_REQUEST', /no input 'zoom'/);
    // What fetch and curl say of a string of JSON.
    for (const type of ['', 'text/plain;charset=UTF-8', 'application/x-www-form-urlencoded', 'application/json']) {
      const answer = await send(type, '/pipelines/picture', JSON.stringify({ image: PNG.toString('base64') }));
      assert.deepEqual(parseJson(answer, 200), { size: 10, scale: 1 });
    }
  });

  test('GET describes, other methods are refused, unknown names are not found', async () => {
    const one = (await server().json('/pipelines/picture')) as { input: object };
    assert.deepEqual(one, {
      name: 'picture',
      description: '',
      ready: true,
      input: {
        image: { kind: 'bytes', media_types: ['image/png', 'image/jpeg'] },
        scale: { kind: 'json', required: false, schema: { type: 'number', default: 1 } },
      },
      output: {
        size: { kind: 'json', required: true, schema: { type: 'integer' } },
        scale: { kind: 'json', required: true, schema: { type: 'number' } },
      },
    });
    const { pipelines } = (await server().json('/pipelines')) as { pipelines: { name: string }[] };
    assert.deepEqual(
      pipelines.map(({ name }) => name),
      ['echo', 'kinds', 'upload', 'picture'],
    );
    const wrong = await server().send('PUT', '/pipelines/picture', '{}');
    expectError(wrong, 'METHOD_NOT_ALLOWED');
    assert.equal(wrong.headers['allow'], 'GET, HEAD, POST');
    expectError(await post('nope', {}), 'MODEL_NOT_FOUND', /there is no pipeline 'nope'/);
    expectError(await post('ident_FP32', {}), 'MODEL_NOT_FOUND');
    expectError(await server().get('/pipelines/nope'), 'MODEL_NOT_FOUND');
    parseJson(await server().send('POST', '/pipelines/picture/', JSON.stringify({ image: '' })), 200);
  });

  test('the page lists them', async () => {
    const { body } = await server().get('/', { accept: 'text/html' });
    assert.match(
      body.toString(),
      /<li><a href="pipelines\/echo">echo<\/a>: gives back what it is given; <span class="ready">ready/,
    );
  });

  test('Server-Timing has the stages, which make up the total; every request is counted once', async () => {
    const before = await server().metrics();
    const answer = await post('echo', { x: [[1, 2]] });
    const timing = String(answer.headers['server-timing']);
    const entries = timing.split(', ').map((entry) => /^([\w]+);dur=([\d.]+)/.exec(entry)!.slice(1));
    assert.deepEqual(
      entries.map(([name]) => name),
      ['decode', 'run', 'own', 'infer', 'encode', 'total'],
    );
    const of = (name: string): number => Number(entries.find(([one]) => one === name)![1]);
    assert.ok(Math.abs(of('decode') + of('run') + of('encode') - of('total')) < 1, timing);
    assert.ok(of('infer') <= of('run') + 0.01, timing);
    assert.match(timing, /desc="model=ident_FP32 calls=1 queue=/);
    expectError(await post('echo', {}), 'INVALID_REQUEST');
    expectError(
      await server().send('POST', '/pipelines/echo', 'x', { 'content-type': 'image/png' }),
      'UNSUPPORTED_MEDIA_TYPE',
    );
    const after = await server().metrics();
    const grown = (code: string): number => {
      const labels = { pipeline: 'echo', protocol: 'plain', code };
      return after.sum('shoal_pipeline_requests_total', labels) - before.sum('shoal_pipeline_requests_total', labels);
    };
    assert.deepEqual([grown('ok'), grown('invalid_request'), grown('unsupported_media_type')], [1, 1, 1]);
    assert.equal(
      after.value('shoal_pipeline_infers_total', { pipeline: 'echo', model: 'ident_FP32' }),
      before.sum('shoal_pipeline_infers_total', { pipeline: 'echo' }) + 1,
    );
    assert.ok(after.value('shoal_pipeline_work_seconds_total', { pipeline: 'echo', part: 'compute' }) > 0);
  });
});
