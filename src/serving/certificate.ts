import type { Finding } from '../executor/messages.ts';
import { type Evidence, type OutputVerdict, type Verdict, worstOf } from '../tensor/verdict.ts';

/** Whether requests of a model version may share runs, and how that is known. */
export interface Certificate {
  /** The worst of all outputs. */
  readonly verdict: Verdict;
  /** By output, in the order of the signature. */
  readonly outputs: readonly OutputVerdict[];
  /** Where the rows came from that were compared. */
  readonly evidence: Evidence;
  /** What was found, for people. */
  readonly reason: string;
  /** Row counts of runs that were compared and in which every row had bit for bit the answer it has alone; ascending. */
  readonly exactSizes: readonly number[];
}

/** What a finding certifies. */
export function certificateOf(finding: Finding): Certificate {
  const { outputs, evidence, reason, exactSizes } = finding;
  return { verdict: worstOf(outputs.map(({ verdict }) => verdict)), outputs, evidence, reason, exactSizes };
}

/** How a look at a run of live rows came out: as alone, within rounding, changed; or it failed. */
export const CHECK_RESULTS = ['same', 'rounding', 'changed', 'failed'] as const;
export type CheckResult = (typeof CHECK_RESULTS)[number];
