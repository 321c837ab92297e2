/** Weight of the newest observation in the running means. */
const NEWEST = 0.2;

/** What is assumed of collecting before it has been measured: all of so many rows come back within so many milliseconds. */
const ASSUMED = { answered: 32, ms: 1.6 } as const;

/** Collecting must save at least this many times what it costs. */
const WORTH = 1.25;

/** Share of the answered rows that must come back at once for collecting to go on. */
const LEAST_RETURN = 0.5;

/** Fewer rows than this are not worth thinking about. */
const LEAST_ROWS = 8;

/** After so many decisions against collecting it is tried once, since callers may have changed their ways. */
const TRY_AGAIN_AFTER = 32;

/** What is known when a run has ended and others wait. */
export interface RejoinState {
  /** Rows that wait. */
  readonly waiting: number;
  /** Rows that have just been answered. */
  readonly answered: number;
  /** The most rows of a run. */
  readonly maxRows: number;
  /** What a run of so many rows is expected to cost, in milliseconds; undefined when that is not known. */
  readonly expectedMs: (rows: number) => number | undefined;
}

/**
 * Decides whether a runner that has become free should take what waits at once, or first let the callers it has just
 * answered come back, so that both groups share the next run.
 *
 * Callers who send their next request when they have an answer fall into groups that take turns: one waits while the
 * other is run. Where a run costs much whatever its size (weights that are read from memory), two runs of half the size
 * cost nearly twice one of the full size. Answering first and collecting for two turns of the event loop then costs
 * less than it saves. Both sides are measured, and so is whether callers do come back.
 */
export class Rejoin {
  // Means over the times it was done. Their quotients weigh large groups more than small ones, as they should.
  #answered: number = ASSUMED.answered;
  #returned: number = ASSUMED.answered;
  #ms: number = ASSUMED.ms;
  #declined = 0;

  /** Whether to collect before the next run. */
  decide({ waiting, answered, maxRows, expectedMs }: RejoinState): boolean {
    // When nobody waits, those who come back first would be run without the rest: about half of them at a time.
    const [first, second] = waiting > 0 ? [waiting, answered] : [answered / 2, answered / 2];
    if (first + second > maxRows || first + second < LEAST_ROWS) return false;
    const [apart, others, together] = [expectedMs(first), expectedMs(second), expectedMs(first + second)];
    if (apart === undefined || others === undefined || together === undefined) return false;
    const savedMs = apart + others - together;
    const costMs = (this.#ms / this.#answered) * answered;
    if (savedMs < WORTH * costMs) return false;
    if (this.#returned >= LEAST_RETURN * this.#answered) return true;
    this.#declined++;
    if (this.#declined < TRY_AGAIN_AFTER) return false;
    this.#declined = 0;
    return true;
  }

  /** Notes what came of collecting after `answered` rows: rows that came back, and the time it took. */
  observe(answered: number, returned: number, ms: number): void {
    this.#answered += NEWEST * (answered - this.#answered);
    this.#returned += NEWEST * (Math.min(answered, returned) - this.#returned);
    this.#ms += NEWEST * (ms - this.#ms);
  }
}
