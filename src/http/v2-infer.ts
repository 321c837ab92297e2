import type { FastifyReply, FastifyRequest } from 'fastify';
import type { PendingRequest, Reply } from '../batching/request.ts';
import { invalid, type ShoalError } from '../errors.ts';
import { checkClassification, classifyOutput } from '../protocol/classification.ts';
import { errorTiming, serverTiming } from '../protocol/server-timing.ts';
import { runSliced } from '../protocol/sliced.ts';
import type { ModelVersion } from '../serving/model-version.ts';
import type { Signature } from '../tensor/signature.ts';
import { forgetLeaver, watchLeaver } from './leavers.ts';
import { type HttpParts, notedOf } from './parts.ts';
import { errorFrom } from './replies.ts';
import {
  decodeInferRequest,
  type EncodedReply,
  encodeInferReply,
  type InferCall,
  type InferReply,
  type RequestedOutput,
} from './v2-codec.ts';

const HEADER_LENGTH = 'inference-header-content-length';

/** JSON replies up to this size are sent as text: Node then writes headers and body at once, with one plain `write`. */
const TEXT_BELOW_BYTES = 8192;

/**
 * One inference request over HTTP, from its body to its reply. It goes by callbacks, not promises: at tens of thousands
 * of requests a second each promise shows.
 */
export class InferExchange {
  readonly #parts: HttpParts;
  readonly #model: ModelVersion;
  readonly #request: FastifyRequest;
  readonly #reply: FastifyReply;
  readonly #receivedMs: number;
  #call: InferCall | undefined;
  #pending: PendingRequest | undefined;

  /** @param request whose model has been noted. */
  constructor(parts: HttpParts, request: FastifyRequest, reply: FastifyReply) {
    this.#parts = parts;
    this.#request = request;
    this.#reply = reply;
    const { model, receivedMs } = notedOf(request);
    this.#model = model!;
    this.#receivedMs = receivedMs;
  }

  /** Decodes, queues, and sends the reply or the error when there is one. */
  run(): void {
    try {
      const call = this.#decode();
      if (call instanceof Promise) call.then((ready) => this.#submit(ready)).catch((thrown) => this.#fail(thrown));
      else this.#submit(call);
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #decode(): InferCall | Promise<InferCall> {
    const headerLength = this.#request.headers[HEADER_LENGTH];
    if (Array.isArray(headerLength)) throw invalid(`header ${HEADER_LENGTH} is there more than once`);
    const { body } = this.#request;
    if (!Buffer.isBuffer(body)) throw invalid('the request has no body; an inference request in JSON is expected');
    return runSliced(decodeInferRequest(body, headerLength));
  }

  #submit(call: InferCall): void {
    this.#call = call;
    if (call.outputs !== undefined) checkClassification(this.#model.signature?.outputs ?? [], call.outputs);
    refuseUnwritable(call, this.#model.signature);
    this.#pending = this.#model.submit(call.inputs, {
      receivedMs: this.#receivedMs,
      outputs: call.outputs?.map((output) => output.name),
      queueTimeoutMs: call.timeoutMs,
    });
    watchLeaver(this.#request.raw, this);
    this.#pending.onSettled(this);
  }

  /** Called when the client has closed the connection before it was answered. */
  left(): void {
    if (this.#pending !== undefined) this.#model.cancel(this.#pending);
  }

  /** Called when the request has been refused or has failed. */
  failed(error: ShoalError): void {
    forgetLeaver(this.#request.raw, this);
    this.#fail(error);
  }

  /** Called with the request's own rows. */
  answered(answer: Reply): void {
    forgetLeaver(this.#request.raw, this);
    try {
      const { outputs: asked, binaryByDefault, id } = this.#call!;
      const specs = this.#model.signature!.outputs;
      const outputs: InferReply['outputs'][number][] = [];
      for (let i = 0; i < answer.outputs.length; i++) {
        const { name, binary } = asked === undefined ? { name: specs[i]!.name, binary: undefined } : asked[i]!;
        outputs.push({ name, tensor: answer.outputs[i]!, binary: binary ?? binaryByDefault });
      }
      const { name: modelName, version: modelVersion } = this.#model;
      const reply = { modelName, modelVersion, id, outputs };
      const ranked = asked?.some(({ classes }) => classes > 0) ?? false;
      const encoded = runSliced(ranked ? encodeClasses(this.#model, asked!, reply) : encodeInferReply(reply));
      if (encoded instanceof Promise) {
        encoded.then((ready) => this.#send(answer, ready)).catch((thrown) => this.#fail(thrown));
      } else this.#send(answer, encoded);
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #send(answer: Reply, { body, contentType, headerLength }: EncodedReply): void {
    const { clock } = this.#parts;
    const reply = this.#reply;
    const endMs = clock.now();
    reply.header('content-type', contentType);
    this.#closeWhenDraining();
    if (headerLength !== undefined) reply.header(HEADER_LENGTH, String(headerLength));
    reply.header('server-timing', serverTiming(answer, endMs, clock.now() - this.#receivedMs));
    this.#model.events.finished('v2', this.#receivedMs, endMs, undefined, answer.stamps);
    if (headerLength === undefined && body.length <= TEXT_BELOW_BYTES) {
      // Without a serializer of the reply's own, Fastify adds a charset to the type of a text.
      reply.serializer(String).send(body.toString());
    } else reply.send(body);
  }

  #fail(thrown: unknown): void {
    const endMs = this.#parts.clock.now();
    const error: ShoalError = errorFrom(thrown);
    this.#reply.header('server-timing', errorTiming(this.#receivedMs, this.#pending?.stamps, endMs));
    this.#model.events.finished('v2', this.#receivedMs, endMs, error.code, undefined);
    this.#closeWhenDraining();
    this.#reply.send(thrown);
  }

  /** Draining may have begun while the request waited; its client must not send another one after the answer. */
  #closeWhenDraining(): void {
    if (this.#parts.isDraining()) this.#reply.header('connection', 'close');
  }
}

/**
 * Counts a request that was refused before its {@link InferExchange} began: by its headers, its size, or because the
 * client left while it sent the body. An exchange counts by itself, and leaves its timing behind.
 */
export function countEarlyError(
  { clock }: HttpParts,
  request: FastifyRequest,
  reply: FastifyReply,
  thrown: unknown,
): void {
  const { model, receivedMs } = notedOf(request);
  // The name of an unknown model must not become a label.
  if (model === undefined || reply.hasHeader('server-timing')) return;
  model.events.finished('v2', receivedMs, clock.now(), errorFrom(thrown).code, undefined);
}

/** {@link encodeInferReply} with classes in place of the outputs for which they were asked. */
function* encodeClasses(
  model: ModelVersion,
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
