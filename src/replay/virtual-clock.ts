import type { Clock, Timer } from '../clock.ts';

interface Event {
  readonly atMs: number;
  readonly order: number;
  task: (() => void) | undefined;
}

/**
 * A clock whose time is moved by whoever drives it. Events of one instant happen in the order they were set; a turn of
 * the event loop comes after them.
 */
export class VirtualClock implements Clock {
  readonly #turnMs: number;
  #nowMs = 0;
  #orders = 0;
  /** A binary heap: the earliest first. */
  readonly #events: Event[] = [];
  #turns: (() => void)[] = [];

  /** @param turnMs how long a turn of the event loop takes. */
  constructor(turnMs = 0) {
    this.#turnMs = turnMs;
  }

  now(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, task: () => void): Timer {
    const event = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#orders++, task };
    this.#push(event);
    return {
      cancel: () => {
        (event as Event).task = undefined;
      },
    };
  }

  nextTurn(task: () => void): void {
    if (this.#turnMs > 0) this.setTimer(this.#turnMs, task);
    else this.#turns.push(task);
  }

  /** When something happens next; infinite when nothing will. */
  get nextMs(): number {
    if (this.#turns.length > 0) return this.#nowMs;
    let first = this.#events[0];
    while (first !== undefined && first.task === undefined) {
      this.#pop();
      first = this.#events[0];
    }
    return first?.atMs ?? Number.POSITIVE_INFINITY;
  }

  /** Lets all happen that falls before `atMs`, and moves on to it. */
  advanceTo(atMs: number): void {
    for (let next = this.nextMs; next < atMs; next = this.nextMs) this.#step(next);
    this.#nowMs = Math.max(this.#nowMs, atMs);
  }

  /** Lets the next instant's events and turns happen. @returns false when there is nothing left. */
  advance(): boolean {
    const next = this.nextMs;
    if (next === Number.POSITIVE_INFINITY) return false;
    this.#step(next);
    return true;
  }

  #step(atMs: number): void {
    this.#nowMs = Math.max(this.#nowMs, atMs);
    for (let first = this.#events[0]; first !== undefined && first.atMs <= this.#nowMs; first = this.#events[0]) {
      this.#pop();
      first.task?.();
    }
    const turns = this.#turns;
    if (turns.length === 0) return;
    this.#turns = [];
    for (const task of turns) task();
  }

  #push(event: Event): void {
    const events = this.#events;
    let at = events.length;
    events.push(event);
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!isBefore(event, events[up]!)) break;
      events[at] = events[up]!;
      at = up;
    }
    events[at] = event;
  }

  #pop(): void {
    const events = this.#events;
    const last = events.pop()!;
    const length = events.length;
    if (length === 0) return;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= length) break;
      if (down + 1 < length && isBefore(events[down + 1]!, events[down]!)) down++;
      if (!isBefore(events[down]!, last)) break;
      events[at] = events[down]!;
      at = down;
    }
    events[at] = last;
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
}
