import { unlessAborted } from '../../unless-aborted.ts';
import { type StepGradient, stopped } from '../descent.ts';
import { type Head, parameterCount } from '../head.ts';
import type { Examples, TrainingPlan } from '../training-plan.ts';
import { exampleParts } from './example-parts.ts';
import { shardsOf } from './shards.ts';
import { type ShardGradient, TrainingWorker } from './training-worker.ts';

/** How the workers of a training are set up. */
export interface TeamOptions {
  readonly workers: number;
  readonly microShards: number;
  readonly entry: string | undefined;
  readonly signal: AbortSignal | undefined;
}

/** The workers of a training. */
export class WorkerTeam {
  /** How long parameters and gradients have been under way, mean over the workers. */
  communicationMs = 0;
  /** How much of that their worker computed meanwhile. */
  hiddenMs = 0;
  readonly #workers: TrainingWorker[] = [];
  readonly #signal: AbortSignal | undefined;

  /** @throws {ShoalError} EXECUTOR_LOST when the system gives no more processes or pipes. */
  constructor(examples: Examples, { shape }: TrainingPlan, { workers, microShards, entry, signal }: TeamOptions) {
    const parts = exampleParts(examples, shape, microShards);
    this.#signal = signal;
    try {
      for (let i = 1; i <= workers; i++) {
        this.#workers.push(
          new TrainingWorker(`training worker ${i} of ${workers}`, parameterCount(shape), parts, entry),
        );
      }
    } catch (thrown) {
      for (const worker of this.#workers) worker.close().catch(() => {});
      throw thrown;
    }
  }

  get pids(): readonly (number | undefined)[] {
    return this.#workers.map(({ pid }) => pid);
  }

  /**
   * Resolves when every worker has the examples.
   *
   * @throws {ShoalError} EXECUTOR_LOST, CANCELLED.
   */
  async ready(): Promise<void> {
    await this.#unlessStopped(Promise.all(this.#workers.map((worker) => worker.ready())));
  }

  /**
   * The mean gradient over rows. Shards are added in their order, whichever comes first, so that the sum is always the
   * same.
   *
   * @throws {ShoalError} EXECUTOR_LOST, CANCELLED.
   */
  async gradientOf(head: Head, rows: Uint32Array, gradient: Float64Array): Promise<StepGradient> {
    const working = shardsOf(rows, this.#workers.length).map((shard, i) =>
      this.#workers[i]!.shard(shard, rows.length, head.parameters),
    );
    const shards = await this.#unlessStopped(Promise.all(working));
    gradient.set(shards[0]!.gradient);
    for (const shard of shards.slice(1)) {
      for (let i = 0; i < gradient.length; i++) gradient[i]! += shard.gradient[i]!;
    }
    this.communicationMs += sum(shards, 'communicationMs') / shards.length;
    this.hiddenMs += sum(shards, 'hiddenMs') / shards.length;
    const computeMs = Math.max(...shards.map((shard) => shard.computeMs));
    return { loss: sum(shards, 'loss'), right: sum(shards, 'right'), computeMs };
  }

  /** Ends all workers; resolves when their processes are gone. */
  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close()));
  }

  #unlessStopped<T>(promise: Promise<T>): Promise<T> {
    // It ends with the workers, when nobody may be waiting for it any more.
    promise.catch(() => {});
    return unlessAborted(promise, this.#signal, () => stopped(this.#signal));
  }
}

type Figure = Exclude<keyof ShardGradient, 'gradient'>;

function sum(shards: readonly ShardGradient[], figure: Figure): number {
  return shards.reduce((total, shard) => total + shard[figure], 0);
}
