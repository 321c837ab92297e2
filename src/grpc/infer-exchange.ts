import type { Reply } from '../batching/request.ts';
import { ShoalError } from '../errors.ts';
import { checkClassification, classifyOutput } from '../protocol/classification.ts';
import { fetchingIsOff, type RemoteInput } from '../protocol/remote-inputs.ts';
import { runSliced } from '../protocol/sliced.ts';
import type { Pending, Servable } from '../serving/servable.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { encodeInferReply } from './infer-reply.ts';
import { type InferCall, InferRequestReader, readInferRequest } from './infer-request.ts';
import type { GrpcParts } from './parts.ts';
import { publicError } from './status.ts';

/** Where a request came from and where its answer goes. */
export interface InferCaller {
  /** Whether the answer is a `ModelStreamInferResponse`. */
  readonly inStream: boolean;
  /** Wall-clock instant at which the caller stops waiting, in milliseconds; Infinity when it waits for ever. */
  readonly deadlineAtMs: number;
  /** Called once with the encoded reply, or else {@link refused} is. */
  replied(message: Buffer, answer: Reply, receivedMs: number, endMs: number): void;
  refused(error: ShoalError, exchange: InferExchange): void;
}

/** A client's own timer ends a call about when ours would; what ends within this time is taken to be late, not to have left. */
const LATE_MS = 10;

/** One inference request over gRPC, from its message to its reply; by callbacks, as over HTTP. */
export class InferExchange {
  readonly #parts: GrpcParts;
  readonly #caller: InferCaller;
  readonly #reader: InferRequestReader;
  readonly #receivedMs: number;
  #call: InferCall | undefined;
  #model: Servable | undefined;
  #pending: Pending | undefined;
  #hasLeft = false;
  /** There while inputs are fetched. */
  #fetching: { readonly stop: AbortController; readonly startMs: number } | undefined;

  /** @param message a `ModelInferRequest`; it must not change until the caller has been answered. */
  constructor(parts: GrpcParts, message: Buffer, caller: InferCaller) {
    this.#parts = parts;
    this.#caller = caller;
    this.#reader = new InferRequestReader(message, (name) => parts.registry.opaqueInputs(name));
    this.#receivedMs = parts.clock.now();
  }

  /** The bytes of the request's id as far as it has been read. */
  get id(): Buffer | undefined {
    return this.#reader.id;
  }

  /** Decodes, queues, and answers. */
  run(): void {
    try {
      const call = runSliced(readInferRequest(this.#reader));
      if (call instanceof Promise) call.then((ready) => this.#submit(ready)).catch((thrown) => this.#fail(thrown));
      else this.#submit(call);
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  /** Gives the request up: the caller has left, or its deadline has passed. */
  leave(): void {
    this.#hasLeft = true;
    this.#fetching?.stop.abort(this.#isLate() ? pastDeadline() : undefined);
    if (this.#pending !== undefined && !this.#isLate()) this.#model!.cancel(this.#pending);
    // Else the batcher's own deadline, which is the same, ends it as what it is.
  }

  /** Called when the request has been refused or has failed. */
  failed(error: ShoalError): void {
    this.#fail(error);
  }

  /** Called with the request's own rows. */
  answered(answer: Reply): void {
    try {
      const encoded = runSliced(this.#encode(answer));
      if (encoded instanceof Promise) {
        encoded.then((ready) => this.#reply(answer, ready)).catch((thrown) => this.#fail(thrown));
      } else this.#reply(answer, encoded);
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #submit(call: InferCall): void {
    const model = this.#findModel();
    this.#call = call;
    if (this.#hasLeft) throw new ShoalError('CANCELLED', 'the caller left');
    const { deadlineAtMs } = this.#caller;
    const leftMs = deadlineAtMs === Number.POSITIVE_INFINITY ? undefined : deadlineAtMs - Date.now();
    if (leftMs !== undefined && leftMs <= 0) throw pastDeadline();
    if (call.outputs !== undefined) checkClassification(model.signature?.outputs ?? [], call.outputs);
    if (call.remote === undefined) this.#queue(model, call, leftMs, undefined);
    else this.#fetch(model, call, call.remote, leftMs).catch((thrown) => this.#fail(thrown));
  }

  #queue(model: Servable, call: InferCall, leftMs: number | undefined, fetchMs: number | undefined): void {
    const elapsedMs = this.#parts.clock.now() - this.#receivedMs;
    this.#pending = model.submit(call.inputs, {
      receivedMs: this.#receivedMs,
      fetchMs,
      outputs: call.outputs?.map((output) => output.name),
      timeoutMs: leftMs === undefined ? undefined : leftMs + elapsedMs,
      queueTimeoutMs: call.timeoutMs,
      priority: call.priority,
    });
    this.#pending.onSettled(this);
  }

  /** Queues the request once the inputs that it gives by their addresses are there. */
  async #fetch(
    model: Servable,
    call: InferCall,
    remote: readonly RemoteInput[],
    leftMs: number | undefined,
  ): Promise<void> {
    const { remote: fetcher, config, clock } = this.#parts;
    if (fetcher === undefined) throw fetchingIsOff(remote);
    const { inputs } = call;
    const startMs = clock.now();
    const deadlineMs = Math.min(
      this.#receivedMs + config.requestTimeoutMs,
      startMs + (leftMs ?? Number.POSITIVE_INFINITY),
    );
    const stop = new AbortController();
    this.#fetching = { stop, startMs };
    const complete = await fetcher.complete(model, { inputs, remote, deadlineMs, signal: stop.signal });
    this.#fetching = undefined;
    complete.release();
    // Another version may have taken the place of this one.
    if (model.state !== 'ready') this.#model = undefined;
    const left = leftMs === undefined ? undefined : leftMs - (clock.now() - startMs);
    if (left !== undefined && left <= 0) throw pastDeadline();
    this.#queue(this.#findModel(), { ...call, inputs: complete.inputs }, left, complete.fetchMs);
  }

  /** The version asked for. @throws {ShoalError} MODEL_NOT_FOUND. */
  #findModel(): Servable {
    const { modelName, modelVersion } = this.#reader;
    this.#model ??= this.#parts.registry.servable(modelName, modelVersion === '' ? undefined : modelVersion);
    return this.#model;
  }

  #isLate(): boolean {
    return Date.now() >= this.#caller.deadlineAtMs - LATE_MS;
  }

  *#encode(answer: Reply): Generator<void, Buffer, void> {
    const { outputs: asked, isRaw } = this.#call!;
    const model = this.#model!;
    const specs = model.signature!.outputs;
    const outputs: { name: string; tensor: Tensor }[] = [];
    // Typed contents have no place for FP16.
    let raw = isRaw;
    for (let i = 0; i < answer.outputs.length; i++) {
      const tensor = answer.outputs[i]!;
      if (tensor.datatype === 'FP16') raw = true;
      if (asked === undefined) outputs.push({ name: specs[i]!.name, tensor });
      else {
        const one = asked[i]!;
        if (one.binary === true) raw = true;
        outputs.push({ name: one.name, tensor: one.classes > 0 ? yield* classifyOutput(model, one, tensor) : tensor });
      }
    }
    return yield* encodeInferReply(
      { modelName: model.name, modelVersion: model.version, id: this.#reader.id, outputs, isRaw: raw },
      { inStream: this.#caller.inStream, limitBytes: this.#parts.config.bodyLimitBytes },
    );
  }

  #reply(answer: Reply, message: Buffer): void {
    const endMs = this.#parts.clock.now();
    this.#model!.events.finished('grpc', this.#receivedMs, endMs, undefined, answer.stamps);
    this.#caller.replied(message, answer, this.#receivedMs, endMs);
  }

  #fail(thrown: unknown): void {
    let error = publicError(thrown, this.#parts.logger);
    try {
      // Whatever is wrong with a request to a model that does not exist, that is what its caller should know.
      const { events } = this.#findModel();
      const endMs = this.#parts.clock.now();
      const fetchMs = this.#fetching === undefined ? undefined : endMs - this.#fetching.startMs;
      events.finished('grpc', this.#receivedMs, endMs, error.code, this.#pending?.stamps, fetchMs);
    } catch (unknown) {
      // The name of an unknown model must not become a label of the metrics.
      if (this.#reader.modelName !== '') error = publicError(unknown, this.#parts.logger);
    }
    this.#caller.refused(error, this);
  }
}

function pastDeadline(): ShoalError {
  return new ShoalError('DEADLINE_EXCEEDED', 'the deadline of the call has passed before its request was complete');
}
