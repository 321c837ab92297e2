import type { Split } from '../batching/curve-verdict.ts';
import type { Config } from '../config.ts';
import type { Profile } from './profile/profile.ts';
import { rateWith, type SweptSplit } from './profile/sweep.ts';

/** Files above this are bound by reading their weights: one wide instance serves them better than several narrow ones. */
const WIDE_ABOVE_BYTES = 16e6;

/** How a version is spread over the cores. */
export interface Spread {
  /** The most instances. */
  readonly instances: number;
  /** Threads of each. */
  readonly threads: number;
}

/** The instances and threads of a model, as configured or by the size of its file. */
export function spreadOver(config: Pick<Config, 'cores' | 'instances' | 'intraOpThreads'>, fileBytes: number): Spread {
  const wide = fileBytes > WIDE_ABOVE_BYTES;
  const threads = config.intraOpThreads === 'auto' ? (wide ? config.cores : 1) : config.intraOpThreads;
  if (config.instances !== 'auto') return { instances: config.instances, threads };
  return { instances: wide ? 1 : Math.max(1, Math.floor(config.cores / threads)), threads };
}

/** A measured split must be this many times as good as the one by rule to be preferred. */
const BETTER = 1.1;

/** Up to so many rows under way splits are compared. */
const MOST_UNDER_WAY = 256;

/**
 * The spread that a profile shows to be better than the one by rule: only where both have been measured side by side,
 * and where neither instances nor threads are set. Executors share out what is under way, so that splits are compared at
 * equal numbers of rows under way, not of rows in a run.
 *
 * @param asked what is set, `'auto'` for what is not.
 * @returns `byRule` itself where there is none.
 */
export function spreadByProfile(
  byRule: Spread,
  asked: Pick<Config, 'instances' | 'intraOpThreads'>,
  profile: Pick<Profile, 'splits' | 'best'> | undefined,
): Spread {
  if (profile === undefined || asked.instances !== 'auto' || asked.intraOpThreads !== 'auto') return byRule;
  const { splits, best } = profile;
  const own = splits.find((split) => isSame(split, byRule));
  const better = splits.find((split) => isSame(split, best));
  if (own === undefined || better === undefined || advantage(better, own) < BETTER) return byRule;
  return { instances: better.instances, threads: better.threads };
}

/** How many times as many rows per second a split has as another: the geometric mean over 2, 4, 8 … rows under way. */
function advantage(split: SweptSplit, other: SweptSplit): number {
  let logs = 0;
  let count = 0;
  for (let rows = 2; rows <= MOST_UNDER_WAY; rows *= 2) {
    const [one, two] = [rateWith(split, rows), rateWith(other, rows)];
    if (one === undefined || two === undefined) continue;
    logs += Math.log(one / two);
    count++;
  }
  return count === 0 ? 1 : Math.exp(logs / count);
}

function isSame(a: Split, b: Split): boolean {
  return a.instances === b.instances && a.threads === b.threads;
}
