import type { Certificate } from '../serving/certificate.ts';
import type { ModelVersion } from '../serving/model-version.ts';
import type { Profile } from '../serving/profile/profile.ts';

/**
 * What has been measured of a model version: the reply of `GET /v2/models/{m}/profile`, a route of Shoal's own. Times
 * are in milliseconds, names in the style of the protocol.
 *
 * @throws {ShoalError} MODEL_NOT_READY before it is loaded and after it was unloaded.
 */
export function modelProfile(model: ModelVersion): object {
  const profile = model.state === 'unloaded' ? undefined : model.profile();
  if (profile === undefined) throw model.notReady();
  const { source, verdict, sentence, lanes, spread, stored } = profile;
  const { certificate } = model;
  const { kind, kneeRows, gain, isOpen } = verdict;
  return {
    name: model.name,
    version: model.version,
    batching: model.summary().batching,
    max_batch_size: model.maxBatchSize,
    ...(certificate === undefined ? {} : { certificate: certificateReply(certificate) }),
    spread: { cores: spread.cores, max_instances: spread.instances, threads: spread.threads },
    source,
    verdict: { kind, sentence, knee_rows: kneeRows, gain: round(gain), still_rising: isOpen },
    ...(stored === undefined ? {} : { profiled: storedReply(stored) }),
    curve: lanes.map(({ rowBytes, runs, points }) => ({
      row_bytes: Math.round(rowBytes),
      runs,
      points: points.map((point) => ({
        rows: round(point.rows),
        runs: point.runs,
        ms: { p50: round(point.ms), p90: round(point.highMs), expected: round(point.expectedMs) },
        rows_per_second: round((1e3 * point.rows) / point.ms),
      })),
    })),
  };
}

function storedReply({ measuredAt, best, kneeRows, gain, sentence }: Profile): object {
  return { measured_at: measuredAt, best, knee_rows: kneeRows, gain: round(gain), sentence };
}

function certificateReply({ verdict, evidence, reason, exactSizes, outputs }: Certificate): object {
  return {
    verdict,
    evidence,
    reason,
    exact_sizes: exactSizes,
    outputs: outputs.map((output) => ({
      name: output.name,
      verdict: output.verdict,
      largest_difference: output.largestDifference,
      largest_ulps: output.largestUlps,
    })),
  };
}

/** Four significant digits. */
function round(value: number): number {
  return Number.isFinite(value) ? Number(value.toPrecision(4)) : 0;
}
