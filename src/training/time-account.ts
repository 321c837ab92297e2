/** What the time of a training is spent on. */
export type TimePart = 'computeMs' | 'switchMs' | 'waitMs';

/**
 * The account of a training's time, `T_total = T_compute + T_switch + waiting`. It holds exactly: whatever has passed
 * since the last entry goes into the next one, and only what the training's caller does between two steps into none.
 */
export class TimeAccount {
  /** Arithmetic: gradients, steps, judging. */
  computeMs = 0;
  /** What spreading the work costs: what passed beyond compute while others computed. */
  switchMs = 0;
  /** Waiting for turns. */
  waitMs = 0;
  #sinceMs: number = performance.now();

  /** Enters the time since the last entry. */
  spend(part: TimePart): void {
    this[part] += this.#elapse();
  }

  /** Enters the time since the last entry as so much compute, and switching for the rest. */
  split(computeMs: number): void {
    const passedMs = this.#elapse();
    const ofItMs = Math.min(computeMs, passedMs);
    this.computeMs += ofItMs;
    this.switchMs += passedMs - ofItMs;
  }

  /** Leaves out the time since the last entry. */
  skip(): void {
    this.#elapse();
  }

  #elapse(): number {
    const nowMs = performance.now();
    const passedMs = nowMs - this.#sinceMs;
    this.#sinceMs = nowMs;
    return passedMs;
  }
}
