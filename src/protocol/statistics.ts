import type { SizeTally, VersionTally } from '../metrics/version-meters.ts';

/**
 * Triton's statistics of a version (triton-inference-server/server, `docs/protocol/extension_statistics.md`): integers
 * only, and every key, for `perf_analyzer` reads them unchecked. `success` is the sum of its parts, each rounded.
 */
export function versionStatistics(meters: VersionTally): object {
  const { successes, fail, version } = meters;
  const perSuccess = (ms: number): Duration => duration(successes, ms);
  const parts = {
    queue: perSuccess(meters.queueMs),
    compute_input: perSuccess(meters.handoverMs),
    compute_infer: perSuccess(meters.computeMs),
    compute_output: perSuccess(meters.handbackMs),
  };
  return {
    name: version.name,
    version: version.version,
    last_inference: meters.lastRequestMs,
    inference_count: meters.rows,
    execution_count: meters.runs,
    inference_stats: {
      success: { count: successes, ns: Object.values(parts).reduce((sum, { ns }) => sum + ns, 0) },
      fail: duration(fail.count, fail.ms),
      ...parts,
      cache_hit: duration(0, 0),
      cache_miss: duration(0, 0),
    },
    response_stats: {},
    batch_stats: [...meters.sizes].sort(([a], [b]) => a - b).map(([rows, tally]) => sizeStatistics(rows, tally)),
    memory_usage: [],
  };
}

function sizeStatistics(rows: number, { runs, handoverMs, computeMs, handbackMs }: SizeTally): object {
  return {
    batch_size: rows,
    compute_input: duration(runs, handoverMs),
    compute_infer: duration(runs, computeMs),
    compute_output: duration(runs, handbackMs),
  };
}

interface Duration {
  readonly count: number;
  readonly ns: number;
}

function duration(count: number, ms: number): Duration {
  return { count, ns: Math.round(ms * 1e6) };
}
