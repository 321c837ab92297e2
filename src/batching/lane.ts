import type { PendingRequest } from './request.ts';

/** Slots of settled requests that a lane carries before it is tidied. */
const TIDY_AT = 64;

/**
 * The queue of requests that may share a batch, first come first served. Requests that settle while they wait (their
 * caller left, their deadline passed) stay in their slot until the lane is taken from or tidied; they no longer count.
 */
export class Lane {
  readonly key: string;
  /** Rows that wait, those of {@link Lane.retry} included. */
  rows = 0;
  /** Requests that wait. */
  requests = 0;
  #queue: PendingRequest[] = [];
  #head = 0;
  /** Groups to be run once more, each as a batch of its own, before all others. */
  #retries: PendingRequest[][] = [];

  constructor(key: string) {
    this.key = key;
  }

  push(request: PendingRequest): void {
    this.#queue.push(request);
    this.#count(request, 1);
  }

  /** Lets these requests, taken before, run once more as one batch. */
  retry(group: readonly PendingRequest[]): void {
    this.#retries.push([...group]);
    for (const request of group) {
      request.state = 'queued';
      this.#count(request, 1);
    }
  }

  get hasRetry(): boolean {
    return this.#retries.length > 0;
  }

  /** The request that has waited longest; undefined when none waits. */
  oldest(): PendingRequest | undefined {
    for (;;) {
      const group = this.#retries[0];
      if (group === undefined) break;
      const waiting = group.find((request) => request.state === 'queued');
      if (waiting !== undefined) return waiting;
      this.#retries.shift();
    }
    while (this.#head < this.#queue.length) {
      const request = this.#queue[this.#head]!;
      if (request.state === 'queued') return request;
      this.#head++;
    }
    return undefined;
  }

  /**
   * Takes the next batch: of a group that is tried again, or else of all, the waiting requests in order until the next
   * one would not fit into `maxRows`. The first is taken whatever its size.
   */
  take(maxRows: number): PendingRequest[] {
    const taken: PendingRequest[] = [];
    if (this.oldest() === undefined) return taken;
    const group = this.#retries[0];
    if (group !== undefined) {
      // It fits as a whole, unless the model has turned out not to be batchable since.
      const rest = group.slice(takeFrom(group, 0, maxRows, taken));
      if (rest.length > 0) this.#retries[0] = rest;
      else this.#retries.shift();
    } else {
      this.#head = takeFrom(this.#queue, this.#head, maxRows, taken);
      this.#tidy();
    }
    for (const request of taken) {
      request.state = 'running';
      this.#count(request, -1);
    }
    return taken;
  }

  /** Notes that a waiting request was settled. */
  dropped(request: PendingRequest): void {
    this.#count(request, -1);
    if (this.#queue.length - this.#head > 2 * this.requests + TIDY_AT) {
      this.#queue = this.#queue.filter((other, i) => i >= this.#head && other.state === 'queued');
      this.#head = 0;
    }
  }

  /** All requests that wait. */
  *waiting(): Generator<PendingRequest> {
    for (const group of this.#retries) for (const request of group) if (request.state === 'queued') yield request;
    for (let i = this.#head; i < this.#queue.length; i++) {
      const request = this.#queue[i]!;
      if (request.state === 'queued') yield request;
    }
  }

  #count(request: PendingRequest, sign: 1 | -1): void {
    this.rows += sign * request.inputs.rows;
    this.requests += sign;
  }

  #tidy(): void {
    if (this.#head === this.#queue.length) this.#queue = [];
    else if (this.#head > 2 * TIDY_AT && 2 * this.#head > this.#queue.length)
      this.#queue = this.#queue.slice(this.#head);
    else return;
    this.#head = 0;
  }
}

/** Adds waiting requests of `queue` from `at` on to `taken`, up to `maxRows` rows. @returns where the next one stands. */
function takeFrom(queue: readonly PendingRequest[], at: number, maxRows: number, taken: PendingRequest[]): number {
  let rows = 0;
  let next = at;
  for (; next < queue.length; next++) {
    const request = queue[next]!;
    if (request.state !== 'queued') continue;
    if (taken.length > 0 && rows + request.inputs.rows > maxRows) break;
    taken.push(request);
    rows += request.inputs.rows;
  }
  return next;
}
