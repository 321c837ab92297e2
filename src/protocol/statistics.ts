import type { SizeTally, VersionMeters } from '../metrics/version-meters.ts';

/** Triton's statistics of a version: integers only, and every key, for `perf_analyzer` reads them unchecked. */
export function versionStatistics(meters: VersionMeters): object {
  const { success, fail, version } = meters;
  const perSuccess = (ms: number): object => duration(success.count, ms);
  return {
    name: version.name,
    version: version.version,
    last_inference: meters.lastRequestMs,
    inference_count: meters.rows,
    execution_count: meters.runs,
    inference_stats: {
      success: duration(success.count, success.ms),
      fail: duration(fail.count, fail.ms),
      queue: perSuccess(meters.queueMs),
      compute_input: perSuccess(meters.handoverMs),
      compute_infer: perSuccess(meters.computeMs),
      compute_output: perSuccess(meters.handbackMs),
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

function duration(count: number, ms: number): { count: number; ns: number } {
  return { count, ns: Math.round(ms * 1e6) };
}
