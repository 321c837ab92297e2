import type { PendingRequest } from './request.ts';

/** Slots of settled requests that a queue carries before it is tidied. */
const TIDY_AT = 64;

/**
 * Requests of one priority, first come first served. Those that settle while they wait stay in their slot until the
 * queue is taken from or tidied.
 */
export class Fifo {
  readonly priority: number;
  #queue: PendingRequest[] = [];
  #head = 0;

  constructor(priority: number) {
    this.priority = priority;
  }

  /** Slots that are taken, those of settled requests included. */
  get slots(): number {
    return this.#queue.length - this.#head;
  }

  push(request: PendingRequest): void {
    this.#queue.push(request);
  }

  /** The request that has waited longest; undefined when none waits. */
  first(): PendingRequest | undefined {
    while (this.#head < this.#queue.length) {
      const request = this.#queue[this.#head]!;
      if (request.state === 'queued') return request;
      this.#head++;
    }
    return undefined;
  }

  /**
   * Adds waiting requests in order to `taken`, which has `rows` rows, until the next one would not fit into `maxRows`;
   * the first of all is taken whatever its size.
   *
   * @returns the rows of `taken` then; undefined when one did not fit.
   */
  take(maxRows: number, taken: PendingRequest[], rows: number): number | undefined {
    const at = takeFrom(this.#queue, this.#head, maxRows, taken, rows);
    this.#head = at.next;
    const isEmpty = this.#head === this.#queue.length;
    if (isEmpty) {
      this.#queue = [];
      this.#head = 0;
    } else if (this.#head > 2 * TIDY_AT && 2 * this.#head > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    return isEmpty ? at.rows : undefined;
  }

  /** Gives up the slots of settled requests when far more of them are taken than `waiting` requests need. */
  tidy(waiting: number): void {
    if (this.slots <= 2 * waiting + TIDY_AT) return;
    this.#queue = this.#queue.filter((other, i) => i >= this.#head && other.state === 'queued');
    this.#head = 0;
  }

  /** All requests that wait. */
  *waiting(): Generator<PendingRequest> {
    for (let i = this.#head; i < this.#queue.length; i++) {
      const request = this.#queue[i]!;
      if (request.state === 'queued') yield request;
    }
  }
}

/** Adds waiting requests of `queue` from `at` on to `taken`. @returns where the next one stands, and the rows then. */
export function takeFrom(
  queue: readonly PendingRequest[],
  at: number,
  maxRows: number,
  taken: PendingRequest[],
  before = 0,
): { readonly next: number; readonly rows: number } {
  let rows = before;
  let next = at;
  for (; next < queue.length; next++) {
    const request = queue[next]!;
    if (request.state !== 'queued') continue;
    if (taken.length > 0 && rows + request.inputs.rows > maxRows) break;
    taken.push(request);
    rows += request.inputs.rows;
  }
  return { next, rows };
}
