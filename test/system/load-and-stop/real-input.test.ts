import assert from 'node:assert/strict';
import path from 'node:path';
import { before, describe, it } from 'node:test';
import type { ErrorCode } from '../../../src/index.ts';
import { DIGIT_PIXELS, type Digit, digits, type Sentence, sentences } from '../../support/data.ts';
import { bytesOf } from '../../support/onnx-builder.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';
import { runModel } from '../../support/run-model.ts';
import { ServeProcess } from '../../support/serve-process.ts';
import {
  type Answer,
  expectError,
  type InferReply,
  parseBinaryReply,
  parseReply,
  TestClient,
} from '../../support/server.ts';

/** The bundled models under 64 clients at once, with real sentences and digits, and wrong requests among them. */

const MODELS = path.join(REPOSITORY_ROOT, 'models');
const CLIENTS = 64;
const REQUESTS_PER_CLIENT = 24;

/** Answers of ONNX Runtime to one digit at a time; other sizes of batch differ from them by rounding alone. */
const TOLERANCE = 1e-5;

interface KnownDigit extends Digit {
  readonly probabilities: Float32Array;
}

let texts: Sentence[];
let images: KnownDigit[];

before(async () => {
  texts = sentences();
  const some = digits(12);
  const feeds = some.map(({ pixels }) => ({ image: { type: 'float32', dims: [1, 1, 28, 28], data: pixels } }));
  const { runs } = await runModel(path.join(MODELS, 'mnist-cnn/1/model.onnx'), feeds);
  images = some.map((digit, i) => {
    const run = runs[i]!;
    assert.ok('outputs' in run);
    const { data } = run.outputs.get('probabilities')!;
    assert.ok(data instanceof Float32Array);
    return { ...digit, probabilities: data };
  });
});

const textInput = (text: unknown): object => ({ name: 'text', datatype: 'BYTES', shape: [1], data: [text] });
const imageInput = { name: 'image', datatype: 'FP32', shape: [1, 1, 28, 28] };

async function askLanguage(client: TestClient, i: number): Promise<void> {
  const { text, language } = texts[i % texts.length]!;
  const request = { id: `${i}`, inputs: [textInput(text)], outputs: [{ name: 'language' }, { name: 'confidence' }] };
  const reply = parseReply(await client.infer('language-id', request));
  assert.equal(reply.id, `${i}`);
  assert.deepEqual(reply.outputs[0]!.data, [language], text);
  const [confidence] = reply.outputs[1]!.data as number[];
  assert.ok(confidence! > 0 && confidence! <= 1);
}

async function askDigit(client: TestClient, i: number): Promise<void> {
  const image = images[(i * 7) % images.length]!;
  if (i % 2 === 0) {
    const section = bytesOf(image.pixels);
    const request = {
      parameters: { binary_data_output: true },
      inputs: [{ ...imageInput, parameters: { binary_data_size: section.length } }],
    };
    const { reply, sections } = parseBinaryReply(await client.inferBinary('mnist-cnn', request, [section]));
    assertDigit(image, reply, new Float32Array(Uint8Array.from(sections[0]!).buffer));
  } else {
    const request = { inputs: [{ ...imageInput, data: [...image.pixels] }] };
    const reply = parseReply(await client.infer('mnist-cnn', request));
    assertDigit(image, reply, Float32Array.from(reply.outputs[0]!.data as number[]));
  }
}

function assertDigit(image: KnownDigit, reply: InferReply, probabilities: Float32Array): void {
  assert.deepEqual(reply.outputs[0]!.shape, [1, 10]);
  for (const [k, expected] of image.probabilities.entries()) {
    assert.ok(Math.abs(probabilities[k]! - expected) <= TOLERANCE, `${k}: ${probabilities[k]}, alone ${expected}`);
  }
}

/** Wrong requests, each with the code that it must be refused with. */
const WRONG: readonly [ErrorCode, (client: TestClient) => Promise<Answer>][] = [
  ['INVALID_REQUEST', (client) => client.infer('language-id', { inputs: [textInput(5)] })],
  ['INVALID_REQUEST', (client) => client.infer('language-id', { inputs: [textInput('a\0b')] })],
  ['INVALID_REQUEST', (client) => client.infer('language-id', { inputs: [{ ...textInput('a'), shape: [2] }] })],
  ['INVALID_REQUEST', (client) => client.infer('language-id', '{"inputs":[{"name":"text"')],
  ['INVALID_REQUEST', (client) => client.infer('mnist-cnn', { inputs: [textInput('a')] })],
  [
    'INVALID_REQUEST',
    (client) => client.infer('mnist-cnn', { inputs: [{ ...imageInput, data: Array(DIGIT_PIXELS - 1).fill(0) }] }),
  ],
  [
    'INVALID_REQUEST',
    (client) =>
      client.infer('mnist-cnn', { inputs: [{ ...imageInput, shape: [1, 28, 28], data: Array(DIGIT_PIXELS).fill(0) }] }),
  ],
  [
    'INVALID_REQUEST',
    (client) => {
      const input = { ...imageInput, parameters: { binary_data_size: 100 } };
      return client.inferBinary('mnist-cnn', { inputs: [input] }, [Buffer.alloc(100)]);
    },
  ],
  ['MODEL_NOT_FOUND', (client) => client.infer('mnist', { inputs: [] })],
  ['UNSUPPORTED_ENCODING', (client) => client.infer('mnist-cnn', '{}', { 'content-encoding': 'br' })],
  ['METHOD_NOT_ALLOWED', (client) => client.get('/v2/models/mnist-cnn/infer')],
];

/** Has every client send its requests one after the other, all clients at once. */
async function all(send: (i: number) => Promise<void>): Promise<void> {
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, c) => {
      for (let r = 0; r < REQUESTS_PER_CLIENT; r++) await send(c * REQUESTS_PER_CLIENT + r);
    }),
  );
}

describe('real input', () => {
  it('every good answer is right, every wrong request refused, and requests share runs', async (t) => {
    const served = await ServeProcess.start(t, MODELS);
    const client = new TestClient(served.url);
    t.after(() => client.close());

    await all((i) => askLanguage(client, i));
    await all((i) => askDigit(client, i));
    let refused = 0;
    await all(async (i) => {
      if (i % 4 === 3) {
        const [code, send] = WRONG[(i >> 2) % WRONG.length]!;
        expectError(await send(client), code);
        refused++;
      } else if (i % 2 === 0) await askLanguage(client, i);
      else await askDigit(client, i);
    });
    assert.equal(refused, (CLIENTS * REQUESTS_PER_CLIENT) / 4);

    const metrics = await client.metrics();
    const phase = CLIENTS * REQUESTS_PER_CLIENT;
    for (const [model, good] of [
      ['language-id', 1.5 * phase],
      ['mnist-cnn', 1.25 * phase],
    ] as const) {
      const labels = { model, version: '1' };
      const rows = metrics.value('shoal_batch_rows_sum', labels);
      const runs = metrics.value('shoal_batch_rows_count', labels);
      assert.equal(rows, good, 'no wrong request was ever run, and no good one twice');
      assert.ok(rows / runs >= 8, `${model}: ${rows} rows in ${runs} runs`);
      t.diagnostic(`${model}: ${(rows / runs).toFixed(1)} rows a run`);
      assert.equal(metrics.value('shoal_requests_total', { ...labels, protocol: 'v2', outcome: 'ok' }), good);
      for (const outcome of ['failed', 'lost', 'rejected', 'expired', 'cancelled', 'unavailable'])
        assert.equal(metrics.value('shoal_requests_total', { ...labels, protocol: 'v2', outcome }), 0);
    }

    const right = images.filter(
      ({ label, probabilities }) => probabilities.indexOf(Math.max(...probabilities)) === label,
    );
    assert.ok(right.length >= 0.95 * images.length, `${right.length} of ${images.length} digits are what people wrote`);
  });
});
