import type { Registry } from 'prom-client';
import { addCounter, addGauge, addHistogram } from './collectors.ts';
import { FAILURE_REASONS, type VersionMeters } from './version-meters.ts';

/**
 * What Triton calls the same counts, for dashboards, autoscalers and `perf_analyzer`, which know its names only
 * (triton-inference-server/server, `docs/user_guide/metrics.md`). Durations are charged as in its statistics: each
 * answered request has the whole of its batch's.
 */

/** Upper bounds of `nv_inference_first_response_histogram_ms`, in milliseconds, as Triton has them. */
export const FIRST_RESPONSE_MS: readonly number[] = [100, 500, 2000, 5000];

type Labels = Record<string, string>;

/** Shows every version that has series, with its labels `model` and `version`. */
type EachVersion = (visit: (labels: Labels, meters: VersionMeters) => void) => void;

const LABELS = ['model', 'version'] as const;

/** Counters of one number each, in the order in which Triton writes them. */
const COUNTERS: readonly (readonly [name: string, help: string, read: (meters: VersionMeters) => number])[] = [
  ['nv_inference_request_success', 'Answered requests.', ({ successes }) => successes],
  ['nv_inference_count', 'Rows of answered requests.', ({ rows }) => rows],
  ['nv_inference_exec_count', 'Runs that succeeded.', ({ runs }) => runs],
  [
    'nv_inference_request_duration_us',
    'Microseconds from accepted to answered, all answered requests together.',
    // The sum of the rounded parts, so that the five add up.
    ({ queueMs, handoverMs, computeMs, handbackMs }) =>
      microseconds(queueMs) + microseconds(handoverMs) + microseconds(computeMs) + microseconds(handbackMs),
  ],
  ['nv_inference_queue_duration_us', 'The part of them in the queue.', ({ queueMs }) => microseconds(queueMs)],
  [
    'nv_inference_compute_input_duration_us',
    'The part of them for handing batches over; each request has the whole of its batch.',
    ({ handoverMs }) => microseconds(handoverMs),
  ],
  [
    'nv_inference_compute_infer_duration_us',
    'The part of them in ONNX Runtime; each request has the whole of its batch.',
    ({ computeMs }) => microseconds(computeMs),
  ],
  [
    'nv_inference_compute_output_duration_us',
    'The part of them for taking results back; each request has the whole of its batch.',
    ({ handbackMs }) => microseconds(handbackMs),
  ],
];

/** Adds Triton's series for the model versions that `each` shows; they read {@link VersionMeters} at each scrape. */
export function addTritonMetrics(registry: Registry, each: EachVersion): void {
  for (const [name, help, read] of COUNTERS) {
    addCounter(registry, {
      name,
      help,
      labelNames: LABELS,
      read: (report) => each((labels, meters) => report(labels, read(meters))),
    });
  }
  addCounter(registry, {
    name: 'nv_inference_request_failure',
    help: 'Failed requests, by why.',
    labelNames: [...LABELS, 'reason'],
    read: (report) =>
      each((labels, meters) => {
        for (const reason of FAILURE_REASONS) report({ ...labels, reason }, meters.failures[reason]);
      }),
  });
  addGauge(registry, {
    name: 'nv_inference_pending_request_count',
    help: 'Accepted requests that wait for their run.',
    labelNames: LABELS,
    read: (report) => each((labels, { version }) => report(labels, version.queuedRequests)),
  });
  addGauge(registry, {
    name: 'nv_model_load_duration_secs',
    help: 'Time to load and probe the model.',
    labelNames: LABELS,
    read: (report) => each((labels, { version }) => report(labels, (version.summary().loadMs ?? 0) / 1e3)),
  });
  addHistogram(registry, {
    name: 'nv_inference_first_response_histogram_ms',
    help: 'Milliseconds from accepted to answered.',
    labelNames: LABELS,
    read: (report) =>
      each((labels, { firstResponseMs }) => {
        if (firstResponseMs !== undefined) report(labels, firstResponseMs);
      }),
  });
}

function microseconds(ms: number): number {
  return Math.round(ms * 1e3);
}
