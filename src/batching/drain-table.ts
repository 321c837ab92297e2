/** How a backlog of each size is run down. */
interface Descent {
  /** V(r): the waiting of all of r rows together, in row-milliseconds. */
  readonly waitMs: Float64Array;
  /** W(r): the work it makes, in milliseconds of a runner. */
  readonly workMs: Float64Array;
}

/** What the table is read by at one decision. */
export interface DrainState {
  readonly table: DrainTable;
  /** Until another runner can take what is left behind; 0 when one is idle, infinite when there is no other. */
  readonly otherFreeInMs: number;
  /** What other runners have still to do of their runs, together. */
  readonly othersBusyMs: number;
  /** Rows that arrive, per millisecond. */
  readonly arrivalsPerMs: number;
  /** Whether to take twice as many as seem best, to learn how long that takes. */
  readonly looks: boolean;
}

/** A backlog is looked at up to so many times the largest run. */
const BACKLOG_RUNS = 4;
/** And up to so many rows; beyond, a backlog is run down at the least cost per row all the same. */
const MOST_BACKLOG = 2048;
/** All sizes up to this one are weighed; above, each by this share larger than the one before. */
const EVERY_SIZE_TO = 24;
const SIZE_STEP = 1 / 12;
/** Runners are taken to be idle for at least this share of the time: an overload does not last for ever. */
const LEAST_IDLE = 0.01;
/** Prices of a millisecond of work, in rows that wait for it: 0, and from the first on each so many times the last. */
const PRICES = { first: 0.5, step: 2, most: 14 } as const;

/**
 * What a backlog costs when it is run down in the best pieces, for one cost curve and so many runners:
 * `V(r) = min over x of x·T(x) + (r − x)·T(x)/c + V(r − x)`. While a piece of x rows runs on one of c runners, the others
 * wait for a c-th of that time. Small pieces make more work, which others have to wait for; so there is such a descent
 * for each of several prices of work, worked out when it is first asked for.
 */
export class DrainTable {
  readonly maxRows: number;
  readonly runners: number;
  /** T(b): milliseconds of a run of b rows; T(0) is 0, and it never falls. */
  readonly runMs: Float64Array;
  /** Of the runs that cost least per row. */
  readonly #leastMsPerRow: number;
  /** Sizes that are weighed: all small ones, and ever fewer of the large ones; ascending. */
  readonly #sizes: readonly number[];
  readonly #backlog: number;
  readonly #descents: (Descent | undefined)[] = [];

  /** @param runMs what a run of so many rows takes; made to never fall as rows are added, which measurements may do. */
  constructor(maxRows: number, runners: number, runMs: (rows: number) => number) {
    this.maxRows = maxRows;
    this.runners = runners;
    this.runMs = new Float64Array(maxRows + 1);
    let least = Number.POSITIVE_INFINITY;
    for (let rows = 1; rows <= maxRows; rows++) {
      this.runMs[rows] = Math.max(this.runMs[rows - 1]!, runMs(rows));
      least = Math.min(least, this.runMs[rows]! / rows);
    }
    this.#leastMsPerRow = least;
    this.#sizes = weighedSizes(maxRows);
    this.#backlog = Math.max(maxRows, Math.min(MOST_BACKLOG, BACKLOG_RUNS * maxRows));
  }

  /**
   * How many of the rows that wait a runner should take now: those of the run, those left behind, and those that will
   * have come meanwhile wait least together. All of them when nothing better is found.
   *
   * Those that come: with work w to do, c runners and a share i of idle time, the backlog is gone after w/(c·i), and who
   * comes until then waits for half of w/c on average.
   */
  rowsToTake(state: Omit<DrainState, 'table'>, waiting: number): number {
    const { otherFreeInMs, othersBusyMs, arrivalsPerMs, looks } = state;
    const { runners, runMs } = this;
    const sizes = this.#sizes;
    const rows = Math.min(waiting, this.#backlog);
    const all = Math.min(rows, this.maxRows);
    const idle = Math.max(LEAST_IDLE, 1 - (arrivalsPerMs * this.#leastMsPerRow) / runners);
    const coming = arrivalsPerMs / (2 * runners * runners * idle);
    const { waitMs, workMs } = this.#descent(2 * coming * (othersBusyMs + rows * this.#leastMsPerRow));
    let best = all;
    let least = Number.POSITIVE_INFINITY;
    for (let i = sizes.length; i >= 0; i--) {
      // What waits first, so that it wins over equals.
      const size = i === sizes.length ? all : sizes[i]!;
      if (size > all || (size === all && i < sizes.length)) continue;
      const ms = runMs[size]!;
      const left = rows - size;
      const work = ms + workMs[left]! + othersBusyMs;
      const restMs = Math.min(otherFreeInMs, ms) + this.#slackMs(ms, Math.min(size, left), state);
      const cost = size * ms + left * restMs + waitMs[left]! + coming * work * work;
      if (cost < least) {
        least = cost;
        best = size;
      }
    }
    return looks ? Math.min(2 * best, all) : best;
  }

  /**
   * V takes runners to become free one after the other at even distances, the first for what is left behind at once. So
   * much later it is on average when the others are busy for longer than that: half of the excess, since the pieces that
   * follow differ from this one.
   */
  #slackMs(ms: number, nextRows: number, { otherFreeInMs, othersBusyMs }: Omit<DrainState, 'table'>): number {
    const { runners } = this;
    if (runners === 1) return 0;
    const leftMs = ms + othersBusyMs - runners * Math.min(otherFreeInMs, ms);
    const evenMs = ((runners - 1) / 2) * this.runMs[nextRows]!;
    return Math.max(0, (leftMs - evenMs / 2) / runners);
  }

  #descent(price: number): Descent {
    const level = price < PRICES.first ? 0 : 1 + Math.round(Math.log2(price / PRICES.first) / Math.log2(PRICES.step));
    const index = Math.min(level, PRICES.most);
    this.#descents[index] ??= this.#workOut(index === 0 ? 0 : PRICES.first * PRICES.step ** (index - 1));
    return this.#descents[index];
  }

  #workOut(price: number): Descent {
    const { runners, runMs, maxRows } = this;
    const sizes = this.#sizes;
    const waitMs = new Float64Array(this.#backlog + 1);
    const workMs = new Float64Array(this.#backlog + 1);
    for (let rows = 1; rows <= this.#backlog; rows++) {
      const all = Math.min(rows, maxRows);
      let best = all;
      let least = Number.POSITIVE_INFINITY;
      for (let i = sizes.length; i >= 0; i--) {
        const size = i === sizes.length ? all : sizes[i]!;
        if (size > all) continue;
        const left = rows - size;
        const cost = runMs[size]! * (size + left / runners + price) + waitMs[left]! + price * workMs[left]!;
        if (cost < least) {
          least = cost;
          best = size;
        }
      }
      const left = rows - best;
      waitMs[rows] = runMs[best]! * (best + left / runners) + waitMs[left]!;
      workMs[rows] = runMs[best]! + workMs[left]!;
    }
    return { waitMs, workMs };
  }
}

function weighedSizes(maxRows: number): number[] {
  const sizes: number[] = [];
  for (let size = 1; size < maxRows; ) {
    sizes.push(size);
    size = size < EVERY_SIZE_TO ? size + 1 : Math.floor(size * (1 + SIZE_STEP));
  }
  sizes.push(maxRows);
  return sizes;
}
