import type { AssumedRun } from '../../batching/cost.ts';
import type { Split } from '../../batching/curve-verdict.ts';
import type { SweptSplit } from './sweep.ts';

/** The form in which profiles are stored; another number is another form. */
export const PROFILE_FORMAT = 1;

/** What a profile holds for: a model on a machine. It says nothing of any other. */
export interface ProfileKey {
  /** SHA-256 of the model's files. */
  readonly digest: string;
  /** Version of ONNX Runtime. */
  readonly runtime: string;
  readonly processor: string;
  readonly cores: number;
  readonly provider: string;
  readonly graphOptimization: string;
}

/** What a sweep found out about a model version. */
export interface Profile {
  readonly model: string;
  readonly version: string;
  readonly key: ProfileKey;
  /** When it was measured, as an ISO 8601 date. */
  readonly measuredAt: string;
  /** Whether rows may share runs, and why. */
  readonly batching: string;
  /** The most rows of a run. */
  readonly maxRows: number;
  /** Bytes of a row that was measured. */
  readonly rowBytes: number;
  readonly splits: readonly SweptSplit[];
  /** The split with the most rows per second. */
  readonly best: Split;
  /** Rows of a run at its knee, and its rows per second there over those of one row at a time. */
  readonly kneeRows: number;
  readonly gain: number;
  /** Whether it pays, for people. */
  readonly sentence: string;
}

/** What runs took by a profile, with a model spread over the cores as it is going to be served; none if that was not measured. */
export function runsOf({ splits, rowBytes }: Profile, { instances, threads }: Split): AssumedRun[] {
  const sizes = splits.find((split) => split.instances === instances && split.threads === threads)?.sizes ?? [];
  return sizes.map(({ rows, ms }) => ({ rows, bytes: rows * rowBytes, ms }));
}
