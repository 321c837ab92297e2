import type { Clock } from '../clock.ts';
import type { Runner } from './batcher.ts';

/** A runner, and whether it has something to do. */
export interface Slot {
  readonly runner: Runner;
  busy: boolean;
  idleSinceMs: number;
  /** When its run will probably have ended; 0 when that is not known. */
  freeAtMs: number;
}

/** The runners of a batcher. */
export class RunnerSlots {
  readonly #clock: Clock;
  readonly #slots: Slot[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#slots.length;
  }

  add(runner: Runner): void {
    this.#slots.push({ runner, busy: false, idleSinceMs: this.#clock.now(), freeAtMs: 0 });
  }

  /** @returns false when it was not there. */
  remove(runner: Runner): boolean {
    const index = this.#slots.findIndex((slot) => slot.runner === runner);
    if (index < 0) return false;
    this.#slots.splice(index, 1);
    return true;
  }

  /** One that has nothing to do; undefined when all are busy. */
  idle(): Slot | undefined {
    return this.#slots.find((slot) => !slot.busy);
  }

  /** How many runners like this one may run at the same time on so many cores. */
  atOnce({ runner }: Slot, cores: number): number {
    return Math.max(1, Math.min(this.#slots.length, Math.floor(cores / runner.threads)));
  }

  /**
   * What the runners other than this one are doing: until the first can start a run, infinite when there is no other;
   * and all that they have still to do of their runs, in milliseconds.
   *
   * @param isAdmitted whether there are free cores for one of them.
   */
  others(slot: Slot, isAdmitted: boolean): { readonly otherFreeInMs: number; readonly othersBusyMs: number } {
    let otherFreeInMs = Number.POSITIVE_INFINITY;
    let othersBusyMs = 0;
    if (this.#slots.length === 1) return { otherFreeInMs, othersBusyMs };
    const nowMs = this.#clock.now();
    for (const other of this.#slots) {
      if (other === slot) continue;
      if (other.busy) {
        const leftMs = Math.max(0, other.freeAtMs - nowMs);
        otherFreeInMs = Math.min(otherFreeInMs, leftMs);
        othersBusyMs += leftMs;
      } else if (isAdmitted) otherFreeInMs = 0;
    }
    return { otherFreeInMs, othersBusyMs };
  }
}
