import type { FastifyRequest } from 'fastify';
import type { Reply } from '../batching/request.ts';
import { invalid } from '../errors.ts';
import { checkClassification, classifyOutput } from '../protocol/classification.ts';
import type { Servable } from '../serving/servable.ts';
import { toBase64Texts } from '../tensor/base64-texts.ts';
import type { Signature } from '../tensor/signature.ts';
import type { Dialect, InferPlan } from './exchange.ts';
import {
  decodeInferRequest,
  type EncodedReply,
  encodeInferReply,
  type InferCall,
  type InferReply,
} from './v2-codec.ts';
import { decodeRawBody, isRawBody } from './v2-raw-body.ts';
import type { RequestedOutput } from './v2-request.ts';

const HEADER_LENGTH = 'inference-header-content-length';

/** Inference as the Open Inference Protocol, version 2, has it. */
export const V2_DIALECT: Dialect<InferCall> = { protocol: 'v2', decode, plan, encode };

function decode(body: Buffer, { headers }: FastifyRequest, model: Servable): Generator<void, InferCall, void> {
  const headerLength = headers[HEADER_LENGTH];
  if (Array.isArray(headerLength)) throw invalid(`header ${HEADER_LENGTH} is there more than once`);
  if (headerLength !== undefined && isRawBody(headerLength)) return decodeRawBody(body, model);
  return decodeInferRequest(body, headerLength, model.opaque?.inputs);
}

function plan(call: InferCall, { signature }: Servable): InferPlan {
  if (call.outputs !== undefined) checkClassification(signature?.outputs ?? [], call.outputs);
  refuseUnwritable(call, signature);
  return {
    inputs: call.inputs,
    remote: call.remote,
    outputs: call.outputs?.map((output) => output.name),
    queueTimeoutMs: call.timeoutMs,
    priority: call.priority,
  };
}

function encode(call: InferCall, answer: Reply, model: Servable): Generator<void, EncodedReply, void> {
  const { outputs: asked, binaryByDefault, id } = call;
  const specs = model.signature!.outputs;
  const outputs: InferReply['outputs'][number][] = [];
  for (let i = 0; i < answer.outputs.length; i++) {
    const { name, binary } = asked === undefined ? { name: specs[i]!.name, binary: undefined } : asked[i]!;
    const isBinary = binary ?? binaryByDefault;
    const isOpaque = !isBinary && model.opaque?.outputs.has(name) === true;
    const tensor = isOpaque ? toBase64Texts(answer.outputs[i]!) : answer.outputs[i]!;
    outputs.push({ name, tensor, binary: isBinary });
  }
  const reply = { modelName: model.name, modelVersion: model.version, id, outputs };
  const ranked = asked?.some(({ classes }) => classes > 0) ?? false;
  return ranked ? encodeClasses(model, asked!, reply) : encodeInferReply(reply);
}

/** {@link encodeInferReply} with classes in place of the outputs for which they were asked. */
function* encodeClasses(
  model: Servable,
  asked: readonly RequestedOutput[],
  reply: InferReply,
): Generator<void, EncodedReply, void> {
  const outputs: InferReply['outputs'][number][] = [];
  for (const [i, output] of reply.outputs.entries()) {
    outputs.push({ ...output, tensor: yield* classifyOutput(model, asked[i]!, output.tensor) });
  }
  return yield* encodeInferReply({ ...reply, outputs });
}

/** JSON does not carry FP16; who would get it so is told before anything runs. */
function refuseUnwritable({ outputs: asked, binaryByDefault }: InferCall, signature: Signature | undefined): void {
  for (const { name, datatype } of signature?.outputs ?? []) {
    if (datatype !== 'FP16') continue;
    const wanted = asked === undefined ? { binary: undefined } : asked.find((one) => one.name === name);
    if (wanted === undefined || (wanted.binary ?? binaryByDefault)) continue;
    throw invalid(`output '${name}' is FP16, which is sent in binary only: ask for binary_data or binary_data_output`);
  }
}
