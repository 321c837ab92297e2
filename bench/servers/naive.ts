import { fastify } from 'fastify';
import * as ort from 'onnxruntime-node';
import type { BenchModel } from '../cases.ts';
import { readSettings, serve } from './program.ts';

/**
 * What one writes first: Fastify with its own JSON parser (raw bytes for a binary body), one ONNX Runtime session with
 * default options, `await session.run` in the handler, the reply returned as an object. Nothing is checked.
 */

/** Settings of this program. */
export interface NaiveSettings {
  readonly file: string;
  readonly model: BenchModel;
}

interface InferBody {
  readonly inputs: readonly [{ readonly shape: number[]; readonly data: number[] }];
}

const { file, model } = readSettings<NaiveSettings>();
const session = await ort.InferenceSession.create(file);
const app = fastify({ bodyLimit: 64 * 1024 * 1024 });
app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

app.post('/v2/models/:model/infer', async (request, reply) => {
  if (!Buffer.isBuffer(request.body)) {
    const [{ shape, data }] = (request.body as InferBody).inputs;
    const output = await run(shape, Float32Array.from(data));
    return describe(output, { data: Array.from(output.data as Float32Array) });
  }
  const end = Number(request.headers['inference-header-content-length']);
  const { inputs } = JSON.parse(request.body.toString('utf8', 0, end)) as InferBody;
  // A copy, because the bytes may start anywhere.
  const output = await run(inputs[0].shape, new Float32Array(Uint8Array.from(request.body.subarray(end)).buffer));
  const data = output.data as Float32Array;
  const head = Buffer.from(JSON.stringify(describe(output, { parameters: { binary_data_size: data.byteLength } })));
  reply.header('content-type', 'application/octet-stream');
  reply.header('inference-header-content-length', head.length);
  return Buffer.concat([head, Buffer.from(data.buffer, data.byteOffset, data.byteLength)]);
});

await serve(app);

async function run(shape: readonly number[], data: Float32Array): Promise<ort.Tensor> {
  const results = await session.run({ [model.input]: new ort.Tensor('float32', data, shape) });
  return results[model.output]!;
}

function describe({ dims }: ort.Tensor, data: object): object {
  const output = { name: model.output, datatype: 'FP32', shape: dims, ...data };
  return { model_name: model.name, model_version: '1', outputs: [output] };
}
