import type { Clock, Timer } from '../clock.ts';
import { messageOf } from '../errors.ts';
import { Executor, type ExecutorOptions } from '../executor/executor.ts';
import type { LoadReport } from '../executor/messages.ts';
import { residentBytes } from '../executor/resident.ts';
import { Backoff } from './backoff.ts';
import { Scaling } from './scaling.ts';

/** Is told what becomes of a pool's executors. Must not throw. */
export interface PoolListener {
  /** One more can run batches. */
  added(executor: Executor): void;
  /** One is gone. */
  removed(executor: Executor): void;
  /** A lost one is being replaced. */
  restarted(): void;
  /** They ended too often; the pool starts no more. */
  gaveUp(reason: string): void;
  /** Something to be logged as a warning. */
  warned(message: string): void;
}

export interface PoolOptions extends Omit<ExecutorOptions, 'onExit' | 'signal'> {
  readonly clock: Clock;
  readonly maxInstances: number;
  /** An executor with more memory than this is replaced, before the kernel ends something for it. */
  readonly memoryBudgetBytes: number;
  readonly listener: PoolListener;
}

/** How often memory is looked at while runs end. */
const MEMORY_CHECK_MS = 1000;

/** Deaths in a row, without an answer in between, after which a pool gives up: of idle executors, and during runs. */
const DEATHS_IDLE = 5;
const DEATHS_RUNNING = 20;

/**
 * The executors of one model version: starts the first, a further one when those there are busy nearly all the time,
 * and others in place of lost ones, each after a pause that grows while they end without having answered anything.
 */
export class ExecutorPool {
  readonly #options: PoolOptions;
  readonly #executors: Set<Executor> = new Set();
  readonly #answering: WeakSet<Executor> = new WeakSet();
  readonly #backoff: Backoff = new Backoff();
  readonly #scaling: Scaling;
  /** Aborts when executors that are still loading are not needed any more. */
  readonly #ending: AbortController = new AbortController();
  #serving = false;
  #starting = 0;
  #deaths = 0;
  /** Lost ones that have not been replaced yet. */
  #owed = 0;
  #restart: Timer | undefined;
  #memoryCheckedMs = Number.NEGATIVE_INFINITY;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#scaling = new Scaling(options.clock);
  }

  /**
   * Starts an executor that is not run by the pool before it has been {@link ExecutorPool.adopt adopted}.
   *
   * @throws {ShoalError} see {@link Executor.start}.
   */
  async start(): Promise<{ executor: Executor; report: LoadReport }> {
    const started = await Executor.start({
      ...this.#options,
      onExit: (executor, reason) => this.#gone(executor, reason),
      signal: this.#ending.signal,
    });
    this.#executors.add(started.executor);
    return started;
  }

  /** Takes the first executor into service; from now on lost ones are replaced. */
  adopt(executor: Executor): void {
    this.#serving = true;
    this.#options.listener.added(executor);
  }

  /**
   * Notes a run.
   *
   * @param isShared whether several callers were waiting for runs. A lone one can keep an instance busy, but not two.
   */
  runEnded(executor: unknown, busyMs: number, isAnswered: boolean, isShared: boolean): void {
    if (isAnswered) {
      this.#deaths = 0;
      if (executor instanceof Executor) this.#answering.add(executor);
    }
    if (executor instanceof Executor) this.#checkMemory(executor);
    const alive = this.#executors.size + this.#starting;
    // What is lost is replaced after its pause, not at once as one that is needed for more.
    if (!this.#serving || this.#owed > 0 || alive >= this.#options.maxInstances) return;
    if (this.#scaling.wantsMore(isShared ? busyMs : 0, alive)) void this.#add();
  }

  /** Lets the executors end by themselves, those that are loading at once. */
  close(): void {
    this.#serving = false;
    this.#restart?.cancel();
    this.#ending.abort();
    for (const executor of this.#executors) executor.close();
  }

  /** Kills the executors; for when waiting for them has taken too long. */
  kill(): void {
    for (const executor of this.#executors) executor.kill('the server ended');
  }

  async #add(): Promise<void> {
    this.#starting++;
    try {
      const { executor } = await this.start();
      if (this.#serving) this.#options.listener.added(executor);
      else executor.close();
    } catch (thrown) {
      if (!this.#serving) return;
      this.#options.listener.warned(`did not start: ${messageOf(thrown)}`);
      this.#lost(DEATHS_IDLE, messageOf(thrown));
    } finally {
      this.#starting--;
    }
  }

  /** Memory that ONNX Runtime has taken it does not give back; only the end of its process does. */
  #checkMemory(executor: Executor): void {
    const { clock, memoryBudgetBytes, listener } = this.#options;
    const nowMs = clock.now();
    if (!this.#serving || nowMs - this.#memoryCheckedMs < MEMORY_CHECK_MS) return;
    this.#memoryCheckedMs = nowMs;
    const bytes = residentBytes(executor.pid) ?? 0;
    if (bytes <= memoryBudgetBytes || !this.#executors.delete(executor)) return;
    // A run it has begun is still answered.
    listener.removed(executor);
    executor.close();
    listener.warned(`is replaced: it holds ${bytes} bytes of memory, ${Math.round(memoryBudgetBytes)} may be held`);
    this.#owed++;
    if (this.#restart === undefined) this.#armRestart();
  }

  #gone(executor: Executor, reason: string): void {
    if (!this.#executors.delete(executor) || !this.#serving) return;
    const { listener } = this.#options;
    listener.removed(executor);
    listener.warned(`was lost: ${reason}`);
    if (this.#answering.has(executor)) this.#backoff.reset();
    this.#lost(executor.diedRunning ? DEATHS_RUNNING : DEATHS_IDLE, reason);
  }

  /** Has a lost executor replaced, or gives up. */
  #lost(allowed: number, reason: string): void {
    this.#deaths++;
    this.#owed++;
    if (this.#deaths > allowed && this.#executors.size === 0) {
      this.close();
      this.#options.listener.gaveUp(
        `its executors ended ${this.#deaths} times without an answer in between; the last: ${reason}`,
      );
      return;
    }
    if (this.#restart === undefined) this.#armRestart();
  }

  #armRestart(): void {
    const restart = (): void => {
      this.#owed--;
      this.#restart = undefined;
      if (this.#owed > 0) this.#armRestart();
      this.#options.listener.restarted();
      void this.#add();
    };
    // While no executor is there, nothing else may keep the process of those who wait alive.
    this.#restart = this.#options.clock.setTimer(this.#backoff.next(), restart, { keepsAlive: true });
  }
}
