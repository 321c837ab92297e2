import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Reply, Stamps } from '../../batching/request.ts';
import { ShoalError } from '../../errors.ts';
import type { Values } from '../../pipeline/field-tensors.ts';
import type { PipelineCall } from '../../pipeline/pipeline-call.ts';
import type { PipelineProtocol, PipelineVersion } from '../../pipeline/pipeline-version.ts';
import { StageTally } from '../../pipeline/stage-tally.ts';
import { completeValues, hasRemoteValues } from '../../protocol/remote-values.ts';
import { errorTiming, serverTiming } from '../../protocol/server-timing.ts';
import { runSliced } from '../../protocol/sliced.ts';
import { forgetLeaver, watchLeaver } from '../leavers.ts';
import { type HttpParts, notedOf } from '../parts.ts';
import { errorFrom, JSON_TYPE } from '../replies.ts';

/** What a request asks of a pipeline. */
export interface PlainRequest {
  /** The inputs of each call. */
  readonly calls: readonly Values[];
  /** Writes the reply from the outputs of all calls, in their order. */
  readonly encode: (outputs: readonly Values[]) => Generator<void, Buffer, void>;
}

/** Reads a request. @throws {ShoalError} INVALID_REQUEST, BODY_TOO_LARGE or UNSUPPORTED_MEDIA_TYPE. */
export type ReadPlain = (
  request: FastifyRequest,
  pipeline: PipelineVersion,
) => Generator<void, PlainRequest, void> | Promise<PlainRequest>;

/** A request to a pipeline whose fields are as they are, not as tensors: from its body to its reply. */
export class CallExchange {
  readonly #protocol: PipelineProtocol;
  readonly #parts: HttpParts;
  readonly #pipeline: PipelineVersion;
  readonly #request: FastifyRequest;
  readonly #reply: FastifyReply;
  readonly #receivedMs: number;
  #calls: readonly PipelineCall[] = [];
  #hasLeft = false;
  /** There while inputs are fetched. */
  #fetching: { readonly stop: AbortController; readonly startMs: number } | undefined;
  #isDone = false;

  constructor(
    protocol: PipelineProtocol,
    parts: HttpParts,
    request: FastifyRequest,
    reply: FastifyReply,
    pipeline: PipelineVersion,
  ) {
    this.#protocol = protocol;
    this.#parts = parts;
    this.#request = request;
    this.#reply = reply;
    this.#pipeline = pipeline;
    this.#receivedMs = notedOf(request).receivedMs;
  }

  /** Reads, calls, and sends the reply or the error; resolves when that is done, and never rejects. */
  async run(read: ReadPlain): Promise<void> {
    watchLeaver(this.#request.raw, this);
    try {
      const reading = read(this.#request, this.#pipeline);
      const { calls, encode } = await (reading instanceof Promise ? reading : runSliced(reading));
      notedOf(this.#request).release?.();
      if (this.#hasLeft) throw new ShoalError('CANCELLED', 'the caller left');
      const answers = hasRemoteValues(calls) ? await this.#fetchAndCall(calls) : await this.#callAll(calls, 0);
      const body = await runSliced(encode(this.#calls.map((call) => call.values)));
      this.#send(answers, body);
    } catch (thrown) {
      this.#fail(thrown);
    } finally {
      forgetLeaver(this.#request.raw, this);
    }
  }

  /** Called when the client has closed the connection before it was answered. */
  left(): void {
    this.#hasLeft = true;
    this.#fetching?.stop.abort();
    for (const call of this.#calls) call.cancel();
  }

  async #fetchAndCall(calls: readonly Values[]): Promise<readonly Reply[]> {
    const { remote, config, clock } = this.#parts;
    const stop = new AbortController();
    this.#fetching = { stop, startMs: clock.now() };
    const deadlineMs = this.#receivedMs + config.requestTimeoutMs;
    const complete = await completeValues(remote, calls, { deadlineMs, signal: stop.signal });
    this.#fetching = undefined;
    // From here on the pipeline counts them.
    complete.release();
    return this.#callAll(complete.calls, complete.fetchMs);
  }

  async #callAll(calls: readonly Values[], fetchMs: number): Promise<readonly Reply[]> {
    const begun: PipelineCall[] = [];
    this.#calls = begun;
    try {
      for (const values of calls) begun.push(this.#pipeline.call(values, { receivedMs: this.#receivedMs, fetchMs }));
      return await Promise.all(begun.map((call) => call.settle()));
    } catch (thrown) {
      // One is answered for all, and there is no use for the others any more.
      for (const call of begun) call.cancel();
      throw thrown;
    }
  }

  #send(answers: readonly Reply[], body: Buffer): void {
    const { clock } = this.#parts;
    const endMs = clock.now();
    const reply = this.#reply;
    const answer = this.#calls.length === 1 ? answers[0]! : joined(this.#calls, answers);
    reply.header('content-type', JSON_TYPE);
    reply.header('server-timing', serverTiming(answer, endMs, clock.now() - this.#receivedMs));
    this.#finish(endMs, undefined, answer.stamps);
    reply.send(body);
  }

  #fail(thrown: unknown): void {
    if (this.#isDone) return;
    const endMs = this.#parts.clock.now();
    const error: ShoalError = errorFrom(thrown);
    const fetchMs = this.#fetching === undefined ? undefined : endMs - this.#fetching.startMs;
    this.#reply.header('server-timing', errorTiming(this.#receivedMs, this.#calls[0]?.stamps, endMs, fetchMs));
    this.#finish(endMs, error.code, undefined);
    this.#reply.send(thrown);
  }

  #finish(endMs: number, code: ShoalError['code'] | undefined, stamps: Readonly<Stamps> | undefined): void {
    this.#isDone = true;
    this.#pipeline.events.finished(this.#protocol, this.#receivedMs, endMs, code, stamps);
    if (this.#parts.isDraining()) this.#reply.header('connection', 'close');
  }
}

/** The answers of several calls as one, for its timing. */
function joined(calls: readonly PipelineCall[], answers: readonly Reply[]): Reply {
  const stages = new StageTally();
  for (const call of calls) stages.add(call.stages);
  const first = answers[0]!;
  const settledMs = Math.max(...answers.map(({ stamps }) => stamps.settledMs));
  const costMs = answers.reduce((sum, answer) => sum + answer.costMs, 0);
  return { outputs: [], batch: first.batch, costMs, stamps: { ...first.stamps, settledMs }, parts: stages.parts() };
}
