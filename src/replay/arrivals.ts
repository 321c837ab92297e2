import { type Random, seededRandom } from '../random.ts';

/** Requests in the order in which they come. */
export interface Arrivals {
  /** When each comes, in milliseconds from the beginning; ascending. */
  readonly atMs: Float64Array;
  /** Rows of each. */
  readonly rows: Uint32Array;
  /** Which lane each belongs to; undefined: all to one. */
  readonly lanes?: Uint32Array;
  /** What each may take, in milliseconds; undefined: as long as it likes. */
  readonly timeoutMs?: Float64Array;
}

/** How synthetic requests come. */
export type Pattern =
  /** Independently of one another. */
  | { readonly kind: 'poisson' }
  /** In groups of `size` on average (geometric), each spread over `spreadMs` on average. */
  | { readonly kind: 'bursts'; readonly size: number; readonly spreadMs: number }
  /** Like Poisson during `onMs`, and not at all during `offMs`, both on average (exponential). */
  | { readonly kind: 'on-off'; readonly onMs: number; readonly offMs: number };

/** Makes requests of one row that come at so many per millisecond on average. */
export function makeArrivals(pattern: Pattern, ratePerMs: number, requests: number, seed: number): Arrivals {
  const random = seededRandom(seed);
  const atMs = timesOf(pattern, ratePerMs, requests, random);
  return { atMs, rows: new Uint32Array(requests).fill(1) };
}

function timesOf(pattern: Pattern, ratePerMs: number, requests: number, random: Random): Float64Array {
  const times = new Float64Array(requests);
  let now = 0;
  if (pattern.kind === 'poisson') {
    for (let i = 0; i < requests; i++) times[i] = now += exponential(random, 1 / ratePerMs);
    return times;
  }
  if (pattern.kind === 'on-off') {
    const { onMs, offMs } = pattern;
    const gapMs = onMs / (onMs + offMs) / ratePerMs;
    let offAt = exponential(random, onMs);
    for (let i = 0; i < requests; i++) {
      now += exponential(random, gapMs);
      while (now > offAt) {
        // What would have come after the end comes after the pause.
        now += exponential(random, offMs);
        offAt = now + exponential(random, onMs);
      }
      times[i] = now;
    }
    return times;
  }
  const { size, spreadMs } = pattern;
  const gapMs = spreadMs / Math.max(1, size - 1);
  for (let i = 0; i < requests; ) {
    now += exponential(random, size / ratePerMs);
    let at = now;
    do {
      times[i++] = at;
      at += exponential(random, gapMs);
    } while (i < requests && random() >= 1 / size);
  }
  return times.sort();
}

/** A number of that mean, exponentially distributed. */
export function exponential(random: Random, mean: number): number {
  return -mean * Math.log(1 - random());
}
