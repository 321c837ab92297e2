import { Fifo, takeFrom } from './fifo.ts';
import type { PendingRequest } from './request.ts';

/**
 * The queue of requests that may share a batch: the most urgent first (level 1 before level 2; all have 0 where a model
 * has no levels), first come first served among those of one level. Requests that settle while they wait (their caller
 * left, their deadline passed) stay in their slot until the lane is taken from or tidied; they no longer count.
 */
export class Lane {
  readonly key: string;
  /** Rows that wait, those of {@link Lane.retry} included. */
  rows = 0;
  /** Requests that wait. */
  requests = 0;
  /** One for each priority among those that wait, the most urgent first; never none. */
  #fifos: Fifo[];
  /** Groups to be run once more, each as a batch of its own, before all others. */
  #retries: PendingRequest[][] = [];

  constructor(key: string, priority = 0) {
    this.key = key;
    this.#fifos = [new Fifo(priority)];
  }

  push(request: PendingRequest): void {
    this.#fifo(request.priority).push(request);
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

  /** The request that is to be taken next; undefined when none waits. */
  next(): PendingRequest | undefined {
    for (;;) {
      const group = this.#retries[0];
      if (group === undefined) break;
      const waiting = group.find((request) => request.state === 'queued');
      if (waiting !== undefined) return waiting;
      this.#retries.shift();
    }
    for (const fifo of this.#fifos) {
      const request = fifo.first();
      if (request !== undefined) return request;
    }
    return undefined;
  }

  /** Since when the request has waited that has waited longest, `next` being what {@link Lane.next} gave. */
  waitingSinceMs(next: PendingRequest): number {
    let sinceMs = next.stamps.enqueuedMs;
    if (this.#fifos.length === 1) return sinceMs;
    for (const fifo of this.#fifos) sinceMs = Math.min(sinceMs, fifo.first()?.stamps.enqueuedMs ?? sinceMs);
    return sinceMs;
  }

  /**
   * Takes the next batch: of a group that is tried again, or else of all, the waiting requests in order until the next
   * one would not fit into `maxRows`. The first is taken whatever its size.
   */
  take(maxRows: number): PendingRequest[] {
    const taken: PendingRequest[] = [];
    if (this.next() === undefined) return taken;
    const group = this.#retries[0];
    if (group !== undefined) {
      // It fits as a whole, unless the model has turned out not to be batchable since.
      const rest = group.slice(takeFrom(group, 0, maxRows, taken).next);
      if (rest.length > 0) this.#retries[0] = rest;
      else this.#retries.shift();
    } else this.#takeInOrder(maxRows, taken);
    for (const request of taken) {
      request.state = 'running';
      this.#count(request, -1);
    }
    return taken;
  }

  /** Row counts of those that {@link Lane.take} would take if all of them fitted, in that order. */
  *ahead(): Generator<number> {
    this.next();
    const [group] = this.#retries;
    for (const request of group ?? this.waiting()) if (request.state === 'queued') yield request.inputs.rows;
  }

  /** Notes that a waiting request was settled. */
  dropped(request: PendingRequest): void {
    this.#count(request, -1);
    for (const fifo of this.#fifos) fifo.tidy(this.requests);
    this.#forgetEmpty();
  }

  /** All requests that wait. */
  *waiting(): Generator<PendingRequest> {
    for (const group of this.#retries) for (const request of group) if (request.state === 'queued') yield request;
    for (const fifo of this.#fifos) yield* fifo.waiting();
  }

  #fifo(priority: number): Fifo {
    const first = this.#fifos[0]!;
    if (first.priority === priority) return first;
    let at = 0;
    while (at < this.#fifos.length && this.#fifos[at]!.priority < priority) at++;
    let fifo = this.#fifos[at];
    if (fifo?.priority !== priority) {
      fifo = new Fifo(priority);
      this.#fifos.splice(at, 0, fifo);
    }
    return fifo;
  }

  #takeInOrder(maxRows: number, taken: PendingRequest[]): void {
    let rows: number | undefined = 0;
    for (const fifo of this.#fifos) {
      rows = fifo.take(maxRows, taken, rows);
      // Who does not fit is not overtaken by a smaller one that is less urgent.
      if (rows === undefined) break;
    }
    this.#forgetEmpty();
  }

  #forgetEmpty(): void {
    if (this.#fifos.length === 1) return;
    const used = this.#fifos.filter((fifo) => fifo.slots > 0);
    this.#fifos = used.length > 0 ? used : [this.#fifos[0]!];
  }

  #count(request: PendingRequest, sign: 1 | -1): void {
    this.rows += sign * request.inputs.rows;
    this.requests += sign;
  }
}
