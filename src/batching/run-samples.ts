/** How many of the newest runs of a size are kept. */
const KEPT = 16;

/** After so many runs, a size forgets what was only assumed of it. */
const ENOUGH = 3;

/** Once this many are kept, they are summed up only at every {@link SUM_UP_EVERY}th run. */
const FEW = 8;
const SUM_UP_EVERY = 4;

/** The share of runs that {@link RunSamples.highMs} covers. */
const HIGH = 0.9;

// Shared by all, since nothing is awaited while they are in use: summing up allocates nothing.
const sortedPerRow = new Float64Array(KEPT);
const sortedIndex = new Uint8Array(KEPT);

/**
 * The newest runs of about one size, and what they took: the middle ones, so that runs in which the process was paused
 * or throttled have no say as long as they are fewer than a good third.
 */
export class RunSamples {
  /** Rows of a typical run; 0 before the first. */
  rows = 0;
  /** Milliseconds that such a run took. */
  ms = 0;
  /** Milliseconds that nine of ten did not exceed. */
  highMs = 0;
  /** Runs that have been seen. */
  runs = 0;
  readonly #rows: Float64Array = new Float64Array(KEPT);
  readonly #ms: Float64Array = new Float64Array(KEPT);
  #kept = 0;
  #next = 0;
  #isAssumed = false;

  /** Runs that the summary stands on. */
  get weight(): number {
    return Math.max(this.#kept, 1);
  }

  /** Notes a run; true when the summary has been made anew. */
  add(rows: number, ms: number): boolean {
    this.runs++;
    this.#rows[this.#next] = rows;
    this.#ms[this.#next] = ms;
    this.#next = (this.#next + 1) % KEPT;
    this.#kept = Math.min(KEPT, this.#kept + 1);
    if (this.#isAssumed && this.runs < ENOUGH) return false;
    if (this.#kept >= FEW && this.runs % SUM_UP_EVERY !== 0) return false;
    this.#sumUp();
    return true;
  }

  /** Sets what is believed until enough runs have been seen. */
  assume(rows: number, ms: number): void {
    if (this.runs > 0) return;
    this.#isAssumed = true;
    this.rows = rows;
    this.ms = ms;
    this.highMs = ms;
  }

  #sumUp(): void {
    const n = this.#kept;
    // By the time per row: sizes that are counted together differ a little. Insertion is the fastest for so few.
    for (let i = 0; i < n; i++) {
      const perRow = this.#ms[i]! / this.#rows[i]!;
      let at = i;
      for (; at > 0 && sortedPerRow[at - 1]! > perRow; at--) {
        sortedPerRow[at] = sortedPerRow[at - 1]!;
        sortedIndex[at] = sortedIndex[at - 1]!;
      }
      sortedPerRow[at] = perRow;
      sortedIndex[at] = i;
    }
    // The middle quarter; of few the lower ones, for noise only ever makes runs longer.
    const from = Math.floor(((n - 1) * 3) / 8);
    const to = Math.floor(((n - 1) * 5) / 8) + 1;
    let rows = 0;
    let ms = 0;
    for (let i = from; i < to; i++) {
      rows += this.#rows[sortedIndex[i]!]!;
      ms += this.#ms[sortedIndex[i]!]!;
    }
    this.rows = rows / (to - from);
    this.ms = ms / (to - from);
    this.highMs = Math.max(this.ms, sortedPerRow[Math.ceil(HIGH * n) - 1]! * this.rows);
  }
}
