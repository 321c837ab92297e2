import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Reply } from '../batching/request.ts';
import { invalid, type ShoalError } from '../errors.ts';
import { type CompleteInputs, fetchingIsOff, type RemoteInput } from '../protocol/remote-inputs.ts';
import { errorTiming, serverTiming } from '../protocol/server-timing.ts';
import { runSliced } from '../protocol/sliced.ts';
import type { Protocol } from '../serving/model-version.ts';
import type { Pending, Servable } from '../serving/servable.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { chooseReplyCoding } from './content-coding.ts';
import { forgetLeaver, watchLeaver } from './leavers.ts';
import { type HttpParts, notedOf } from './parts.ts';
import { errorFrom } from './replies.ts';
import type { EncodedReply } from './v2-codec.ts';
import { deflate } from './zlib-streams.ts';

const HEADER_LENGTH = 'inference-header-content-length';

/** JSON replies up to this size are sent as text: Node then writes headers and body at once, with one plain `write`. */
const TEXT_BELOW_BYTES = 8192;

/** What a model version is asked for. */
export interface InferPlan {
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** Inputs that are to be fetched first; undefined when there are none. */
  readonly remote: readonly RemoteInput[] | undefined;
  /** Names, in the order of the answer; undefined stands for all in the model's order. */
  readonly outputs: readonly string[] | undefined;
  /** How long the request may wait for its run to begin. */
  readonly queueTimeoutMs: number | undefined;
  /** See {@link SubmitOptions.priority}. */
  readonly priority: number | undefined;
}

/** What differs between the protocols in which inference is asked for over HTTP; the generators pause now and then. */
export interface Dialect<Call> {
  /** Under this name requests are counted. */
  readonly protocol: Protocol;
  /** Reads a body. @throws {ShoalError} INVALID_REQUEST. */
  decode(body: Buffer, request: FastifyRequest, model: Servable): Generator<void, Call, void>;
  /** What is to be run. @throws {ShoalError} INVALID_REQUEST when its answer could not be given. */
  plan(call: Call, model: Servable): InferPlan;
  /** Writes the reply. @throws {ShoalError} INVALID_REQUEST when the answer cannot be given as it was asked for. */
  encode(call: Call, answer: Reply, model: Servable): Generator<void, EncodedReply, void>;
}

/** The model version that a request is for. @throws {ShoalError} when there is none. */
export type FindModel = (request: FastifyRequest, reply: FastifyReply) => Servable;

/**
 * One inference request over HTTP, from its body to its reply. It goes by callbacks, not promises: at tens of thousands
 * of requests a second each promise shows.
 */
export class InferExchange<Call> {
  readonly #dialect: Dialect<Call>;
  readonly #parts: HttpParts;
  readonly #find: FindModel;
  #model: Servable;
  readonly #request: FastifyRequest;
  readonly #reply: FastifyReply;
  readonly #receivedMs: number;
  #call: Call | undefined;
  #pending: Pending | undefined;
  /** There while inputs are fetched. */
  #fetching: { readonly stop: AbortController; readonly startMs: number } | undefined;

  /**
   * @param request whose model has been noted.
   * @param find looks that model up once more, for when it has been replaced while the body arrived.
   */
  constructor(dialect: Dialect<Call>, parts: HttpParts, request: FastifyRequest, reply: FastifyReply, find: FindModel) {
    this.#find = find;
    this.#dialect = dialect;
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

  #decode(): Call | Promise<Call> {
    const { body } = this.#request;
    if (!Buffer.isBuffer(body)) throw invalid('the request has no body; an inference request in JSON is expected');
    return runSliced(this.#dialect.decode(body, this.#request, this.#model));
  }

  #submit(call: Call): void {
    this.#call = call;
    notedOf(this.#request).release?.();
    if (this.#model.state !== 'ready') this.#model = this.#find(this.#request, this.#reply);
    const plan = this.#dialect.plan(call, this.#model);
    if (plan.remote === undefined) this.#queue(plan, plan.inputs, undefined);
    else this.#fetch(plan, plan.remote).catch((thrown) => this.#fail(thrown));
  }

  #queue(
    { outputs, queueTimeoutMs, priority }: InferPlan,
    inputs: ReadonlyMap<string, Tensor>,
    fetchMs: number | undefined,
  ): void {
    const receivedMs = this.#receivedMs;
    this.#pending = this.#model.submit(inputs, { receivedMs, fetchMs, outputs, queueTimeoutMs, priority });
    watchLeaver(this.#request.raw, this);
    this.#pending.onSettled(this);
  }

  /** Queues the request once the inputs that it gives by their addresses are there. */
  async #fetch(plan: InferPlan, remote: readonly RemoteInput[]): Promise<void> {
    const { remote: fetcher, config, clock } = this.#parts;
    if (fetcher === undefined) throw fetchingIsOff(remote);
    const { inputs } = plan;
    const deadlineMs = this.#receivedMs + config.requestTimeoutMs;
    const stop = new AbortController();
    this.#fetching = { stop, startMs: clock.now() };
    watchLeaver(this.#request.raw, this);
    let complete: CompleteInputs;
    try {
      complete = await fetcher.complete(this.#model, { inputs, remote, deadlineMs, signal: stop.signal });
    } finally {
      forgetLeaver(this.#request.raw, this);
    }
    this.#fetching = undefined;
    // From here on the queue counts them.
    complete.release();
    if (this.#model.state !== 'ready') this.#model = this.#find(this.#request, this.#reply);
    this.#queue(plan, complete.inputs, complete.fetchMs);
  }

  /** Called when the client has closed the connection before it was answered. */
  left(): void {
    this.#fetching?.stop.abort();
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
      const encoded = runSliced(this.#dialect.encode(this.#call!, answer, this.#model));
      if (encoded instanceof Promise) {
        encoded.then((ready) => this.#deliver(answer, ready)).catch((thrown) => this.#fail(thrown));
      } else this.#deliver(answer, encoded);
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  /** Sends the reply, compressed where the client asks for it; only V2's clients are known to undo it. */
  #deliver(answer: Reply, encoded: EncodedReply): void {
    const accepted = this.#request.headers['accept-encoding'];
    if (accepted === undefined || this.#dialect.protocol !== 'v2') {
      this.#send(answer, encoded);
      return;
    }
    const { body } = encoded;
    const coding = chooseReplyCoding(this.#parts.config.httpCompression, String(accepted), body.length);
    if (coding === undefined) {
      this.#send(answer, encoded);
      return;
    }
    deflate(body, coding)
      .then((smaller) => {
        this.#reply.header('content-encoding', coding).header('vary', 'Accept-Encoding');
        this.#send(answer, { ...encoded, body: smaller }, true);
      })
      .catch((thrown) => this.#fail(thrown));
  }

  #send(answer: Reply, { body, contentType, headerLength }: EncodedReply, isCompressed = false): void {
    const { clock } = this.#parts;
    const reply = this.#reply;
    const endMs = clock.now();
    reply.header('content-type', contentType);
    this.#closeWhenDraining();
    if (headerLength !== undefined) reply.header(HEADER_LENGTH, String(headerLength));
    reply.header('server-timing', serverTiming(answer, endMs, clock.now() - this.#receivedMs));
    this.#model.events.finished(this.#dialect.protocol, this.#receivedMs, endMs, undefined, answer.stamps);
    if (headerLength === undefined && body.length <= TEXT_BELOW_BYTES && !isCompressed) {
      // Without a serializer of the reply's own, Fastify adds a charset to the type of a text.
      reply.serializer(String).send(body.toString());
    } else reply.send(body);
  }

  #fail(thrown: unknown): void {
    const endMs = this.#parts.clock.now();
    const error: ShoalError = errorFrom(thrown);
    const fetchMs = this.#fetching === undefined ? undefined : endMs - this.#fetching.startMs;
    this.#reply.header('server-timing', errorTiming(this.#receivedMs, this.#pending?.stamps, endMs, fetchMs));
    this.#model.events.finished(
      this.#dialect.protocol,
      this.#receivedMs,
      endMs,
      error.code,
      this.#pending?.stamps,
      fetchMs,
    );
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
  { protocol }: Pick<Dialect<never>, 'protocol'>,
  { clock }: HttpParts,
  request: FastifyRequest,
  reply: FastifyReply,
  thrown: unknown,
): void {
  const { model, receivedMs } = notedOf(request);
  // The name of an unknown model must not become a label.
  if (model === undefined || reply.hasHeader('server-timing')) return;
  model.events.finished(protocol, receivedMs, clock.now(), errorFrom(thrown).code, undefined);
}
