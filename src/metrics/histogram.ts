/**
 * A histogram that costs some nanoseconds to write: a typed array of counts, read only when it is scraped. A
 * prom-client histogram costs about a hundred times as much per observation, for it looks its labels up.
 */
export class HotHistogram {
  /** Upper bounds of the buckets, rising; the bucket above the last has none. */
  readonly bounds: readonly number[];
  /** How many values fell into each bucket alone, not cumulated. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let i = 0;
    while (i < this.bounds.length && value > this.bounds[i]!) i++;
    this.counts[i]!++;
    this.sum += value;
  }

  get count(): number {
    let count = 0;
    for (const n of this.counts) count += n;
    return count;
  }
}

/** Bounds for durations in seconds, from 50 µs to 30 s. */
export const SECONDS: readonly number[] = [
  0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];

/** Bounds for sizes of batches. */
export const SIZES: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
