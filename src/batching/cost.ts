import { LaneCurve } from './lane-curve.ts';

/** Rows whose sizes differ by less than this factor share a curve. */
const ALIKE = 1.5;

/** The most curves; rows of further sizes go to the nearest. */
const MOST_LANES = 12;

/** When a lane has so many runs, all count half: which is the main one follows the traffic. */
const HALVE_AT = 1024;

/** What a run of so many rows took, known from elsewhere than live runs. */
export interface AssumedRun {
  readonly rows: number;
  /** Bytes of its inputs. */
  readonly bytes: number;
  readonly ms: number;
}

/**
 * The measured cost curve of a model version: what a run of `b` rows takes, learnt from live batches. Requests of one
 * model may differ in the size of their rows (images, texts, sequences), so that there is a curve for each class of
 * sizes. It follows the newest runs, is not misled by single slow ones, and never falls with the number of rows.
 */
export class CostEstimate {
  readonly #lanes: LaneCurve[] = [];
  /** The lane of most runs; undefined before the first. */
  #main: LaneCurve | undefined;
  #leastMsPerRow = 0;
  #liveRuns = 0;
  #revision = 0;

  /** Rises whenever the curve has moved noticeably: what was computed from it may have to be computed anew. */
  get revision(): number {
    return this.#revision;
  }

  /** Runs that have been observed. */
  get liveRuns(): number {
    return this.#liveRuns;
  }

  /** The curves by size of the rows; that of most runs first. */
  lanes(): LaneCurve[] {
    return this.#lanes.toSorted((a, b) => b.weight - a.weight);
  }

  /** @param bytes of the inputs: rows of one model may differ in size. */
  observe(rows: number, bytes: number, ms: number): void {
    this.#liveRuns++;
    const lane = this.#laneOf(bytes / rows);
    if (++lane.weight >= HALVE_AT) for (const each of this.#lanes) each.weight /= 2;
    if (this.#main === undefined || lane.weight > this.#main.weight) this.#main = lane;
    const { revision } = lane;
    lane.observe(rows, ms);
    this.#noteFit(lane.revision - revision);
  }

  /** Notes runs of a probe or a profile: they are believed until there are live ones of their size. */
  assume(runs: readonly AssumedRun[]): void {
    for (const { rows, bytes, ms } of runs) {
      const lane = this.#laneOf(bytes / rows);
      this.#main ??= lane;
      const { revision } = lane;
      lane.assume(rows, ms);
      this.#noteFit(lane.revision - revision);
    }
  }

  /** What such a run may take at most by what has been seen: generous for sizes not seen yet. 0: unknown. */
  upperMs(rows: number, bytes: number): number {
    let upper = 0;
    for (const lane of this.#lanes) upper = Math.max(upper, lane.upperMs(rows, bytes));
    return upper;
  }

  /**
   * What a run of so many rows will probably take. Undefined before sizes have been seen that are far enough apart.
   *
   * @param bytes of its inputs; left out: rows of the size that most runs had.
   */
  expectedMs(rows: number, bytes?: number): number | undefined {
    const lane = bytes === undefined ? this.#main : this.#nearest(bytes / rows);
    if (lane === undefined || lane.hasSpread) return lane?.expectedMs(rows);
    // What is known of other rows, moved so that it meets what is known of these.
    const other = this.#lanes.reduce<LaneCurve | undefined>(
      (best, each) => (each.hasSpread && each.weight >= (best?.weight ?? 0) ? each : best),
      undefined,
    );
    const known = lane.nearest(rows);
    const there = known === undefined ? undefined : other?.expectedMs(known.rows);
    if (known === undefined || there === undefined || there <= 0) return undefined;
    return (other!.expectedMs(rows)! * known.ms) / there;
  }

  /** The least milliseconds per row at any size seen; 0: unknown. */
  leastMsPerRow(): number {
    return this.#leastMsPerRow;
  }

  /** The lane of rows of this size; a new one where none is like it. */
  #laneOf(rowBytes: number): LaneCurve {
    const main = this.#main;
    if (main !== undefined && distance(main.rowBytes, rowBytes) < ALIKE) return main;
    const nearest = this.#nearest(rowBytes);
    const isFull = this.#lanes.length >= MOST_LANES;
    if (nearest !== undefined && (isFull || distance(nearest.rowBytes, rowBytes) < ALIKE)) return nearest;
    const lane = new LaneCurve(rowBytes);
    this.#lanes.push(lane);
    return lane;
  }

  #nearest(rowBytes: number): LaneCurve | undefined {
    let best: LaneCurve | undefined;
    for (const lane of this.#lanes) {
      if (best === undefined || distance(lane.rowBytes, rowBytes) < distance(best.rowBytes, rowBytes)) best = lane;
    }
    return best;
  }

  #noteFit(revisions: number): void {
    this.#revision += revisions;
    let least = Number.POSITIVE_INFINITY;
    for (const lane of this.#lanes) least = Math.min(least, lane.leastMsPerRow);
    this.#leastMsPerRow = least;
  }
}

/** How many times larger one size is than the other. */
function distance(a: number, b: number): number {
  const [x, y] = [Math.max(1, a), Math.max(1, b)];
  return x > y ? x / y : y / x;
}
