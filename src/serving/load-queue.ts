import type { Clock } from '../clock.ts';
import type { ModelVersion } from './model-version.ts';

/** After this long a model that is still loading has one more load beside it. */
const PATIENCE_MS = 5000;

/**
 * Lets about as many versions load at a time as there are cores, or all would take as long as the last; one that takes
 * long does not hold up the others.
 */
export class LoadQueue {
  readonly #clock: Clock;
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(cores: number, clock: Clock) {
    this.#clock = clock;
    this.#free = Math.max(2, cores);
  }

  /** Loads versions in this order; resolves when each is ready, failed, or was given up. */
  async load(versions: readonly ModelVersion[]): Promise<void> {
    await Promise.all(versions.map((version) => this.#loadOne(version)));
  }

  async #loadOne(version: ModelVersion): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => void this.#waiting.push(resolve));
    let isHeld = true;
    const pass = (): void => {
      if (!isHeld) return;
      isHeld = false;
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    };
    const patience = this.#clock.setTimer(PATIENCE_MS, pass);
    await version.load();
    patience.cancel();
    pass();
  }
}
