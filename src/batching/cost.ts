/** Weight of the newest run in the running means. */
const NEWEST = 0.2;

interface Seen {
  ms: number;
  rows: number;
  bytes: number;
}

/**
 * A running estimate of what runs cost, kept by size in powers of two. The measured cost curve will stand behind the
 * same methods.
 */
export class CostEstimate {
  /** Means of the runs of 2^i to 2^(i+1) − 1 rows. */
  readonly #sizes: Map<number, Seen> = new Map();
  #leastMsPerRow = 0;

  /** @param bytes of the inputs: rows of one model may differ in size. */
  observe(rows: number, bytes: number, ms: number): void {
    const size = 31 - Math.clz32(rows);
    const seen = this.#sizes.get(size);
    if (seen === undefined) this.#sizes.set(size, { ms, rows, bytes });
    else {
      seen.ms += NEWEST * (ms - seen.ms);
      seen.rows += NEWEST * (rows - seen.rows);
      seen.bytes += NEWEST * (bytes - seen.bytes);
    }
    this.#leastMsPerRow = Number.POSITIVE_INFINITY;
    for (const known of this.#sizes.values()) {
      this.#leastMsPerRow = Math.min(this.#leastMsPerRow, known.ms / known.rows);
    }
  }

  /** What such a run may take at most by what has been seen: generous for sizes not seen yet. 0: unknown. */
  upperMs(rows: number, bytes: number): number {
    let upper = 0;
    for (const seen of this.#sizes.values()) {
      upper = Math.max(upper, seen.ms * Math.max(1, rows / seen.rows, bytes / Math.max(1, seen.bytes)));
    }
    return upper;
  }

  /**
   * What a run of so many rows will probably take: on the line through the two sizes seen that are nearest to it.
   * Undefined before two sizes have been seen.
   */
  expectedMs(rows: number): number | undefined {
    if (this.#sizes.size < 2) return undefined;
    const near = [...this.#sizes.values()].sort((a, b) => Math.abs(a.rows - rows) - Math.abs(b.rows - rows));
    const [one, other] = [near[0]!, near[1]!];
    const perRow = Math.max(0, (other.ms - one.ms) / (other.rows - one.rows));
    return Math.max(0, one.ms + perRow * (rows - one.rows));
  }

  /** The least milliseconds per row seen at any size; 0: unknown. */
  leastMsPerRow(): number {
    return this.#leastMsPerRow;
  }
}
