import { systemClock } from '../../clock.ts';
import type { Config } from '../../config.ts';
import { ShoalError } from '../../errors.ts';
import { type InferResult, Service } from '../../service.ts';
import type { ModelSummary } from '../../serving/model-version.ts';
import { generateInputs, type Inputs } from './inputs.ts';
import { RequestFailure } from './load.ts';
import { type RequestTimes, shareOfRun } from './request-times.ts';
import type { Target } from './target.ts';

/** A model in this process, asked as a library is: without HTTP. */
export class InProcessTarget implements Target {
  readonly name = 'this process';
  readonly #service: Service;
  readonly #model: string;

  private constructor(service: Service, model: string) {
    this.#service = service;
    this.#model = model;
  }

  /**
   * Loads the model.
   *
   * @throws {ServeError} when there is no such model. @throws {ShoalError} MODEL_NOT_READY when it cannot be served.
   */
  static async start(config: Config, model: string): Promise<InProcessTarget> {
    const service = await Service.create(config);
    await service.loaded();
    const target = new InProcessTarget(service, model);
    const { state, reason } = target.summary();
    if (state === 'ready') return target;
    await service.drain();
    throw new ShoalError('MODEL_NOT_READY', `model '${model}' cannot be served: ${reason ?? state}`);
  }

  /** What is known of the model. */
  summary(): ModelSummary {
    return this.#service.registry.get(this.#model, undefined).summary();
  }

  async send(inputs: Inputs): Promise<RequestTimes> {
    try {
      return timesOf(await this.#service.infer(this.#model, inputs), systemClock.now());
    } catch (thrown) {
      throw new RequestFailure(thrown instanceof ShoalError ? thrown.code : String(thrown));
    }
  }

  makeInputs(rows: number): Promise<Inputs> {
    return generateInputs(this.summary().signature!, rows, (inputs) => this.#service.infer(this.#model, inputs));
  }

  async close(): Promise<void> {
    await this.#service.drain();
  }
}

/** Where the time of a request went. Nothing is encoded: `encode` is what passed until its coroutine went on. */
function timesOf({ stamps, batch, costMs }: InferResult, nowMs: number): RequestTimes {
  const decode = stamps.enqueuedMs - stamps.receivedMs;
  const handover = stamps.computeStartMs - stamps.dispatchedMs;
  const handback = stamps.settledMs - stamps.computeEndMs;
  const run = { compute: stamps.computeEndMs - stamps.computeStartMs, runRows: batch.rows, share: costMs };
  return {
    decode,
    queue: stamps.dispatchedMs - stamps.enqueuedMs,
    handover,
    handback,
    encode: nowMs - stamps.settledMs,
    ...run,
    // Waiting for its turn to go on is no work.
    switch: decode + (handover + handback) * shareOfRun(run),
  };
}
