import { ShoalError } from '../errors.ts';

/** So many may be under way at the same time; the others wait in the order in which they came. */
export class Slots {
  readonly #maxWaiting: number;
  #free: number;
  readonly #waiting: Set<() => void> = new Set();

  constructor(count: number, maxWaiting: number) {
    this.#free = count;
    this.#maxWaiting = maxWaiting;
  }

  /**
   * Waits for a place, which {@link Slots.leave} gives back.
   *
   * @param signal ends the wait with its reason.
   * @throws {ShoalError} QUEUE_FULL when too many wait already.
   */
  async enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    if (this.#waiting.size >= this.#maxWaiting) {
      throw new ShoalError('QUEUE_FULL', `${this.#waiting.size} addresses wait to be fetched already`, {
        retryAfterSeconds: 1,
      });
    }
    await new Promise<void>((resolve, reject) => {
      const stop = (): void => {
        this.#waiting.delete(enter);
        reject(signal.reason);
      };
      const enter = (): void => {
        signal.removeEventListener('abort', stop);
        resolve();
      };
      this.#waiting.add(enter);
      signal.addEventListener('abort', stop, { once: true });
    });
  }

  leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) this.#free++;
    else {
      this.#waiting.delete(next);
      next();
    }
  }
}
