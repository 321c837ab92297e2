/** The rate at which rows have been arriving: a mean in which what is older counts less. */
export class ArrivalRate {
  #perMs = 0;
  #atMs = 0;
  #sinceMs = Number.NaN;

  /** Notes rows that came at `nowMs`; what came `memoryMs` before counts a third of that. */
  observe(rows: number, nowMs: number, memoryMs: number): void {
    if (Number.isNaN(this.#sinceMs)) this.#sinceMs = nowMs;
    else this.#perMs *= Math.exp((this.#atMs - nowMs) / memoryMs);
    this.#perMs += rows / memoryMs;
    this.#atMs = nowMs;
  }

  /** Rows per millisecond. */
  perMs(nowMs: number, memoryMs: number): number {
    if (!(nowMs > this.#sinceMs)) return 0;
    // What was before the first rows is not known, rather than nothing.
    const known = 1 - Math.exp((this.#sinceMs - nowMs) / memoryMs);
    return (this.#perMs * Math.exp((this.#atMs - nowMs) / memoryMs)) / Math.max(known, 0.02);
  }
}
