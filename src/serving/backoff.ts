const FIRST_MS = 100;
const MOST_MS = 5000;

/** Pauses before restarts: none, then doubling up to 5 s. */
export class Backoff {
  #nextMs = 0;

  /** The pause before the next restart, in milliseconds. */
  next(): number {
    const ms = this.#nextMs;
    this.#nextMs = Math.min(MOST_MS, Math.max(FIRST_MS, 2 * ms));
    return ms;
  }

  reset(): void {
    this.#nextMs = 0;
  }
}
