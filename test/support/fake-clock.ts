import { setImmediate } from 'node:timers/promises';
import type { Clock, Timer } from '../../src/clock.ts';

interface Waiting {
  readonly atMs: number;
  readonly order: number;
  readonly task: () => void;
}

/**
 * A clock that stands still until it is told to move. Timers fire in order of their instants, those of one instant in
 * the order they were set; turns and promises are worked off in between, so that a test always sees the same.
 */
export class FakeClock implements Clock {
  #nowMs: number;
  #order = 0;
  #timers: Waiting[] = [];
  #turns: (() => void)[] = [];

  /** @param startMs not 0, so that a stamp that was never set differs from one set at once. */
  constructor(startMs = 1000) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, task: () => void): Timer {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, task };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  nextTurn(task: () => void): void {
    this.#turns.push(task);
  }

  /** Timers that have been set and neither fired nor called off. */
  get timers(): number {
    return this.#timers.length;
  }

  /** Works off promises and turns until none is left; no time passes. */
  async settle(): Promise<void> {
    do {
      for (const task of this.#turns.splice(0)) task();
      // A real turn of the event loop: all promises that can settle have done so when it comes.
      await setImmediate();
    } while (this.#turns.length > 0);
  }

  /** Lets time pass, with everything that falls into it. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await this.settle();
    for (let next = this.#next(endMs); next !== undefined; next = this.#next(endMs)) {
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.task();
      await this.settle();
    }
    this.#nowMs = endMs;
  }

  /** The instant of the next timer; undefined when none is set. */
  get nextTimerMs(): number | undefined {
    return this.#next(Number.POSITIVE_INFINITY)?.atMs;
  }

  #next(endMs: number): Waiting | undefined {
    let first: Waiting | undefined;
    for (const timer of this.#timers) {
      if (timer.atMs > endMs) continue;
      if (first === undefined || timer.atMs < first.atMs || (timer.atMs === first.atMs && timer.order < first.order)) {
        first = timer;
      }
    }
    return first;
  }
}
