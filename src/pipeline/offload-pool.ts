import { Piscina } from 'piscina';
import { ShoalError } from '../errors.ts';
import type { OffloadOptions } from './define.ts';

/** How long a thread without work is kept, in milliseconds. */
const IDLE_MS = 10_000;

/** Threads for work that would hold the event loop; there are none before the first work comes. */
export class OffloadPool {
  readonly #cores: number;
  #pool: Piscina | undefined;
  #closed = false;

  /** @param cores the most threads. */
  constructor(cores: number) {
    this.#cores = cores;
  }

  /** Runs a function that a module exports. @throws {ShoalError} SHUTTING_DOWN, and what the function throws. */
  async run(url: URL | string, exportName: string, value: unknown, options: OffloadOptions): Promise<unknown> {
    if (this.#closed) throw new ShoalError('SHUTTING_DOWN', 'the server is shutting down; no more work is taken');
    const { signal, transfer } = options;
    signal?.throwIfAborted();
    this.#pool ??= new Piscina({ minThreads: 0, maxThreads: this.#cores, idleTimeout: IDLE_MS, recordTiming: false });
    try {
      return await this.#pool.run(value, {
        filename: String(url),
        name: exportName,
        ...(signal === undefined ? {} : { signal }),
        ...(transfer === undefined ? {} : { transferList: [...transfer] }),
      });
    } catch (thrown) {
      // What ended it says more than that it was ended.
      signal?.throwIfAborted();
      throw thrown;
    }
  }

  /** Ends the threads; work that is under way is given up. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#pool?.destroy();
  }
}
