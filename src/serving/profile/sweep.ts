import { judge, RISEN, type Split } from '../../batching/curve-verdict.ts';
import { messageOf } from '../../errors.ts';

/** Executors of a model that are ready to be measured. */
export interface SweepTarget {
  readonly split: Split;
  /**
   * Runs batches of so many rows on all executors at the same time, for about `forMs`, each at least once.
   *
   * @returns the milliseconds that each run took in ONNX Runtime.
   */
  measure(rows: number, forMs: number): Promise<readonly number[]>;
  /** Memory that the largest of its processes holds. */
  residentBytes(): number;
}

export interface SweepLimits {
  /** The most rows of a run. */
  readonly maxRows: number;
  /** Memory that one process may hold. */
  readonly memoryBytes: number;
  /** Instant at which nothing further is begun. */
  readonly endMs: number;
  readonly now: () => number;
}

/** Why no larger size was tried. */
export type Stop =
  /** Rows per second no longer rose by 5 %. */
  | 'flat'
  /** It was the largest allowed. */
  | 'largest'
  /** A larger one would have passed the memory budget. */
  | 'memory'
  /** The time was over. */
  | 'time'
  /** A run failed, or ended its executor. */
  | 'failed';

/** Runs of one size. */
export interface SweptSize {
  readonly rows: number;
  readonly runs: number;
  /** A quarter of the runs took at most this: what else the machine does only ever makes runs longer. */
  readonly ms: number;
  /** Nine of ten did. */
  readonly highMs: number;
  /** Of all executors together, by `ms`. */
  readonly rowsPerSecond: number;
}

/** What was measured of one way to spread a model over the cores. */
export interface SweptSplit extends Split {
  /** By rising size; none when not even the first could be run. */
  readonly sizes: readonly SweptSize[];
  readonly stop: Stop;
  /** Why a run failed. */
  readonly failure?: string;
}

/** The share of runs that tells what one takes. */
const QUIET = 0.25;

/** After so many sizes in a row without more rows per second, larger ones are not tried. */
const FLAT_SIZES = 2;

/** Share of the time that the first way up may take; the rest is for going over all sizes again. */
const UP_SHARE = 0.5;

/** How often all sizes are measured again, down and up by turns, so that no disturbance meets one of them alone. */
const PASSES = 3;

/** Bounds of the time for one size of one split on the way up, in milliseconds. */
const SLICE = { least: 20, most: 1000 } as const;

interface Climb {
  readonly target: SweepTarget;
  /** By rows: what each run took. */
  readonly times: Map<number, number[]>;
  best: number;
  flat: number;
  bytes: number;
  stop: Stop | undefined;
  failure: string | undefined;
}

/**
 * Measures each target at 1, 2, 4 … rows, taking turns so that whatever else the machine does meanwhile meets all of
 * them, and then again for the rest of the time.
 */
export async function sweep(targets: readonly SweepTarget[], limits: SweepLimits): Promise<SweptSplit[]> {
  const { maxRows, endMs, now } = limits;
  const climbs = targets.map(
    (target): Climb => ({
      target,
      times: new Map(),
      best: 0,
      flat: 0,
      bytes: target.residentBytes(),
      stop: undefined,
      failure: undefined,
    }),
  );
  const sizes = sizesUpTo(maxRows);
  const upMs = (UP_SHARE * (endMs - now())) / (targets.length * sizes.length);
  const sliceMs = Math.min(SLICE.most, Math.max(SLICE.least, upMs));
  for (const rows of sizes) {
    for (const climb of climbs) await stepUp(climb, rows, sliceMs, limits);
  }
  const measured = climbs.reduce((sum, { times }) => sum + times.size, 0);
  const beganMs = now();
  for (let pass = 0; pass < PASSES; pass++) {
    const untilMs = beganMs + ((endMs - beganMs) * (pass + 1)) / PASSES;
    const passMs = (endMs - beganMs) / PASSES / measured;
    const order = pass % 2 === 0 ? sizes.toReversed() : sizes;
    for (const rows of order) {
      for (const climb of climbs) {
        if (climb.times.has(rows) && climb.stop !== 'failed' && now() < untilMs) await measure(climb, rows, passMs);
      }
    }
  }
  return climbs.map(resultOf);
}

/** The split with the most rows per second; among those within 5 % the one whose single rows are the fastest. */
export function bestOf(splits: readonly SweptSplit[]): SweptSplit | undefined {
  const known = splits.filter(({ sizes }) => sizes.length > 0);
  const most = Math.max(...known.map(peakOf));
  const near = known.filter((split) => peakOf(split) * RISEN >= most);
  return near.sort((a, b) => a.sizes[0]!.ms - b.sizes[0]!.ms)[0];
}

/** The most rows per second of a split at any size; 0 when nothing is known. */
export function peakOf({ sizes }: SweptSplit): number {
  return Math.max(0, ...sizes.map(({ rowsPerSecond }) => rowsPerSecond));
}

/**
 * The most rows per second of a split while so many rows are under way: each executor has its share of them.
 *
 * @returns undefined when no size was measured that is small enough.
 */
export function rateWith({ instances, sizes }: SweptSplit, rowsUnderWay: number): number | undefined {
  const rates = sizes.filter(({ rows }) => rows * instances <= rowsUnderWay).map((size) => size.rowsPerSecond);
  return rates.length === 0 ? undefined : Math.max(...rates);
}

/** Rows per run at the knee of a split. */
export function kneeOf({ sizes }: SweptSplit): number {
  return judge(sizes).kneeRows;
}

async function stepUp(climb: Climb, rows: number, sliceMs: number, limits: SweepLimits): Promise<void> {
  if (climb.stop !== undefined) return;
  if (limits.now() >= limits.endMs) {
    climb.stop = 'time';
    return;
  }
  const { target } = climb;
  if (!(await measure(climb, rows, sliceMs))) return;
  const rate = rateOf(target.split, rows, climb.times.get(rows)!);
  climb.flat = rate >= RISEN * climb.best ? 0 : climb.flat + 1;
  climb.best = Math.max(climb.best, rate);
  const bytes = target.residentBytes();
  const grownBytes = bytes - climb.bytes;
  climb.bytes = bytes;
  if (rows >= limits.maxRows) climb.stop = 'largest';
  else if (climb.flat >= FLAT_SIZES) climb.stop = 'flat';
  // The next size takes twice as much again as this one took more than the one before.
  else if (bytes + 2 * Math.max(0, grownBytes) > limits.memoryBytes) climb.stop = 'memory';
}

async function measure(climb: Climb, rows: number, forMs: number): Promise<boolean> {
  try {
    const times = await climb.target.measure(rows, forMs);
    climb.times.set(rows, [...(climb.times.get(rows) ?? []), ...times]);
    return true;
  } catch (thrown) {
    climb.stop = 'failed';
    climb.failure = messageOf(thrown);
    return false;
  }
}

function resultOf({ target: { split }, times, stop, failure }: Climb): SweptSplit {
  const sizes = [...times].map(([rows, ms]) => ({
    rows,
    runs: ms.length,
    ms: quantile(ms, QUIET),
    highMs: quantile(ms, 0.9),
    rowsPerSecond: rateOf(split, rows, ms),
  }));
  return { ...split, sizes, stop: stop ?? 'time', ...(failure === undefined ? {} : { failure }) };
}

function rateOf({ instances }: Split, rows: number, times: readonly number[]): number {
  return (1e3 * instances * rows) / quantile(times, QUIET);
}

/** The nearest rank. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
}

/** 1, 2, 4 … and the largest. */
function sizesUpTo(maxRows: number): number[] {
  const sizes: number[] = [];
  for (let rows = 1; rows < maxRows; rows *= 2) sizes.push(rows);
  return [...sizes, maxRows];
}
