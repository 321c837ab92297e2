/** Row counts of runs in which every row has been seen to have bit for bit the answer it has alone; no others are used. */
export class ProvenSizes {
  readonly #proven: Set<number>;
  readonly #refused: Set<number> = new Set();
  /** A size that would be used if it were proven. */
  wanted: number | undefined;

  constructor(proven: readonly number[]) {
    this.#proven = new Set([1, ...proven]);
  }

  /** In ascending order. */
  get proven(): number[] {
    return [...this.#proven].sort((a, b) => a - b);
  }

  prove(sizes: readonly number[]): void {
    for (const size of sizes) this.#proven.add(size);
  }

  /** Notes how a size came out. */
  tried(size: number, isExact: boolean): void {
    if (this.wanted === size) this.wanted = undefined;
    if (isExact) this.#proven.add(size);
    else {
      this.#proven.delete(size);
      this.#refused.add(size);
    }
  }

  /**
   * How many rows to take: the most that come out as a proven size, or the first request's.
   *
   * @param ahead row counts of those that wait. One of an unproven size runs alone: that is the answer it would have.
   */
  limit(ahead: Iterable<number>, maxRows: number): number {
    let sum = 0;
    let best = 0;
    let most = 0;
    for (const rows of ahead) {
      if (sum > 0 && (sum + rows > maxRows || !this.#proven.has(rows))) break;
      sum += rows;
      if (best === 0 || this.#proven.has(sum)) best = sum;
      most = sum;
      if (!this.#proven.has(rows)) break;
    }
    if (most > best && !this.#refused.has(most)) this.wanted ??= most;
    return Math.max(1, best);
  }
}
