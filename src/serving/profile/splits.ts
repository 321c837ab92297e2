import type { Split } from '../../batching/curve-verdict.ts';

/** What bounds how a model may be spread over the cores. */
export interface SplitLimits {
  readonly cores: number;
  /** As given, or every number that fits. */
  readonly instances: number | 'auto';
  readonly threads: number | 'auto';
  /** Memory that all executors together may take for weights, in bytes. */
  readonly memoryBytes: number;
  /** Memory that one takes at least: the size of the model's files. */
  readonly modelBytes: number;
}

/**
 * The ways worth trying to spread a model over the cores, from one wide executor to many narrow ones: threads double,
 * and as many executors as then fill the cores, or fit into memory.
 */
export function splitsFor({ cores, instances, threads, memoryBytes, modelBytes }: SplitLimits): Split[] {
  const fit = Math.max(1, Math.floor(memoryBytes / Math.max(1, modelBytes)));
  const splits: Split[] = [];
  const add = (t: number): void => {
    const count = instances === 'auto' ? Math.min(fit, Math.max(1, Math.floor(cores / t))) : instances;
    splits.push({ instances: count, threads: t });
  };
  if (threads !== 'auto') add(threads);
  else {
    add(cores);
    for (let t = 2 ** Math.ceil(Math.log2(cores) - 1); t >= 1; t /= 2) add(t);
  }
  return splits;
}
