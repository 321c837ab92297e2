import { ArrivalRate } from './arrival-rate.ts';
import type { CostEstimate } from './cost.ts';
import { type DrainState, DrainTable } from './drain-table.ts';

/** So many runs of a size must have been seen before it is decided by the curve whether to take fewer. */
const KNOWN_AFTER = 3;
/** A table is made anew when a run's expected time has moved by this share. */
const MATERIAL = 0.05;
/** That is looked at when the curve says that it has changed, and after so many runs. */
const CHECK_EVERY = 64;
/** At one decision in so many twice the best size is taken: a curve that is never looked at cannot be found wrong. */
const LOOK_EVERY = 100;
/** The rate of arrivals is remembered for so many runs of one row. */
const MEMORY_RUNS = 512;
const MEMORY_MS = { least: 100, most: 10_000 } as const;
/** Weight of the newest run in the mean of what runs take beside their compute, and how far one may be off it. */
const NEWEST = 1 / 16;
const OUTLIER = { times: 3, ms: 0.1 } as const;
/** Rows of sizes within this factor are decided by one table. */
const ALIKE = 1.5;

/** What a runner that is free may take from, and what the others do. */
export interface DrainQuery extends Pick<DrainState, 'otherFreeInMs' | 'othersBusyMs'> {
  /** Rows that wait. */
  readonly waiting: number;
  /** Bytes of one of them. */
  readonly rowBytes: number;
  /** Runners that may run at the same time. */
  readonly runners: number;
  readonly nowMs: number;
}

/** What is known of rows of one size. */
interface Known {
  readonly rowBytes: number;
  /** Runs seen of 2^i to 2^(i+1) − 1 rows. */
  readonly runs: number[];
  /** By number of runners. */
  readonly tables: Map<number, DrainTable>;
}

/**
 * What the scheduler knows of a model: how to run a backlog down by its measured curve, which sizes have been measured,
 * and how fast rows arrive. Tables are made when they are first needed, and again when the curve has moved.
 */
export class DrainPlan {
  readonly #cost: CostEstimate;
  readonly #maxRows: number;
  readonly #arrivals: ArrivalRate = new ArrivalRate();
  /** By the logarithm of the size of a row. */
  readonly #known: Map<number, Known> = new Map();
  #memoryMs: number = MEMORY_MS.least;
  #revision = -1;
  /** Runs since tables were last compared with the curve. */
  #unchecked = 0;
  #decisions = 0;
  /** What a runner is busy with a run beside its compute: the curve knows of that alone. */
  #besideMs = 0;

  /** @param maxRows the most rows of a run. */
  constructor(cost: CostEstimate, maxRows: number) {
    this.#cost = cost;
    this.#maxRows = maxRows;
  }

  /** Notes rows that came. */
  arrived(rows: number, nowMs: number): void {
    this.#arrivals.observe(rows, nowMs, this.#memoryMs);
  }

  /**
   * Notes a run whose time the curve has learnt.
   *
   * @param besideMs how much longer than that the runner was busy: handing over and back.
   */
  ran(rows: number, bytes: number, besideMs: number): void {
    const most = OUTLIER.times * this.#besideMs + OUTLIER.ms;
    this.#besideMs += NEWEST * (Math.min(besideMs, most) - this.#besideMs);
    const size = sizeOf(rows);
    const { runs } = this.#of(bytes / rows);
    runs[size] = (runs[size] ?? 0) + 1;
    const { revision } = this.#cost;
    if (revision === this.#revision && ++this.#unchecked < CHECK_EVERY) return;
    this.#revision = revision;
    this.#unchecked = 0;
    this.#memoryMs = clamp(MEMORY_RUNS * (this.#cost.expectedMs(1) ?? 0), MEMORY_MS.least, MEMORY_MS.most);
    for (const known of this.#known.values()) {
      for (const [runners, table] of known.tables) if (this.#hasMoved(known, table)) known.tables.delete(runners);
    }
  }

  /** What to decide by; undefined while the curve is not known well enough: take all. */
  state(query: DrainQuery): DrainState | undefined {
    const { waiting, rowBytes, runners, otherFreeInMs, othersBusyMs, nowMs } = query;
    const all = Math.min(waiting, this.#maxRows);
    // With one row there is nothing to decide.
    if (all < 2) return undefined;
    const known = this.#of(rowBytes);
    if ((known.runs[sizeOf(all)] ?? 0) < KNOWN_AFTER) return undefined;
    const table = this.#table(known, runners);
    if (table === undefined) return undefined;
    const looks = ++this.#decisions % LOOK_EVERY === 0;
    const arrivalsPerMs = this.#arrivals.perMs(nowMs, this.#memoryMs);
    return { table, otherFreeInMs, othersBusyMs, arrivalsPerMs, looks };
  }

  #of(rowBytes: number): Known {
    const key = Math.round(Math.log(Math.max(1, rowBytes)) / Math.log(ALIKE));
    let known = this.#known.get(key);
    if (known === undefined) {
      known = { rowBytes, runs: [], tables: new Map() };
      this.#known.set(key, known);
    }
    return known;
  }

  #table(known: Known, runners: number): DrainTable | undefined {
    let table = known.tables.get(runners);
    if (table === undefined) {
      if (this.#expectedMs(known, 1) === undefined) return undefined;
      table = new DrainTable(this.#maxRows, runners, (rows) => this.#expectedMs(known, rows)!);
      known.tables.set(runners, table);
    }
    return table;
  }

  #expectedMs({ rowBytes }: Known, rows: number): number | undefined {
    const ms = this.#cost.expectedMs(rows, rows * rowBytes);
    return ms === undefined ? undefined : ms + this.#besideMs;
  }

  #hasMoved(known: Known, { runMs, maxRows }: DrainTable): boolean {
    for (let rows = 1; ; rows = Math.min(2 * rows, maxRows)) {
      const ms = this.#expectedMs(known, rows)!;
      if (Math.abs(ms - runMs[rows]!) > MATERIAL * runMs[rows]!) return true;
      if (rows === maxRows) return false;
    }
  }
}

function sizeOf(rows: number): number {
  return 31 - Math.clz32(rows);
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
