import type { CostEstimate } from '../batching/cost.ts';
import { type CurveVerdict, judge } from '../batching/curve-verdict.ts';

/** After so many runs the curve is looked at again, if it has moved. */
const LOOK_EVERY = 100;

/** So many looks in a row must agree before a change is told. */
const AGREEING = 3;

/** Tells when it becomes known whether batching pays for a model, and when that changes; not for each run. */
export class VerdictWatch {
  readonly #cost: CostEstimate;
  readonly #maxRows: number;
  readonly #changed: (verdict: CurveVerdict) => void;
  /** What has been told, or is known to those who are told. */
  #told: string;
  #candidate: string | undefined;
  #agreed = 0;
  #lookAt: number = LOOK_EVERY;
  #revision = -1;

  /**
   * @param maxRows the most rows of a run.
   * @param changed is told verdicts that differ in kind, or in whether the knee has been seen, from {@link judgeMain}'s
   * of now and from the last one told.
   */
  constructor(cost: CostEstimate, maxRows: number, changed: (verdict: CurveVerdict) => void) {
    this.#cost = cost;
    this.#maxRows = maxRows;
    this.#changed = changed;
    this.#told = kindOf(judgeMain(cost, maxRows));
  }

  /** To be called after each run; nearly always it compares two numbers. */
  runEnded(): void {
    if (this.#cost.liveRuns < this.#lookAt) return;
    this.#lookAt = this.#cost.liveRuns + LOOK_EVERY;
    // While a change is pending, it is looked at again although the curve stands still.
    if (this.#cost.revision === this.#revision && this.#candidate === undefined) return;
    this.#revision = this.#cost.revision;
    const verdict = judgeMain(this.#cost, this.#maxRows);
    const kind = kindOf(verdict);
    if (verdict.kind === 'unknown' || kind === this.#told) {
      this.#candidate = undefined;
      return;
    }
    if (kind !== this.#candidate) this.#agreed = 0;
    this.#candidate = kind;
    if (++this.#agreed < AGREEING) return;
    this.#candidate = undefined;
    this.#told = kind;
    this.#changed(verdict);
  }
}

/** The verdict on the rows that most runs have. */
export function judgeMain(cost: CostEstimate, maxRows: number): CurveVerdict {
  const points = cost.lanes()[0]?.points() ?? [];
  return judge(
    points.map(({ rows, expectedMs }) => ({ rows, ms: expectedMs })),
    maxRows,
  );
}

function kindOf({ kind, isOpen }: CurveVerdict): string {
  return isOpen ? `${kind}, so far` : kind;
}
