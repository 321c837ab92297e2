import { RunSamples } from './run-samples.ts';

/** What is known of runs of about one size. */
export interface CurvePoint {
  /** Rows of a typical one; sizes above 8 are counted together with those up to a quarter larger. */
  readonly rows: number;
  /** Runs seen; 0 where it is known from a probe or a profile alone. */
  readonly runs: number;
  /** What a run takes, as measured. */
  readonly ms: number;
  /** What nine of ten runs did not exceed. */
  readonly highMs: number;
  /** What the curve has there: never less than for fewer rows. */
  readonly expectedMs: number;
}

/** A size must be at least this many times another for the two to tell how the time grows. */
const SPREAD = 2;

/** The curve counts as changed when it has moved by this share anywhere. */
const CHANGED = 0.05;

// Scratch of LaneCurve's fit. Classes of 32-bit sizes are fewer than this.
const blockMs = new Float64Array(128);
const blockWeight = new Float64Array(128);
const blockEnd = new Uint8Array(128);

/** Sizes from 1 to 7 each for themselves, then four to a doubling. */
function classOf(rows: number): number {
  if (rows < 4) return rows - 1;
  const exponent = 31 - Math.clz32(rows);
  return 3 + 4 * (exponent - 2) + ((rows >> (exponent - 2)) & 3);
}

/**
 * T(b) of rows of about one size in bytes: what a run of `b` rows takes, learnt from runs. Noting a run costs a bounded
 * number of steps and allocates nothing but for the first run of a size.
 */
export class LaneCurve {
  /** Bytes of a row, of the first one seen. */
  readonly rowBytes: number;
  /** Runs, the older ones counting less. */
  weight = 0;
  /** Rises whenever the curve has moved noticeably. */
  revision = 0;
  readonly #classes: (RunSamples | undefined)[] = [];
  /** The classes that have runs, by size. */
  readonly #known: RunSamples[] = [];
  /** Rows and milliseconds of each of them; the latter rise with the former. */
  readonly #rows: number[] = [];
  readonly #ms: number[] = [];
  /** The same at the last revision. */
  readonly #notedRows: number[] = [];
  readonly #notedMs: number[] = [];
  #leastMsPerRow = Number.POSITIVE_INFINITY;

  constructor(rowBytes: number) {
    this.rowBytes = rowBytes;
  }

  observe(rows: number, ms: number): void {
    if (this.#samplesOf(rows).add(rows, ms)) this.#fit();
  }

  /** Notes what is believed of a size that has not been seen. */
  assume(rows: number, ms: number): void {
    this.#samplesOf(rows).assume(rows, ms);
    this.#fit();
  }

  /** Whether sizes have been seen that are far enough apart to tell how the time grows with the rows. */
  get hasSpread(): boolean {
    const n = this.#rows.length;
    return n > 1 && this.#rows[n - 1]! >= SPREAD * this.#rows[0]!;
  }

  /** The largest size seen; 0 before the first run. */
  get largestRows(): number {
    return this.#rows.at(-1) ?? 0;
  }

  /** The least milliseconds per row at any size seen; infinite before the first run. */
  get leastMsPerRow(): number {
    return this.#leastMsPerRow;
  }

  /** What a run of so many rows probably takes; undefined before two sizes have been seen that are far enough apart. */
  expectedMs(rows: number): number | undefined {
    if (!this.hasSpread) return undefined;
    const [sizes, ms] = [this.#rows, this.#ms];
    const last = sizes.length - 1;
    let upper = 0;
    while (upper <= last && sizes[upper]! < rows) upper++;
    if (upper <= last && sizes[upper] === rows) return ms[upper]!;
    if (upper > 0 && upper <= last) return this.#onLine(upper - 1, upper, rows);
    // Beyond what has been seen: along the line through the outermost size and one far enough from it.
    if (upper === 0) {
      const other = sizes.findIndex((size) => size >= SPREAD * sizes[0]!);
      // Not less than its share, not more than the smallest run.
      return Math.max((ms[0]! * rows) / sizes[0]!, Math.min(ms[0]!, this.#onLine(0, other, rows)));
    }
    let other = last - 1;
    while (other > 0 && sizes[other]! * SPREAD > sizes[last]!) other--;
    return Math.max(ms[last]!, this.#onLine(other, last, rows));
  }

  /** What a run takes at the size seen that is nearest to this one; undefined before the first run. */
  nearest(rows: number): { readonly rows: number; readonly ms: number } | undefined {
    let best: number | undefined;
    for (let i = 0; i < this.#rows.length; i++) {
      if (best === undefined || Math.abs(this.#rows[i]! - rows) < Math.abs(this.#rows[best]! - rows)) best = i;
    }
    return best === undefined ? undefined : { rows: this.#rows[best]!, ms: this.#ms[best]! };
  }

  /** What a run of so many rows and bytes may take at most by what has been seen. */
  upperMs(rows: number, bytes: number): number {
    let upper = 0;
    for (const seen of this.#known) {
      const times = Math.max(1, rows / seen.rows, bytes / Math.max(1, seen.rows * this.rowBytes));
      upper = Math.max(upper, seen.highMs * times);
    }
    return upper;
  }

  /** What is known, by size. */
  points(): CurvePoint[] {
    return this.#known.map(({ rows, runs, ms, highMs }, i) => ({ rows, runs, ms, highMs, expectedMs: this.#ms[i]! }));
  }

  #samplesOf(rows: number): RunSamples {
    const index = classOf(rows);
    let samples = this.#classes[index];
    if (samples === undefined) {
      samples = new RunSamples();
      this.#classes[index] = samples;
      this.#known.length = 0;
      for (const each of this.#classes) if (each !== undefined) this.#known.push(each);
    }
    return samples;
  }

  /**
   * Draws the curve anew through what is known: more rows cannot take less time, so where a size seems to take less than
   * a smaller one, both get their weighted mean (isotonic regression by pooling adjacent violators).
   */
  #fit(): void {
    const known = this.#known;
    let blocks = 0;
    for (let i = 0; i < known.length; i++) {
      blockMs[blocks] = known[i]!.ms;
      blockWeight[blocks] = known[i]!.weight;
      blockEnd[blocks] = i;
      blocks++;
      while (blocks > 1 && blockMs[blocks - 2]! > blockMs[blocks - 1]!) {
        const [a, b] = [blocks - 2, blocks - 1];
        const weight = blockWeight[a]! + blockWeight[b]!;
        blockMs[a] = (blockMs[a]! * blockWeight[a]! + blockMs[b]! * blockWeight[b]!) / weight;
        blockWeight[a] = weight;
        blockEnd[a] = i;
        blocks--;
      }
    }
    let block = 0;
    this.#leastMsPerRow = Number.POSITIVE_INFINITY;
    for (let i = 0; i < known.length; i++) {
      if (i > blockEnd[block]!) block++;
      const { rows } = known[i]!;
      const ms = blockMs[block]!;
      this.#rows[i] = rows;
      this.#ms[i] = ms;
      this.#leastMsPerRow = Math.min(this.#leastMsPerRow, ms / rows);
    }
    this.#noteChange();
  }

  #noteChange(): void {
    const [rows, ms, notedRows, notedMs] = [this.#rows, this.#ms, this.#notedRows, this.#notedMs];
    let changed = ms.length !== notedMs.length;
    for (let i = 0; i < ms.length && !changed; i++) {
      // A typical run of a class may have other rows than before; then its time or its time per row is still the same.
      const [times, timesRows] = [ms[i]! / notedMs[i]!, rows[i]! / notedRows[i]!];
      changed = Math.abs(times - 1) > CHANGED && Math.abs(times / timesRows - 1) > CHANGED;
    }
    if (!changed) return;
    for (let i = 0; i < ms.length; i++) {
      notedRows[i] = rows[i]!;
      notedMs[i] = ms[i]!;
    }
    this.revision++;
  }

  #onLine(a: number, b: number, rows: number): number {
    const perRow = (this.#ms[b]! - this.#ms[a]!) / (this.#rows[b]! - this.#rows[a]!);
    return this.#ms[a]! + perRow * (rows - this.#rows[a]!);
  }
}
