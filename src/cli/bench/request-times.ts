/** The parts of a request's time on the server; they add up to its whole. */
export const PARTS = ['decode', 'queue', 'handover', 'compute', 'handback', 'encode'] as const;
export type Part = (typeof PARTS)[number];

/** Where the time of one request went, in milliseconds. */
export interface RequestTimes extends Readonly<Record<Part, number>> {
  /** Rows of the run that it was answered in. */
  readonly runRows: number;
  /** Its share of that run's compute, by rows. */
  readonly share: number;
  /** What was work beside computing: decoding, encoding, and its share of handing the run over and back. */
  readonly switch: number;
}

/** How much of its run a request is, by rows. */
export function shareOfRun({ compute, share, runRows }: Pick<RequestTimes, 'compute' | 'share' | 'runRows'>): number {
  return compute > 0 ? share / compute : 1 / runRows;
}

/** Sums of the times of many requests. */
export class TimesTally {
  count = 0;
  readonly sums: Record<Part | 'rows' | 'share' | 'switch', number> = {
    decode: 0,
    queue: 0,
    handover: 0,
    compute: 0,
    handback: 0,
    encode: 0,
    rows: 0,
    share: 0,
    switch: 0,
  };
  /** Runs, counted by what each request is of one. */
  runs = 0;

  add(times: RequestTimes): void {
    this.count++;
    const { sums } = this;
    for (const part of PARTS) sums[part] += times[part];
    sums.share += times.share;
    sums.switch += times.switch;
    const ofRun = shareOfRun(times);
    sums.rows += times.runRows * ofRun;
    this.runs += ofRun;
  }

  /** Mean over the requests; NaN where there are none. */
  mean(of: keyof TimesTally['sums']): number {
    return this.sums[of] / this.count;
  }

  /** Rows of a run, the mean over the runs. */
  get rowsPerRun(): number {
    return this.sums.rows / this.runs;
  }

  /** T_switch / T_total, of the work: waiting is none. */
  get switchRatio(): number {
    const { share, switch: switched } = this.sums;
    return switched / (switched + share);
  }
}

/**
 * Reads a `Server-Timing` header of an answer; undefined for one that has not all parts, such as a pipeline's.
 *
 * @see {@link serverTiming}
 */
export function parseTimes(header: string): RequestTimes | undefined {
  const found: Record<string, number> = {};
  for (const [, name, ms] of header.matchAll(/(?:^|, )(\w+);dur=([\d.]+)/g)) found[name!] = Number(ms);
  const words = /;desc="rows=(\d+) requests=\d+ reason=\w+ share=([\d.]+)"/.exec(header);
  if (words === null || !PARTS.every((part) => part in found)) return undefined;
  const { decode = 0, queue = 0, handover = 0, compute = 0, handback = 0, encode = 0 } = found;
  const run = { compute, runRows: Number(words[1]), share: Number(words[2]) };
  const switched = decode + encode + (handover + handback) * shareOfRun(run);
  return { decode, queue, handover, handback, encode, ...run, switch: switched };
}
