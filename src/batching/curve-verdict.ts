/** Rows per second count as risen when they are this many times what they were. */
export const RISEN = 1.05;

/** Below this gain batching is called worth little. */
const MUCH = 1.25;

/** Sizes must differ by this factor before anything is said. */
const LEAST_RANGE = 4;

/** What a run of so many rows takes. */
export interface SizeCost {
  readonly rows: number;
  readonly ms: number;
}

/** How a version is, or would best be, spread over the cores. */
export interface Split {
  readonly instances: number;
  /** Threads of each. */
  readonly threads: number;
}

/** Whether it is worth it that rows share a run. */
export interface CurveVerdict {
  /** *pays*: from 25 % more rows per second; *little*: from 5 %; *no*: one row alone is as fast; *unknown*. */
  readonly kind: 'pays' | 'little' | 'no' | 'unknown';
  /** The fewest rows with which rows per second are within 5 % of the most; 1 when it is not known. */
  readonly kneeRows: number;
  /** Rows per second at the knee, over those of one row at a time; 1 when it is not known. */
  readonly gain: number;
  /** Whether the knee is the largest size seen, so that larger ones may be better still. */
  readonly isOpen: boolean;
  /** The largest size seen, and its rows per second over those of one row. */
  readonly largestRows: number;
  readonly largestGain: number;
}

const UNKNOWN: CurveVerdict = { kind: 'unknown', kneeRows: 1, gain: 1, isOpen: true, largestRows: 0, largestGain: 1 };

/**
 * Judges a curve.
 *
 * @param curve by rising size.
 * @param maxRows the most rows of a run: a knee there is not open.
 */
export function judge(curve: readonly SizeCost[], maxRows: number = Number.POSITIVE_INFINITY): CurveVerdict {
  const [first, last] = [curve[0], curve.at(-1)];
  if (first === undefined || last === undefined || first.rows >= 2 || last.rows < LEAST_RANGE * first.rows) {
    return UNKNOWN;
  }
  if (curve.some(({ ms }) => !(ms > 0))) return UNKNOWN;
  const most = Math.max(...curve.map(rate));
  const knee = curve.find((point) => rate(point) * RISEN >= most)!;
  const gain = rate(knee) / rate(first);
  return {
    kind: knee === first ? 'no' : gain < MUCH ? 'little' : 'pays',
    kneeRows: Math.round(knee.rows),
    gain,
    isOpen: knee === last && knee.rows < maxRows,
    largestRows: Math.round(last.rows),
    largestGain: rate(last) / rate(first),
  };
}

/**
 * A verdict in one sentence for people.
 *
 * @param best how the version would best be spread over the cores, when that has been measured.
 */
export function sayVerdict(verdict: CurveVerdict, best?: Split): string {
  const { kind, kneeRows, gain, isOpen, largestRows, largestGain } = verdict;
  const where = sayBest(best);
  switch (kind) {
    case 'unknown':
      return `It is not known yet whether batching pays: too few sizes of runs have been seen${where}.`;
    case 'no': {
      const many =
        largestRows > 1 ? `: ${largestRows} rows in a run have ${times(largestGain)} its rows per second` : '';
      return `Batching does not pay, one row alone is as fast${many}${where}.`;
    }
    default: {
      const much = kind === 'pays' ? 'pays' : 'pays little';
      const open = isOpen ? ', and they still rise there, the largest run seen' : '';
      return `Batching ${much}: ${kneeRows} rows share a run for ${times(gain)} the rows per second of one${open}${where}.`;
    }
  }
}

/** How a version would best be spread over the cores, as the end of a sentence. */
export function sayBest(best: Split | undefined): string {
  if (best === undefined) return '';
  const { instances, threads } = best;
  const each = instances === 1 ? '' : ' each';
  return `; best with ${instances} executor${instances === 1 ? '' : 's'} of ${threads} thread${threads === 1 ? '' : 's'}${each}`;
}

function times(factor: number): string {
  return `${factor >= 10 ? Math.round(factor) : factor >= 0.95 ? factor.toFixed(1) : factor.toFixed(2)}×`;
}

function rate({ rows, ms }: SizeCost): number {
  return rows / ms;
}
