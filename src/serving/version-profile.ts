import type { CostEstimate } from '../batching/cost.ts';
import { type CurveVerdict, type SizeCost, sayBest, sayVerdict } from '../batching/curve-verdict.ts';
import type { CurvePoint } from '../batching/lane-curve.ts';
import { type Profile, runsOf } from './profile/profile.ts';
import type { Spread } from './threads.ts';
import { judgeMain } from './verdict-watch.ts';

/** Where a curve comes from: the few runs of the probe, a stored profile, or live batches. */
export type CurveSource = 'probe' | 'cached' | 'live';

/** What is known of rows of about one size. */
export interface LaneProfile {
  /** Bytes of a row. */
  readonly rowBytes: number;
  /** Live runs. */
  readonly runs: number;
  /** By rising size. */
  readonly points: readonly CurvePoint[];
}

/** What has been measured of a model version. */
export interface VersionProfile {
  readonly source: CurveSource;
  readonly verdict: CurveVerdict;
  /** The verdict for people. */
  readonly sentence: string;
  /** The lane of most runs first; the verdict is on that one. */
  readonly lanes: readonly LaneProfile[];
  /** What a run of 1, 2, 4 … rows is expected to take, up to the largest size seen. */
  readonly doublings: readonly SizeCost[];
  /** What `shoal profile` has measured of it on this machine. */
  readonly stored: Profile | undefined;
  /** How it is spread over the cores granted. */
  readonly spread: Spread & { readonly cores: number };
}

/** Fewer live runs than this say nothing yet. */
const FEW_RUNS = 3;

/**
 * Describes a measured curve.
 *
 * @param maxRows the most rows of a run.
 * @param unbatched why rows do not share runs; undefined when they do.
 * @param stored what `shoal profile` has measured.
 */
export function describeCurve(
  cost: CostEstimate,
  spread: VersionProfile['spread'],
  maxRows: number,
  unbatched: string | undefined,
  stored: Profile | undefined,
): VersionProfile {
  const lanes = cost.lanes().map((lane) => {
    const points = lane.points();
    return { rowBytes: lane.rowBytes, runs: points.reduce((sum, { runs }) => sum + runs, 0), points };
  });
  const verdict = judgeMain(cost, maxRows);
  const isCached = stored !== undefined && runsOf(stored, spread).length > 0;
  return {
    source: cost.liveRuns >= FEW_RUNS ? 'live' : isCached ? 'cached' : 'probe',
    verdict,
    sentence:
      unbatched === undefined
        ? sayVerdict(verdict, stored?.best)
        : `It is not batched (${unbatched})${sayBest(stored?.best)}.`,
    stored,
    lanes,
    doublings: expectedAtDoublings(cost),
    spread,
  };
}

function expectedAtDoublings(cost: CostEstimate): SizeCost[] {
  const largest = cost.lanes()[0]?.largestRows ?? 0;
  const sizes: SizeCost[] = [];
  for (let rows = 1; rows <= largest; rows *= 2) {
    const ms = cost.expectedMs(rows);
    if (ms !== undefined) sizes.push({ rows, ms });
  }
  return sizes;
}
