import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { expectRefusal, GrpcClient } from '../../support/grpc.ts';
import { ident } from '../../support/models.ts';
import {
  expectError,
  HEADER_LENGTH,
  parseBinaryReply,
  parseJson,
  parseReply,
  useServer,
} from '../../support/server.ts';
import { echo, kinds, picture, upload } from './fixtures.ts';

const PNG = Buffer.from('89504e470d0a1a0a00ff', 'hex');
const REVERSED = Buffer.from(PNG).reverse();

/** An element of BYTES as it is sent. */
function element(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

describe('a pipeline at the doors of models', () => {
  const server = useServer(
    () => ({ ident_FP32: ident('FP32') }),
    { grpcPort: 0 },
    { pipelines: [echo(), kinds(), upload(), picture()] },
  );
  let grpc: GrpcClient;
  before(() => {
    grpc = new GrpcClient(server().server.grpcAddress!);
  });
  after(() => grpc.close());
  const x = { name: 'x', datatype: 'FP32', shape: [2, 2], data: [1, 2, 3, 4] };

  test('V2: metadata, readiness, configuration, the lists', async () => {
    assert.deepEqual(await server().json('/v2/models/kinds'), {
      name: 'kinds',
      versions: ['1'],
      platform: 'shoal_pipeline',
      inputs: [
        { name: 'text', datatype: 'BYTES', shape: [1] },
        { name: 'count', datatype: 'INT64', shape: [-1] },
        { name: 'ratio', datatype: 'FP64', shape: [-1] },
        { name: 'flag', datatype: 'BOOL', shape: [-1] },
        { name: 'words', datatype: 'BYTES', shape: [-1] },
        { name: 'point', datatype: 'BYTES', shape: [-1] },
        { name: 'grid', datatype: 'BYTES', shape: [-1] },
      ],
      outputs: [
        { name: 'text', datatype: 'BYTES', shape: [1] },
        { name: 'count', datatype: 'INT64', shape: [-1] },
        { name: 'ratio', datatype: 'FP64', shape: [1] },
        { name: 'flag', datatype: 'BOOL', shape: [-1] },
        { name: 'words', datatype: 'BYTES', shape: [-1] },
        { name: 'point', datatype: 'BYTES', shape: [-1] },
        { name: 'grid', datatype: 'BYTES', shape: [-1] },
      ],
      properties: {
        provider: 'cpu',
        provider_reason: 'a function of the server; each model it asks runs where that runs',
        batching: 'each call runs for itself; what it asks of models shares runs with all others',
      },
    });
    assert.deepEqual(await server().json('/v2/models/echo/versions/1/ready'), { name: 'echo', ready: true });
    const config = (await server().json('/v2/models/echo/config')) as Record<string, unknown>;
    assert.equal(config['platform'], 'shoal_pipeline');
    assert.equal(config['max_batch_size'], 0);
    assert.deepEqual(config['instance_group'], []);
    const { models } = (await server().json('/v2/models')) as { models: string[] };
    assert.deepEqual(models, ['ident_FP32', 'echo', 'kinds', 'upload', 'picture']);
    const index = parseJson(await server().send('POST', '/v2/repository/index'), 200);
    assert.deepEqual((index as object[])[0], { name: 'echo', version: '1', state: 'READY', reason: '' });
    expectError(
      await server().get('/v2/models/echo/versions/2'),
      'MODEL_NOT_FOUND',
      /pipeline 'echo' has no version '2'/,
    );
    expectError(await server().get('/v2/models/echo/profile'), 'NOT_FOUND', /pipeline 'echo' has no profile/);
  });

  test('V2: inference in JSON and in binary, with the outputs asked for', async () => {
    const reply = parseReply(await server().infer('echo', { id: '7', inputs: [x] }));
    assert.deepEqual(reply, {
      id: '7',
      model_name: 'echo',
      model_version: '1',
      outputs: [
        { name: 'y', datatype: 'FP32', shape: [2, 2], data: [1, 2, 3, 4] },
        { name: 'together', datatype: 'INT64', shape: [1], data: [2] },
      ],
    });
    const one = await server().infer('echo', { inputs: [x], outputs: [{ name: 'together' }] });
    assert.deepEqual(
      parseReply(one).outputs.map(({ name }) => name),
      ['together'],
    );
    const bytes = Buffer.from(Float32Array.of(5, 6).buffer);
    const input = { name: 'x', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } };
    const binary = await server().inferBinary('echo', { inputs: [input], parameters: { binary_data_output: true } }, [
      bytes,
    ]);
    assert.deepEqual(parseBinaryReply(binary).sections[0], bytes);
    expectError(
      await server().infer('echo', { inputs: [] }),
      'INVALID_REQUEST',
      /pipeline 'echo' needs input 'x' \(FP32 \[-1,-1\]\)/,
    );
    expectError(await server().infer('echo', { inputs: [{ ...x, name: 'z' }] }), 'INVALID_REQUEST', /has no input 'z'/);
    expectError(await server().infer('echo', { inputs: [{ ...x, shape: [4] }] }), 'INVALID_REQUEST', /has shape \[4\]/);
    const other = await server().infer('echo', { inputs: [{ ...x, datatype: 'FP64' }] });
    expectError(other, 'INVALID_REQUEST', /is FP64, expected FP32/);
    expectError(
      await server().infer('echo', { inputs: [x], outputs: [{ name: 'q' }] }),
      'INVALID_REQUEST',
      /no output 'q'/,
    );
  });

  test('V2: every kind of field has its tensor', async () => {
    const inputs = [
      { name: 'text', datatype: 'BYTES', shape: [1], data: ['é'] },
      { name: 'count', datatype: 'INT64', shape: [1], data: [3] },
      { name: 'flag', datatype: 'BOOL', shape: [1], data: [true] },
      { name: 'words', datatype: 'BYTES', shape: [2], data: ['a', ''] },
      { name: 'point', datatype: 'BYTES', shape: [1], data: ['{"x":1,"y":2}'] },
    ];
    const { outputs } = parseReply(await server().infer('kinds', { inputs }));
    assert.deepEqual(outputs, [
      ...inputs.slice(0, 2),
      { name: 'ratio', datatype: 'FP64', shape: [1], data: [0.5] },
      ...inputs.slice(2),
      { name: 'grid', datatype: 'BYTES', shape: [0], data: [] },
    ]);
    const cases: [object, RegExp][] = [
      [
        { name: 'point', datatype: 'BYTES', shape: [1], data: ['{'] },
        /input 'point' of pipeline 'kinds' is no JSON text/,
      ],
      [{ name: 'point', datatype: 'BYTES', shape: [1], data: ['{"__proto__":1}'] }, /'__proto__'/],
      [{ name: 'point', datatype: 'BYTES', shape: [2], data: ['1', '2'] }, /has shape \[2\], expected \[1\]/],
      [{ name: 'count', datatype: 'INT64', shape: [1], data: ['x'] }, /count/],
      [{ name: 'count', datatype: 'INT64', shape: [1], data: [2 ** 60] }, /an integer of at most 53 bits/],
      [{ name: 'flag', datatype: 'INT64', shape: [1], data: [1] }, /is BOOL, the request has INT64/],
    ];
    for (const [input, text] of cases) {
      expectError(await server().infer('kinds', { inputs: [inputs[0], input] }), 'INVALID_REQUEST', text);
    }
  });

  test('V2: bytes are base64 in JSON, and themselves in binary, whatever they are', async () => {
    const weights = { name: 'weights', datatype: 'FP32', shape: [1], data: [2] };
    const image = { name: 'image', datatype: 'BYTES', shape: [1], data: [PNG.toString('base64')] };
    const json = parseReply(
      await server().infer('upload', { inputs: [image, weights], outputs: [{ name: 'reversed' }] }),
    );
    assert.deepEqual(json.outputs[0]!.data, [REVERSED.toString('base64')]);
    const wrong = { ...image, data: ['#'] };
    expectError(
      await server().infer('upload', { inputs: [wrong, weights] }),
      'INVALID_REQUEST',
      /element 0 of input 'image' is not base64/,
    );
    const section = element(PNG);
    const raw = { name: 'image', datatype: 'BYTES', shape: [1], parameters: { binary_data_size: section.length } };
    const outputs = [{ name: 'reversed', parameters: { binary_data: true } }];
    const answer = await server().inferBinary('upload', { inputs: [raw, weights], outputs }, [section]);
    assert.deepEqual(parseBinaryReply(answer).sections[0], element(REVERSED));
    // A text stays one.
    const label = { name: 'label', datatype: 'BYTES', shape: [1], parameters: { binary_data_size: section.length } };
    const refused = await server().inferBinary('upload', { inputs: [label, image, weights] }, [section]);
    expectError(refused, 'INVALID_REQUEST', /not valid UTF-8|NUL/);
  });

  test('V2: statistics count the calls', async () => {
    const before = await server().statistics('picture');
    const body = JSON.stringify({ image: '' });
    parseJson(await server().send('POST', '/pipelines/picture', body), 200);
    const now = await server().statistics('picture');
    assert.equal(now.inference_count, before.inference_count + 1);
    assert.equal(now.inference_stats.success.count, now.inference_stats.compute_infer.count);
    const { model_stats } = (await server().json('/v2/models/stats')) as { model_stats: { name: string }[] };
    assert.deepEqual(
      model_stats.map(({ name }) => name),
      ['ident_FP32', 'echo', 'kinds', 'upload', 'picture'],
    );
  });

  test('V1: each instance is a call, and infers of all of them share runs', async () => {
    const predict = (name: string, body: object) =>
      server().send('POST', `/v1/models/${name}:predict`, JSON.stringify(body));
    const instances = Array.from({ length: 8 }, (_, i) => ({ x: [[i, i]] }));
    const answer = await predict('echo', { instances });
    const { predictions } = parseJson(answer, 200) as { predictions: { y: number[][]; together: number }[] };
    assert.deepEqual(
      predictions.map(({ y }) => y),
      instances.map((one) => one.x),
    );
    assert.ok(Math.max(...predictions.map(({ together }) => together)) > 1, 'rows ran together');
    assert.match(String(answer.headers['server-timing']), /model=ident_FP32 calls=8 /);
    // One input may stand without its name.
    const bare = parseJson(await predict('echo', { instances: [[[1]], { x: [[2]] }] }), 200);
    assert.deepEqual(
      (bare as { predictions: { y: number[][] }[] }).predictions.map(({ y }) => y),
      [[[1]], [[2]]],
    );
    const one = parseJson(await predict('echo', { inputs: { x: [[1]] } }), 200);
    assert.deepEqual(one, { outputs: { y: [[1]], together: 1 } });
    const upload = { image: { b64: PNG.toString('base64') }, weights: [] };
    const bytes = parseJson(await predict('upload', { instances: [upload] }), 200) as {
      predictions: [{ reversed: object }];
    };
    assert.deepEqual(bytes.predictions[0].reversed, { b64: REVERSED.toString('base64') });
    expectError(await predict('echo', { instances: [] }), 'INVALID_REQUEST', /'instances' is empty/);
    expectError(await predict('echo', {}), 'INVALID_REQUEST', /neither 'instances' nor 'inputs'/);
    expectError(await predict('echo', { instances: [{ x: [[1]] }, { x: [1] }] }), 'INVALID_REQUEST', /has shape \[1\]/);
    expectError(await predict('kinds', { instances: ['a'] }), 'INVALID_REQUEST', /expected an object of its inputs/);
    assert.deepEqual(await server().json('/v1/models/echo'), {
      name: 'echo',
      ready: true,
      model_version_status: [{ version: '1', state: 'AVAILABLE', status: { error_code: 'OK', error_message: '' } }],
    });
  });

  test('gRPC: inference, metadata, readiness, health', async () => {
    const request = {
      model_name: 'upload',
      inputs: [
        { name: 'image', datatype: 'BYTES', shape: [1] },
        { name: 'weights', datatype: 'FP32', shape: [2] },
      ],
      raw_input_contents: [element(PNG), Buffer.from(Float32Array.of(1, 2).buffer)],
      outputs: [{ name: 'reversed' }, { name: 'sum' }],
    };
    const reply = await grpc.infer(request);
    assert.deepEqual(reply.raw_output_contents[0], element(REVERSED));
    assert.deepEqual(reply.raw_output_contents[1], Buffer.from(Float64Array.of(3).buffer));
    const typed = await grpc.infer({
      model_name: 'upload',
      inputs: [
        { name: 'image', datatype: 'BYTES', shape: [1], contents: { bytes_contents: [PNG] } },
        { name: 'weights', datatype: 'FP32', shape: [1], contents: { fp32_contents: [4] } },
      ],
    });
    assert.deepEqual(typed.outputs[3]!.contents!['bytes_contents'], [REVERSED]);
    const { platform } = (await grpc.ok('ModelMetadata', { name: 'echo' })) as { platform: string };
    assert.equal(platform, 'shoal_pipeline');
    assert.deepEqual(await grpc.ok('ModelReady', { name: 'echo' }), { ready: true });
    assert.deepEqual(await grpc.ok('Check', { service: 'echo' }), { status: 'SERVING' });
    await grpc.ok('ModelConfig', { name: 'echo' });
    const { model_stats } = (await grpc.ok('ModelStatistics', { name: 'upload' })) as {
      model_stats: { name: string }[];
    };
    assert.deepEqual(
      model_stats.map(({ name }) => name),
      ['upload'],
    );
    expectRefusal(
      await grpc.call('ModelInfer', { model_name: 'echo' }),
      'INVALID_REQUEST',
      /pipeline 'echo' needs input 'x'/,
    );
    const { trailers } = await grpc.call('ModelInfer', request);
    assert.match(String(trailers.get('server-timing')[0]), /run;dur=/);
  });

  test('a request without JSON is the bytes of the only input', async () => {
    const { status, body } = await server().send('POST', '/v2/models/picture/infer', PNG, { [HEADER_LENGTH]: '0' });
    assert.equal(status, 400, body.toString());
  });

  test('every request is counted under its protocol', async () => {
    const metrics = await server().metrics();
    for (const protocol of ['v2', 'v1', 'grpc']) {
      assert.ok(metrics.sum('shoal_pipeline_requests_total', { pipeline: 'echo', protocol }) > 0, protocol);
    }
  });
});
