import { setMaxListeners } from 'node:events';
import type { Reply, SettlementListener, Stamps } from '../batching/request.ts';
import type { Clock, Timer } from '../clock.ts';
import { type ErrorCode, messageOf, ShoalError, STATUS } from '../errors.ts';
import type { InferResult } from '../serving/infer-result.ts';
import type { InferOptions, Log } from '../serving/model-version.ts';
import type { Pending } from '../serving/servable.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { OffloadOptions, Pipeline, PipelineContext } from './define.ts';
import type { Values } from './field-tensors.ts';
import { type LoopUser, runSegment } from './loop-watch.ts';
import type { HandleOptions, ModelHandle, ModelHandles } from './model-types.ts';
import { StageTally } from './stage-tally.ts';

/** What a call of a pipeline works with. */
export interface CallHost {
  readonly clock: Clock;
  readonly log: Log;
  /** Runs a model or another pipeline by its name. */
  infer(
    name: string,
    inputs: Readonly<Record<string, Tensor>>,
    options: InferOptions & { readonly version?: string | undefined },
  ): Promise<InferResult>;
  /** What the pipeline holds of the event loop. */
  readonly loop: LoopUser;
  /** What a name stands for, in messages. */
  kindOf(name: string): 'model' | 'pipeline';
  offload(url: URL | string, exportName: string, value: unknown, options: OffloadOptions): Promise<unknown>;
}

/** What the caller of a pipeline wants. */
export interface CallOptions {
  readonly receivedMs: number;
  /** See {@link Stamps.fetchMs}. */
  readonly fetchMs: number;
  /** On the monotonic clock. */
  readonly deadlineMs: number;
  readonly priority: number | undefined;
  readonly queueTimeoutMs: number | undefined;
}

/** Turns what `run` gave into the call's answer. @throws {ShoalError} for a result that does not fit. */
export type FinishCall = (result: unknown) => Pick<Reply, 'outputs'> & { readonly values: Values };

/** One call of a pipeline: from its checked inputs to its answer. Settled exactly once. */
export class PipelineCall implements Pending, LoopUser {
  readonly stamps: Stamps;
  readonly stages: StageTally = new StageTally();
  readonly #name: string;
  readonly #host: CallHost;
  readonly #options: CallOptions;
  readonly #finish: FinishCall;
  readonly #settled: (call: PipelineCall, code: ErrorCode | undefined) => void;
  readonly #controller: AbortController = new AbortController();
  readonly #waiting: Map<number, string> = new Map();
  #timer: Timer | undefined;
  #steps = 0;
  #listener: SettlementListener | undefined;
  #reply: Reply | undefined;
  #error: ShoalError | undefined;
  #values: Values | undefined;

  /** @param settled is told once. */
  constructor(
    name: string,
    host: CallHost,
    options: CallOptions,
    finish: FinishCall,
    settled: (call: PipelineCall, code: ErrorCode | undefined) => void,
  ) {
    this.#name = name;
    this.#host = host;
    this.#options = options;
    this.#finish = finish;
    this.#settled = settled;
    const nowMs = host.clock.now();
    this.stamps = {
      receivedMs: options.receivedMs,
      fetchMs: options.fetchMs,
      enqueuedMs: nowMs,
      dispatchedMs: nowMs,
      computeStartMs: nowMs,
      computeEndMs: 0,
      settledMs: 0,
    };
    // Every model it waits for listens.
    setMaxListeners(0, this.#controller.signal);
  }

  get isSettled(): boolean {
    return this.#reply !== undefined || this.#error !== undefined;
  }

  /** The outputs' values, once it has been answered. */
  get values(): Values {
    return this.#values!;
  }

  /** Calls the pipeline's function. */
  start(run: Pipeline['run'], input: Values): void {
    const { clock } = this.#host;
    const leftMs = this.#options.deadlineMs - clock.now();
    if (leftMs <= 0) {
      this.#reject(this.#late());
      return;
    }
    this.#timer = clock.setTimer(Math.ceil(leftMs), () => this.#reject(this.#late()));
    let result: unknown;
    try {
      result = runSegment(this, () => run(input, this.#context(leftMs)));
    } catch (thrown) {
      this.#ended(undefined, thrown);
      return;
    }
    Promise.resolve(result).then(
      (value) => this.#ended(value, undefined),
      (thrown: unknown) => this.#ended(undefined, thrown ?? new Error(`rejected with ${String(thrown)}`)),
    );
  }

  held(ms: number): void {
    this.stages.ownMs += ms;
    this.#host.loop.held(ms);
  }

  unhandled(reason: unknown): void {
    this.#host.loop.unhandled(reason);
  }

  onSettled(listener: SettlementListener): void {
    if (this.#reply !== undefined) listener.answered(this.#reply);
    else if (this.#error !== undefined) listener.failed(this.#error);
    else this.#listener = listener;
  }

  /** {@link onSettled} as a promise. */
  settle(): Promise<Reply> {
    return new Promise((resolve, reject) => this.onSettled({ answered: resolve, failed: reject }));
  }

  /** Gives it up: what still waits is dropped, and the pipeline's signal is aborted. */
  cancel(error: ShoalError = new ShoalError('CANCELLED', 'the caller left')): void {
    this.#reject(error);
  }

  #context(leftMs: number): PipelineContext {
    const { log } = this.#host;
    const { signal } = this.#controller;
    return {
      models: this.#models(),
      signal,
      deadlineMs: Date.now() + leftMs,
      log,
      offload: <R>(url: URL | string, name: string, value: unknown, options: OffloadOptions = {}): Promise<R> =>
        silenced(this.#offload(url, name, value, options)) as Promise<R>,
    };
  }

  #models(): ModelHandles {
    return new Proxy<ModelHandles>({} as ModelHandles, {
      get: (_, name): ModelHandle | undefined =>
        typeof name === 'string'
          ? {
              infer: (inputs, options) =>
                silenced(this.#infer(name, inputs, options)) as ReturnType<ModelHandle['infer']>,
            }
          : undefined,
    });
  }

  async #infer(
    name: string,
    inputs: Readonly<Record<string, Tensor>>,
    options: HandleOptions & InferOptions = {},
  ): Promise<InferResult> {
    const step = ++this.#steps;
    const { clock } = this.#host;
    const { deadlineMs, priority, queueTimeoutMs } = this.#options;
    const { signal } = this.#controller;
    this.#waiting.set(step, name);
    try {
      if (this.isSettled) throw this.#error ?? new ShoalError('CANCELLED', 'the pipeline has ended');
      const nowMs = clock.now();
      const leftMs = Math.max(0, deadlineMs - nowMs);
      const result = await this.#host.infer(name, inputs, {
        priority,
        queueTimeoutMs,
        whenFull: 'wait',
        ...options,
        receivedMs: nowMs,
        timeoutMs: Math.min(leftMs, options.timeoutMs ?? leftMs),
        signal: options.signal === undefined ? signal : AbortSignal.any([signal, options.signal]),
      });
      this.stages.noteInfer(name, result, nowMs);
      return result;
    } catch (thrown) {
      throw this.#named(step, name, thrown);
    } finally {
      this.#waiting.delete(step);
    }
  }

  async #offload(url: URL | string, name: string, value: unknown, options: OffloadOptions): Promise<unknown> {
    const { clock } = this.#host;
    const { signal } = this.#controller;
    const startMs = clock.now();
    const ended = options.signal === undefined ? signal : AbortSignal.any([signal, options.signal]);
    try {
      return await this.#host.offload(url, name, value, { ...options, signal: ended });
    } finally {
      this.stages.noteOffload(clock.now() - startMs);
    }
  }

  /** The error of a step, with its place in the pipeline. */
  #named(step: number, name: string, thrown: unknown): unknown {
    const error = asShoalError(thrown);
    if (error === undefined) return thrown;
    const { code, message, retryAfterSeconds } = error;
    const text = `pipeline '${this.#name}', step ${step} (${this.#host.kindOf(name)} '${name}'): ${message}`;
    return new ShoalError(code, text, { ...(retryAfterSeconds && { retryAfterSeconds }), cause: thrown });
  }

  #late(): ShoalError {
    const steps = [...this.#waiting].map(([step, name]) => `step ${step} (${this.#host.kindOf(name)} '${name}')`);
    const more = steps.length > 1 ? ` and ${steps.length - 1} more` : '';
    const where = steps.length === 0 ? '' : `; it waits for ${steps[0]}${more}`;
    const text = `pipeline '${this.#name}' did not answer within the time the request has (its timeout, or the server's request timeout)${where}`;
    return new ShoalError('DEADLINE_EXCEEDED', text);
  }

  #ended(value: unknown, thrown: unknown): void {
    if (this.isSettled) return;
    this.stamps.computeEndMs = this.#host.clock.now();
    if (thrown !== undefined) {
      this.#reject(this.#failure(thrown));
      return;
    }
    try {
      const { outputs, values } = this.#finish(value);
      this.#values = values;
      this.#close();
      this.#reply = {
        outputs,
        stamps: this.stamps,
        batch: { rows: 1, requests: 1, reason: 'alone' },
        costMs: this.stages.sums().sharedMs,
        parts: this.stages.parts(),
      };
    } catch (wrong) {
      this.#reject(this.#failure(wrong));
      return;
    }
    this.#settled(this, undefined);
    this.#listener?.answered(this.#reply);
  }

  /** What its caller is told; of the pipeline's own faults, which may hold anything, only the log tells more. */
  #failure(thrown: unknown): ShoalError {
    const what = `pipeline '${this.#name}'`;
    const error = asShoalError(thrown);
    if (error === undefined) {
      this.#host.log.error({ err: thrown }, `${what} failed: ${messageOf(thrown)}`);
      return new ShoalError('INFERENCE_FAILED', `${what} failed; the server's log says why`);
    }
    if (error.code === 'INFERENCE_FAILED' || error.code === 'INTERNAL') {
      this.#host.log.error({ err: error }, error.message);
    }
    if (error.message.includes(what)) return error;
    const { code, message, retryAfterSeconds } = error;
    return new ShoalError(code, `${what}: ${message}`, {
      ...(retryAfterSeconds && { retryAfterSeconds }),
      cause: thrown,
    });
  }

  #reject(error: ShoalError): void {
    if (this.isSettled) return;
    this.#error = error;
    this.#close();
    this.#settled(this, error.code);
    this.#listener?.failed(error);
  }

  #close(): void {
    this.#timer?.cancel();
    this.stamps.settledMs = this.#host.clock.now();
    // What it still waits for, nobody waits for any more.
    if (this.#error !== undefined || this.#waiting.size > 0) {
      this.#controller.abort(this.#error ?? new ShoalError('CANCELLED', 'the pipeline has ended'));
    }
  }
}

/** A promise that may be left alone: unawaited, its rejection would end the process. */
function silenced<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** An error with a code of ours, made by this copy of the package or another; undefined for any other. */
function asShoalError(thrown: unknown): ShoalError | undefined {
  if (thrown instanceof ShoalError) return thrown;
  if (!(thrown instanceof Error) || thrown.name !== 'ShoalError') return undefined;
  const { code } = thrown as Partial<ShoalError>;
  return code !== undefined && Object.hasOwn(STATUS, code) ? (thrown as ShoalError) : undefined;
}
