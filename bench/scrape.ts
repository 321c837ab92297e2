import { request } from 'undici';

/** What Shoal's own metrics say of a stretch of time: the difference of two scrapes. */

/** A histogram: by upper bound the observations at or below it, and the sum of all. */
export interface Histogram {
  readonly cumulative: ReadonlyMap<number, number>;
  readonly sum: number;
}

/** Scrapes `/metrics` of the server at `url` once. */
export async function scrape(url: string): Promise<string> {
  const { body } = await request(`${url}/metrics`);
  return body.text();
}

/** One histogram of a scrape, all of its label sets together. */
export function readHistogram(metrics: string, name: string): Histogram {
  const cumulative = new Map<number, number>();
  let sum = 0;
  for (const line of metrics.split('\n')) {
    if (!line.startsWith(name)) continue;
    const value = Number(line.slice(line.lastIndexOf(' ') + 1));
    const bound = /[{,]le="([^"]+)"/.exec(line)?.[1];
    if (bound !== undefined && line.startsWith(`${name}_bucket`)) {
      const key = bound === '+Inf' ? Number.POSITIVE_INFINITY : Number(bound);
      cumulative.set(key, (cumulative.get(key) ?? 0) + value);
    } else if (line.startsWith(`${name}_sum`)) sum += value;
  }
  return { cumulative, sum };
}

/** What was observed between two scrapes. */
export function difference(before: Histogram, after: Histogram): Histogram {
  const cumulative = new Map([...after.cumulative].map(([le, n]) => [le, n - (before.cumulative.get(le) ?? 0)]));
  return { cumulative, sum: after.sum - before.sum };
}

/** Both sets of observations together. */
export function add(a: Histogram, b: Histogram): Histogram {
  const cumulative = new Map([...b.cumulative].map(([le, n]) => [le, n + (a.cumulative.get(le) ?? 0)]));
  return { cumulative, sum: a.sum + b.sum };
}

/** How many observations there are. */
export function countOf({ cumulative }: Histogram): number {
  return cumulative.get(Number.POSITIVE_INFINITY) ?? 0;
}

/** The smallest bound that at least the share `q` of the observations does not exceed; NaN for none. */
export function quantileBound(histogram: Histogram, q: number): number {
  const total = countOf(histogram);
  const bounds = [...histogram.cumulative.keys()].sort((a, b) => a - b);
  return bounds.find((le) => total > 0 && histogram.cumulative.get(le)! >= q * total) ?? Number.NaN;
}
