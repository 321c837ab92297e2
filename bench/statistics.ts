/** The statistics of interleaved measurements. */

/** A median and the interval that holds it in 95 % of resamples. */
export interface Estimate {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 2000;
const TAIL = 0.025;

/** The value below which the share `q` (0 to 1) of `values` lies, between neighbours by straight line. NaN for none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  if (sorted.length === 0) return Number.NaN;
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const lower = sorted[below]!;
  const upper = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return lower + (upper - lower) * (at - below);
}

/** The middle value; the mean of the two middle ones for an even count. NaN for none. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/**
 * The median with its percentile bootstrap interval (B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993,
 * section 13.3). The same values always give the same interval.
 *
 * @param values one per pair, such as the ratio of two rates measured one after the other.
 */
export function estimateMedian(values: readonly number[]): Estimate {
  const random = mulberry32(1);
  const medians = Array.from({ length: RESAMPLES }, () =>
    median(values.map(() => values[Math.floor(random() * values.length)]!)),
  );
  return { median: median(values), low: quantile(medians, TAIL), high: quantile(medians, 1 - TAIL) };
}

/** `a` over `b`, pair by pair. Pairs keep what both sides of a ratio met at the time: a slow minute cancels out. */
export function pairwiseRatio(a: readonly number[], b: readonly number[]): number[] {
  return pairwise(a, b, (x, y) => x / y);
}

/** `combine` of each pair. @throws {RangeError} when one list is longer. */
export function pairwise(
  a: readonly number[],
  b: readonly number[],
  combine: (x: number, y: number) => number,
): number[] {
  if (a.length !== b.length) throw new RangeError(`${a.length} values cannot be paired with ${b.length}`);
  return a.map((x, i) => combine(x, b[i]!));
}

/** Numbers from 0 to 1 (exclusive), the same for a seed. T. Ettinger's mulberry32, in the public domain. */
export function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
