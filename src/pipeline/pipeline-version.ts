import type { Reply, Stamps } from '../batching/request.ts';
import type { Config } from '../config.ts';
import { type ErrorCode, invalid, ShoalError } from '../errors.ts';
import { checkTensors } from '../serving/check-tensors.ts';
import { DEFAULT_SETTINGS, type ModelSettings } from '../serving/model-settings.ts';
import type {
  InferOptions,
  ModelState,
  ModelSummary,
  Protocol,
  SubmitOptions,
  VersionEvents,
} from '../serving/model-version.ts';
import type { Pending, Servable } from '../serving/servable.ts';
import { checkOutputs, type Signature } from '../tensor/signature.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type CompiledField, compileFields } from './compiled-field.ts';
import type { Pipeline } from './define.ts';
import { checkInputValues, tensorFromValue, type Values, valuesFromTensors } from './field-tensors.ts';
import { type CallHost, type FinishCall, PipelineCall } from './pipeline-call.ts';

/** How a request to a pipeline came in; `plain` is the door of its own. */
export type PipelineProtocol = Protocol | 'plain';

/** What a pipeline and its doors report. Calls must not throw. */
export interface PipelineEvents extends Pick<VersionEvents, 'refused'> {
  /** See {@link VersionEvents.finished}. */
  finished(
    protocol: PipelineProtocol,
    receivedMs: number,
    endMs: number,
    code: ErrorCode | undefined,
    stamps: Readonly<Stamps> | undefined,
  ): void;
  /** The pipeline they are about is served from now on. */
  placed(version: PipelineVersion): void;
  /** Its code has held the event loop for so long within one turn. */
  held(ms: number): void;
  /** A call that was taken has been settled; `code` is undefined when it was answered. */
  settled(call: PipelineCall, code: ErrorCode | undefined): void;
}

/** What a pipeline works with. */
export interface PipelineHost extends CallHost {
  readonly config: Pick<Config, 'requestTimeoutMs' | 'maxQueueRows' | 'maxQueueBytes'>;
  readonly events: PipelineEvents;
  /** Why a model or pipeline that it needs does not answer now; undefined when it does. */
  missing(name: string): string | undefined;
}

/** Its only version. */
const VERSION = '1';

const NO_LABELS: ReadonlyMap<string, readonly string[]> = new Map();

/** A pipeline as it is served: its fields, its limits, and the calls that are under way. */
export class PipelineVersion implements Servable {
  readonly kind = 'pipeline' as const;
  readonly name: string;
  readonly version: string = VERSION;
  readonly description: string;
  readonly inputs: readonly CompiledField[];
  readonly outputs: readonly CompiledField[];
  readonly signature: Signature;
  readonly opaque: NonNullable<Servable['opaque']>;
  readonly labels: ReadonlyMap<string, readonly string[]> = NO_LABELS;
  readonly settings: ModelSettings = DEFAULT_SETTINGS;
  readonly sharesRuns = false;
  readonly maxBatchSize = 1;
  readonly batchWindowMs = 0;
  readonly events: PipelineEvents;
  readonly #pipeline: Pipeline;
  readonly #host: PipelineHost;
  readonly #file: string;
  readonly #calls: Map<PipelineCall, number> = new Map();
  #heldBytes = 0;
  #state: ModelState = 'ready';
  #drained: (() => void)[] = [];

  /**
   * @param name which nothing else has.
   * @param file where it comes from; empty where a program registered it.
   * @throws {TypeError} for a schema that cannot be compiled.
   */
  constructor(name: string, pipeline: Pipeline, file: string, host: PipelineHost) {
    this.name = name;
    this.description = pipeline.description ?? '';
    this.#pipeline = pipeline;
    this.#file = file;
    this.#host = host;
    this.events = host.events;
    this.inputs = compileFields(pipeline.input, `pipeline '${name}'`);
    this.outputs = compileFields(pipeline.output, `pipeline '${name}'`);
    const specs = (fields: readonly CompiledField[]): Signature['inputs'] => fields.map(({ spec }) => spec);
    const opaque = (fields: readonly CompiledField[]): Set<string> =>
      new Set(fields.filter((field) => field.kind === 'bytes').map((field) => field.name));
    this.opaque = { inputs: opaque(this.inputs), outputs: opaque(this.outputs) };
    this.events.placed(this);
    this.signature = { inputs: specs(this.inputs), outputs: specs(this.outputs), batched: false };
  }

  get state(): ModelState {
    return this.#state;
  }

  get isReady(): boolean {
    return this.#state === 'ready' && this.#missing() === undefined;
  }

  /** Calls that are under way. */
  get inflightRequests(): number {
    return this.#calls.size;
  }

  notReady(): ShoalError {
    const why = this.#state === 'ready' ? `: ${this.#missing() ?? 'no reason is left'}` : `: it is ${this.#state}`;
    return new ShoalError('MODEL_NOT_READY', `pipeline '${this.name}' is not ready${why}`);
  }

  summary(): ModelSummary {
    return {
      name: this.name,
      version: VERSION,
      state: this.#state,
      reason: undefined,
      provider: 'cpu',
      providerReason: 'a function of the server; each model it asks runs where that runs',
      instances: 1,
      maxInstances: 1,
      threads: 1,
      batching: 'each call runs for itself; what it asks of models shares runs with all others',
      maxBatchSize: 1,
      configuration: undefined,
      signature: this.signature,
      file: this.#file,
      fileBytes: 0,
      loadMs: undefined,
    };
  }

  /**
   * Takes a request whose fields came as tensors. Nothing is waited for; it settles exactly once.
   *
   * @throws {ShoalError} INVALID_REQUEST, MODEL_NOT_READY, SHUTTING_DOWN or QUEUE_FULL; it is settled with what the
   * pipeline's function and its models throw, CANCELLED, DEADLINE_EXCEEDED, or INFERENCE_FAILED for the pipeline's own
   * faults.
   */
  submit(inputs: ReadonlyMap<string, Tensor>, options: SubmitOptions = {}): PipelineCall {
    this.#refuseUnready();
    const chosen = checkOutputs(this.name, this.signature, options.outputs);
    const fields = chosen === undefined ? this.outputs : chosen.map((index) => this.outputs[index]!);
    const values = valuesFromTensors(this.#what, this.inputs, inputs);
    return this.#start(values, options, (result) => {
      const checked = this.#checkResult(result);
      return { values: checked, outputs: fields.map((field) => tensorFromValue(field, checked[field.name])) };
    });
  }

  /** {@link submit} for a request whose fields came as they are; `values` of the call has the outputs then. */
  call(values: Values, options: SubmitOptions = {}): PipelineCall {
    this.#refuseUnready();
    return this.#start(values, options, (result) => ({ values: this.#checkResult(result), outputs: [] }));
  }

  cancel(request: Pending): void {
    if (request instanceof PipelineCall) request.cancel();
  }

  async infer(inputs: ReadonlyMap<string, Tensor>, options: InferOptions = {}): Promise<Reply> {
    return this.#observe('library', options, () => {
      checkTensors(inputs);
      return this.submit(inputs, options);
    });
  }

  async #observe(protocol: Protocol, options: InferOptions, submit: () => PipelineCall): Promise<Reply> {
    const { clock, events } = this.#host;
    const receivedMs = options.receivedMs ?? clock.now();
    const { signal } = options;
    let leave: (() => void) | undefined;
    try {
      const call = submit();
      leave = () => call.cancel();
      if (signal?.aborted) leave();
      signal?.addEventListener('abort', leave);
      const reply = await call.settle();
      events.finished(protocol, receivedMs, clock.now(), undefined, reply.stamps);
      return reply;
    } catch (thrown) {
      const code = thrown instanceof ShoalError ? thrown.code : 'INTERNAL';
      events.finished(protocol, receivedMs, clock.now(), code, undefined);
      throw thrown;
    } finally {
      if (leave !== undefined) signal?.removeEventListener('abort', leave);
    }
  }

  /** Takes no more calls; resolves when all that were taken are settled. */
  drain(): Promise<void> {
    if (this.#state === 'ready') this.#state = 'draining';
    return new Promise((resolve) => {
      this.#drained.push(resolve);
      this.#checkDrained();
    });
  }

  /** Rejects all calls that are not settled. */
  close(): void {
    this.#state = 'unloaded';
    const error = new ShoalError('SHUTTING_DOWN', `${this.#what} was shut down before it answered`);
    for (const call of [...this.#calls.keys()]) call.cancel(error);
  }

  get #what(): string {
    return `pipeline '${this.name}'`;
  }

  #missing(): string | undefined {
    for (const name of this.#pipeline.models) {
      const why = this.#host.missing(name);
      if (why !== undefined) return why;
    }
    return undefined;
  }

  #refuseUnready(): void {
    if (this.#state === 'ready') {
      if (this.#missing() === undefined) return;
      this.events.refused('MODEL_NOT_READY');
      throw this.notReady();
    }
    this.events.refused('SHUTTING_DOWN');
    throw new ShoalError('SHUTTING_DOWN', `${this.#what} is being shut down`);
  }

  #start(given: Values, options: SubmitOptions, finish: FinishCall): PipelineCall {
    const values = checkInputValues(this.#what, this.inputs, given);
    const bytes = bytesOf(values);
    const refusal = this.#refusal(bytes);
    if (refusal !== undefined) {
      this.events.refused(refusal.code);
      throw refusal;
    }
    const { clock, config } = this.#host;
    const receivedMs = options.receivedMs ?? clock.now();
    const timeoutMs = Math.min(config.requestTimeoutMs, options.timeoutMs ?? config.requestTimeoutMs);
    const { priority, queueTimeoutMs } = options;
    const { fetchMs = 0 } = options;
    const callOptions = { receivedMs, fetchMs, deadlineMs: receivedMs + timeoutMs, priority, queueTimeoutMs };
    const call = new PipelineCall(this.name, this.#host, callOptions, finish, (ended, code) =>
      this.#settled(ended, code),
    );
    this.#calls.set(call, bytes);
    this.#heldBytes += bytes;
    call.start(this.#pipeline.run, values);
    return call;
  }

  /** Calls do not queue; what they hold while they run is bounded as a model's queue is. */
  #refusal(bytes: number): ShoalError | undefined {
    const { maxQueueRows, maxQueueBytes } = this.#host.config;
    if (bytes > maxQueueBytes) {
      return invalid(`the request has ${bytes} bytes, ${this.#what} takes at most ${maxQueueBytes}`);
    }
    const isFull = this.#calls.size >= maxQueueRows || this.#heldBytes + bytes > maxQueueBytes;
    if (!isFull) return undefined;
    const text = `${this.#what} is full: ${this.#calls.size} calls with ${this.#heldBytes} bytes are under way, ${maxQueueRows} with ${maxQueueBytes} may be`;
    return new ShoalError('QUEUE_FULL', text, { retryAfterSeconds: 1 });
  }

  #checkResult(result: unknown): Values {
    if (typeof result !== 'object' || result === null) {
      throw new ShoalError('INFERENCE_FAILED', `${this.#what} gave ${String(result)}, expected an object of outputs`);
    }
    const given = result as Values;
    const values: Record<string, unknown> = {};
    for (const { name, check } of this.outputs) {
      const value = Object.hasOwn(given, name) ? given[name] : undefined;
      const problem = check(value);
      if (problem !== undefined)
        throw new ShoalError('INFERENCE_FAILED', `output '${name}' of ${this.#what} ${problem}`);
      if (value !== undefined) values[name] = value;
    }
    return values;
  }

  #settled(call: PipelineCall, code: ErrorCode | undefined): void {
    this.#heldBytes -= this.#calls.get(call) ?? 0;
    this.#calls.delete(call);
    this.events.settled(call, code);
    this.#checkDrained();
  }

  #checkDrained(): void {
    if (this.#calls.size > 0) return;
    for (const resolve of this.#drained.splice(0)) resolve();
  }
}

/** Bytes of the tensors and byte fields among values. */
function bytesOf(values: Values): number {
  let bytes = 0;
  for (const value of Object.values(values)) {
    if (value instanceof Uint8Array) bytes += value.byteLength;
    else if (typeof value === 'object' && value !== null && 'bytes' in value && value.bytes instanceof Uint8Array) {
      bytes += value.bytes.byteLength;
    }
  }
  return bytes;
}
