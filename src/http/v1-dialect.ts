import type { FastifyRequest } from 'fastify';
import type { Reply } from '../batching/request.ts';
import { invalid } from '../errors.ts';
import type { Servable } from '../serving/servable.ts';
import { ByteWriter } from '../tensor/byte-writer.ts';
import { estimateJsonBytes } from '../tensor/json-encode.ts';
import { NestedJsonWriter, partOf } from '../tensor/json-nested.ts';
import { formatShape } from '../tensor/tensor.ts';
import type { Dialect, InferPlan } from './exchange.ts';
import { decodePredictRequest, type PredictCall } from './v1-request.ts';
import type { EncodedReply } from './v2-codec.ts';

/** Inference as KServe's version 1 and TensorFlow Serving have it: `instances` or `inputs` in, nested JSON out. */
export const V1_DIALECT: Dialect<PredictCall> = { protocol: 'v1', decode, plan, encode };

function* decode(body: Buffer, _request: FastifyRequest, model: Servable): Generator<void, PredictCall, void> {
  if (model.signature === undefined) {
    model.events.refused('MODEL_NOT_READY');
    throw model.notReady();
  }
  return yield* decodePredictRequest(body, model.signature);
}

function plan({ inputs, remote, rows }: PredictCall, { name, signature }: Servable): InferPlan {
  if (rows !== undefined && signature?.batched) {
    const other = signature.outputs.find((spec) => spec.batchAxis !== 0);
    if (other !== undefined) {
      throw invalid(
        `output '${other.name}' of model '${name}' does not begin with its rows, which 'instances' are answered by: send 'inputs'`,
      );
    }
  }
  return { inputs, remote, outputs: undefined, queueTimeoutMs: undefined, priority: undefined };
}

function* encode({ rows }: PredictCall, { outputs }: Reply, model: Servable): Generator<void, EncodedReply, void> {
  const names = model.signature!.outputs.map(({ name }) => name);
  let expected = 64;
  for (const tensor of outputs) expected += 2 * estimateJsonBytes(tensor);
  const writer = new ByteWriter(Math.ceil(expected));
  const nested = new NestedJsonWriter(writer);
  const keys = names.map((name) => `${JSON.stringify(name)}:`);
  if (rows !== undefined) {
    for (const [i, { shape }] of outputs.entries()) {
      if (shape[0] === rows) continue;
      throw invalid(
        `output '${names[i]}' has shape ${formatShape(shape)}, which is no row for each of ${rows} instances: send 'inputs'`,
      );
    }
  }
  writer.ascii(rows === undefined ? '{"outputs":' : '{"predictions":');
  if (outputs.length === 1) yield* nested.write(outputs[0]!, names[0]!);
  else if (rows === undefined) {
    for (const [i, tensor] of outputs.entries()) {
      writer.text(`${i === 0 ? '{' : ','}${keys[i]}`);
      yield* nested.write(tensor, names[i]!);
    }
    writer.ascii('}');
  } else {
    const offsets = outputs.map(() => 0);
    for (let row = 0; row < rows; row++) {
      writer.ascii(row === 0 ? '[' : ',');
      for (const [i, tensor] of outputs.entries()) {
        writer.text(`${i === 0 ? '{' : ','}${keys[i]}`);
        const part = partOf(tensor, offsets[i]!, names[i]!);
        offsets[i]! += part.bytes.length;
        yield* nested.write(part, names[i]!);
      }
      writer.ascii('}');
    }
    writer.ascii(']');
  }
  writer.ascii('}');
  return { body: writer.finish(), contentType: 'application/json', headerLength: undefined };
}
