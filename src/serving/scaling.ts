import type { Clock } from '../clock.ts';

/** How long instances are watched before a further one is started. */
const WATCH_MS = 500;
/** Share of that time they must have been busy. */
const BUSY_SHARE = 0.8;

/**
 * Decides when a version needs a further instance: when those it has have been busy nearly all the time, so that work
 * waits. An instance costs memory and splits batches, so it is not started before it is needed.
 */
export class Scaling {
  readonly #clock: Clock;
  #sinceMs: number;
  #busyMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sinceMs = clock.now();
  }

  /**
   * Notes a run that took `busyMs` of one of `instances`, 0 when a further one could not have helped; true when a
   * further instance should be started.
   */
  wantsMore(busyMs: number, instances: number): boolean {
    this.#busyMs += busyMs;
    const nowMs = this.#clock.now();
    const watchedMs = nowMs - this.#sinceMs;
    if (watchedMs < WATCH_MS) return false;
    const share = this.#busyMs / (watchedMs * instances);
    this.#sinceMs = nowMs;
    this.#busyMs = 0;
    return share >= BUSY_SHARE;
  }
}
