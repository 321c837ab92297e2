import type { Batch } from '../../src/batching/batch.ts';
import type { Runner, RunResult } from '../../src/batching/batcher.ts';
import { type ErrorCode, ShoalError } from '../../src/errors.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';
import type { FakeClock } from './fake-clock.ts';

/** A batch that a {@link FakeRunner} was given and has not answered yet. */
export interface FakeRun {
  readonly batch: Batch;
  readonly startMs: number;
}

interface Unsettled extends FakeRun {
  readonly resolve: (result: RunResult) => void;
  readonly reject: (error: unknown) => void;
}

/** What a fake model answers a batch with, by index of the output; it may throw what a runner may reject with. */
export type Compute = (batch: Batch) => ReadonlyMap<number, Tensor>;

/** Gives every input back as the output of the same index. */
export function echo(batch: Batch): ReadonlyMap<number, Tensor> {
  return new Map(
    batch.inputs().map(({ datatype, shape, segments }, i) => [i, { datatype, shape, bytes: Buffer.concat(segments) }]),
  );
}

/** A runner without a process: each run waits until the test ends it, well or not. */
export class FakeRunner implements Runner {
  readonly threads: number;
  /** All batches it was given, oldest first. */
  readonly batches: Batch[] = [];
  /** Whether {@link FakeRunner.die} was called. */
  dead = false;
  readonly #clock: FakeClock;
  readonly #compute: Compute;
  readonly #started: (runner: FakeRunner) => void;
  #run: Unsettled | undefined;

  /** @param started called at the start of each run, when {@link FakeRunner.current} is set. */
  constructor(
    clock: FakeClock,
    options: { threads?: number; compute?: Compute; started?: (runner: FakeRunner) => void } = {},
  ) {
    this.#clock = clock;
    this.threads = options.threads ?? 1;
    this.#compute = options.compute ?? echo;
    this.#started = options.started ?? (() => {});
  }

  /** The run under way. */
  get current(): FakeRun | undefined {
    return this.#run;
  }

  run(batch: Batch): Promise<RunResult> {
    if (this.dead) throw new Error('a dead runner was given a batch');
    if (this.#run !== undefined) throw new Error('a busy runner was given a batch');
    this.batches.push(batch);
    return new Promise((resolve, reject) => {
      this.#run = { batch, startMs: this.#clock.now(), resolve, reject };
      this.#started(this);
    });
  }

  /** Ends the run with what the model computes, or with what it throws. */
  async finish(): Promise<void> {
    const { batch, startMs, resolve, reject } = this.#take();
    try {
      resolve({ outputs: this.#compute(batch), computeStartMs: startMs, computeEndMs: this.#clock.now() });
    } catch (error) {
      reject(error);
    }
    await this.#clock.settle();
  }

  /** Ends the run with an answer of the test's own. */
  async answer(outputs: ReadonlyMap<number, Tensor>): Promise<void> {
    const { startMs, resolve } = this.#take();
    resolve({ outputs, computeStartMs: startMs, computeEndMs: this.#clock.now() });
    await this.#clock.settle();
  }

  /** Ends the run as one that the model refused. */
  async fail(code: ErrorCode = 'INFERENCE_FAILED', message = 'the model refused it'): Promise<void> {
    this.#take().reject(new ShoalError(code, message));
    await this.#clock.settle();
  }

  /** Ends the runner, and the run under way if there is one. */
  async die(): Promise<void> {
    this.dead = true;
    this.#run?.reject(new ShoalError('EXECUTOR_LOST', 'the executor was lost'));
    this.#run = undefined;
    await this.#clock.settle();
  }

  #take(): Unsettled {
    const run = this.#run;
    if (run === undefined) throw new Error('there is no run to end');
    this.#run = undefined;
    return run;
  }
}
