import type { Clock, Timer } from '../clock.ts';

/** One timer for many times: it stands at the earliest that was asked for, and fires once. */
export class EarliestTimer {
  readonly #clock: Clock;
  readonly #fire: () => void;
  #armed: { readonly atMs: number; readonly timer: Timer } | undefined;

  constructor(clock: Clock, fire: () => void) {
    this.#clock = clock;
    this.#fire = fire;
  }

  /** Has it fire at `atMs` at the latest; never, for an infinite time. */
  arm(atMs: number): void {
    if (!Number.isFinite(atMs) || (this.#armed !== undefined && this.#armed.atMs <= atMs)) return;
    this.cancel();
    // Timers round down to whole milliseconds.
    const timer = this.#clock.setTimer(Math.ceil(atMs - this.#clock.now()), () => {
      this.#armed = undefined;
      this.#fire();
    });
    this.#armed = { atMs, timer };
  }

  cancel(): void {
    this.#armed?.timer.cancel();
    this.#armed = undefined;
  }
}
