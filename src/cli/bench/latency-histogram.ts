/** Steps within each doubling: a value is off by less than 1 % at the most. */
const STEPS = 64;
/** Doublings from a microsecond on; the last one ends beyond a day. */
const DOUBLINGS = 37;

/** Latencies in buckets of about a hundredth of their size, so that any number of them takes the same memory. */
export class LatencyHistogram {
  count = 0;
  sumMs = 0;
  maxMs = 0;
  readonly #counts: Float64Array = new Float64Array(STEPS * DOUBLINGS);

  /** Adds a latency, in milliseconds. */
  add(ms: number): void {
    this.count++;
    this.sumMs += ms;
    if (ms > this.maxMs) this.maxMs = ms;
    const us = Math.max(1, ms * 1000);
    const at = Math.min(this.#counts.length - 1, Math.floor(Math.log2(us) * STEPS));
    this.#counts[at]!++;
  }

  get meanMs(): number {
    return this.count === 0 ? Number.NaN : this.sumMs / this.count;
  }

  /** The latency that a share `q` of all (0 to 1) do not exceed, in milliseconds; NaN where there is none. */
  quantileMs(q: number): number {
    if (this.count === 0) return Number.NaN;
    const wanted = Math.max(1, Math.ceil(q * this.count));
    let seen = 0;
    for (const [at, count] of this.#counts.entries()) {
      seen += count;
      // The upper end of the bucket, so that nothing is made better than it was.
      if (seen >= wanted) return Math.min(this.maxMs, 2 ** ((at + 1) / STEPS) / 1000);
    }
    return this.maxMs;
  }
}
