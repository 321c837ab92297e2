import type { PendingRequest } from './request.ts';

/** Requests that have left the queue's front before it is shortened. */
const TIDY_AT = 64;

/**
 * Has requests answered in the order in which they were accepted: an answer is held back until all earlier requests
 * are settled. Errors are not held back. Only for models whose configuration asks for it (`preserve_ordering`).
 */
export class AnswerOrder {
  #queue: PendingRequest[] = [];
  #head = 0;
  readonly #held: Map<PendingRequest, () => void> = new Map();

  /** Notes that a request was accepted. */
  add(request: PendingRequest): void {
    this.#queue.push(request);
  }

  /** Has a request answered when it is its turn, at once if it is. `answer` settles it. */
  answer(request: PendingRequest, answer: () => void): void {
    this.#held.set(request, answer);
    this.advance();
  }

  /** Answers those whose turn it has become; to be called after requests were settled otherwise. */
  advance(): void {
    while (this.#head < this.#queue.length) {
      const request = this.#queue[this.#head]!;
      const answer = this.#held.get(request);
      if (answer === undefined && request.state !== 'settled') break;
      this.#head++;
      this.#held.delete(request);
      if (request.state !== 'settled') answer!();
    }
    if (this.#head > TIDY_AT && 2 * this.#head > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Requests whose answers are held back. */
  held(): PendingRequest[] {
    return [...this.#held.keys()].filter((request) => request.state !== 'settled');
  }
}
