import type { RunResult } from '../batching/batcher.ts';
import type { BatchInfo, PendingRequest, ReleaseReason, Stamps } from '../batching/request.ts';
import type { ErrorCode } from '../errors.ts';
import { CHECK_RESULTS, type CheckResult } from '../serving/certificate.ts';
import type { ModelVersion, Protocol, VersionEvents } from '../serving/model-version.ts';
import { HotHistogram, SECONDS, SIZES } from './histogram.ts';

/** The stages of a request in order; their durations add up to its whole. */
export const STAGES = ['fetch', 'decode', 'queue', 'handover', 'compute', 'handback', 'encode'] as const;
export type Stage = (typeof STAGES)[number];

/** How requests end, as a label. */
export const OUTCOMES = ['ok', 'invalid', 'rejected', 'expired', 'cancelled', 'failed', 'lost', 'unavailable'] as const;
export type RequestOutcome = (typeof OUTCOMES)[number];

export const PROTOCOLS: readonly Protocol[] = ['v2', 'v1', 'grpc', 'library'];
export const RELEASE_REASONS: readonly ReleaseReason[] = ['idle', 'freed', 'full', 'split', 'window', 'alone', 'retry'];
/** Why requests are turned away at the door. */
export const REJECTIONS: readonly ErrorCode[] = [
  'QUEUE_FULL',
  'DEADLINE_UNREACHABLE',
  'DEADLINE_EXCEEDED',
  'EXECUTOR_LOST',
  'SHUTTING_DOWN',
  'MODEL_NOT_READY',
];

/** Why requests failed that had been found to be right, in Triton's words. */
export const FAILURE_REASONS = ['REJECTED', 'CANCELED', 'BACKEND', 'OTHER'] as const;
export type FailureReason = (typeof FAILURE_REASONS)[number];

/**
 * Triton's word for a failure. A full queue counts as rejected, too, which Triton itself does not count.
 *
 * @param ran whether the request had been handed to an executor.
 */
export function failureReason(code: ErrorCode, ran: boolean): FailureReason {
  switch (code) {
    case 'QUEUE_FULL':
    case 'DEADLINE_UNREACHABLE':
      return 'REJECTED';
    case 'DEADLINE_EXCEEDED':
      return ran ? 'OTHER' : 'REJECTED';
    case 'CANCELLED':
      return 'CANCELED';
    case 'INFERENCE_FAILED':
    case 'INVALID_REQUEST':
    case 'EXECUTOR_LOST':
      return 'BACKEND';
    default:
      return 'OTHER';
  }
}

/** The outcome that stands for an error code. */
export function outcomeOf(code: ErrorCode | undefined): RequestOutcome {
  switch (code) {
    case undefined:
      return 'ok';
    case 'QUEUE_FULL':
    case 'DEADLINE_UNREACHABLE':
      return 'rejected';
    case 'DEADLINE_EXCEEDED':
      return 'expired';
    case 'CANCELLED':
      return 'cancelled';
    case 'EXECUTOR_LOST':
      return 'lost';
    case 'INFERENCE_FAILED':
    case 'INTERNAL':
    case 'REMOTE_FAILED':
    case 'REMOTE_TIMEOUT':
      return 'failed';
    case 'MODEL_NOT_READY':
    case 'SHUTTING_DOWN':
      return 'unavailable';
    default:
      return 'invalid';
  }
}

/** A count and a sum of milliseconds, as Triton's statistics have them. */
export interface Tally {
  count: number;
  ms: number;
}

/** Runs of one size. */
export interface SizeTally {
  runs: number;
  handoverMs: number;
  computeMs: number;
  handbackMs: number;
}

/** What statistics are made from. */
export interface VersionTally {
  readonly version: { readonly name: string; readonly version: string };
  /** Answered requests. */
  readonly successes: number;
  readonly fail: Readonly<Tally>;
  readonly queueMs: number;
  readonly handoverMs: number;
  readonly computeMs: number;
  readonly handbackMs: number;
  /** Rows answered. */
  readonly rows: number;
  readonly runs: number;
  readonly sizes: ReadonlyMap<number, SizeTally>;
  /** Wall-clock milliseconds of the last request; 0 before the first. */
  readonly lastRequestMs: number;
}

/** The counters of one model version. Written on the hot path, read when someone looks. */
export class VersionMeters implements VersionEvents, VersionTally {
  /** The version whose state is shown beside the counters. */
  version: ModelVersion;
  readonly duration: HotHistogram = new HotHistogram(SECONDS);
  readonly stages: Readonly<Record<Stage, HotHistogram>>;
  readonly batchRows: HotHistogram = new HotHistogram(SIZES);
  readonly batchRequests: HotHistogram = new HotHistogram(SIZES);
  readonly outcomes: ReadonlyMap<Protocol, Record<RequestOutcome, number>>;
  readonly reasons: Record<ReleaseReason, number>;
  readonly rejections: Map<ErrorCode, number> = new Map(REJECTIONS.map((code) => [code, 0]));
  cancelled = 0;
  restarts = 0;
  /** Runs that were looked at for whether rows influence each other, by how that came out, and the time it took. */
  readonly checks: Record<CheckResult, number> = record(CHECK_RESULTS, () => 0);
  checkMs = 0;
  busyMs = 0;
  /** Compute of all runs. */
  runComputeMs = 0;
  /** What of it was the share of answered requests. */
  costMs = 0;
  /** Decoding and encoding of all answered requests. */
  codecMs = 0;
  /** For statistics: answered requests, requests that failed after they were accepted, rows answered, runs. */
  successes = 0;
  readonly fail: Tally = { count: 0, ms: 0 };
  /** Those of `fail`, and requests turned away at the door. */
  readonly failures: Record<FailureReason, number>;
  /** From accepted to answered; only where someone asks for it. */
  readonly firstResponseMs: HotHistogram | undefined;
  queueMs = 0;
  handoverMs = 0;
  computeMs = 0;
  handbackMs = 0;
  rows = 0;
  runs = 0;
  readonly sizes: Map<number, SizeTally> = new Map();
  /** Wall-clock milliseconds of the last request; 0 before the first. */
  lastRequestMs = 0;

  /** @param firstResponseBoundsMs bounds of {@link VersionMeters.firstResponseMs}; left out: there is none. */
  constructor(version: ModelVersion, firstResponseBoundsMs?: readonly number[]) {
    this.version = version;
    this.failures = record(FAILURE_REASONS, () => 0);
    this.firstResponseMs = firstResponseBoundsMs && new HotHistogram(firstResponseBoundsMs);
    this.stages = record(STAGES, () => new HotHistogram(SECONDS));
    this.outcomes = new Map(PROTOCOLS.map((protocol) => [protocol, record(OUTCOMES, () => 0)]));
    this.reasons = record(RELEASE_REASONS, () => 0);
  }

  /**
   * T_switch / T_total, where T_total = T_compute + T_switch: the share of the work that was not compute but decoding,
   * handing over, handing back and encoding. Waiting is no work, so that the queue does not count. 0 before any run.
   */
  get switchRatio(): number {
    const { switchMs } = this;
    const totalMs = this.runComputeMs + switchMs;
    return totalMs > 0 ? switchMs / totalMs : 0;
  }

  /** T_switch. */
  get switchMs(): number {
    return this.busyMs - this.runComputeMs + this.codecMs;
  }

  batchEnded(info: BatchInfo, startMs: number, endMs: number, result: RunResult | undefined): void {
    this.batchRows.observe(info.rows);
    this.batchRequests.observe(info.requests);
    this.reasons[info.reason]++;
    this.busyMs += endMs - startMs;
    if (result === undefined) return;
    this.runs++;
    const computeMs = result.computeEndMs - result.computeStartMs;
    let size = this.sizes.get(info.rows);
    if (size === undefined) {
      size = { runs: 0, handoverMs: 0, computeMs: 0, handbackMs: 0 };
      this.sizes.set(info.rows, size);
    }
    size.runs++;
    size.handoverMs += result.computeStartMs - startMs;
    size.computeMs += computeMs;
    size.handbackMs += endMs - result.computeEndMs;
    this.runComputeMs += computeMs;
  }

  settled(request: PendingRequest, code: ErrorCode | undefined): void {
    const { stamps, inputs, costMs } = request;
    this.lastRequestMs = Date.now();
    if (code === undefined) {
      this.successes++;
      this.queueMs += stamps.dispatchedMs - stamps.enqueuedMs;
      this.handoverMs += stamps.computeStartMs - stamps.dispatchedMs;
      this.computeMs += stamps.computeEndMs - stamps.computeStartMs;
      this.handbackMs += stamps.settledMs - stamps.computeEndMs;
      this.rows += inputs.rows;
      this.costMs += costMs;
      this.firstResponseMs?.observe(stamps.settledMs - stamps.enqueuedMs);
    } else {
      this.fail.count++;
      this.fail.ms += stamps.settledMs - stamps.enqueuedMs;
      this.failures[failureReason(code, stamps.dispatchedMs > 0)]++;
      if (code === 'CANCELLED') this.cancelled++;
    }
  }

  refused(code: ErrorCode): void {
    this.rejections.set(code, (this.rejections.get(code) ?? 0) + 1);
    // A version that is not there to take requests has not failed any.
    if (code !== 'MODEL_NOT_READY' && code !== 'SHUTTING_DOWN') this.failures[failureReason(code, false)]++;
  }

  restarted(): void {
    this.restarts++;
  }

  checked(result: CheckResult, ms: number): void {
    this.checks[result]++;
    this.checkMs += ms;
  }

  finished(
    protocol: Protocol,
    receivedMs: number,
    endMs: number,
    code: ErrorCode | undefined,
    stamps: Readonly<Stamps> | undefined,
    fetchMs: number = stamps?.fetchMs ?? 0,
  ): void {
    this.outcomes.get(protocol)![outcomeOf(code)]++;
    this.duration.observe((endMs - receivedMs) / 1e3);
    const { stages } = this;
    if (fetchMs > 0) stages.fetch.observe(fetchMs / 1e3);
    if (code !== undefined || stamps === undefined) {
      this.#failed(receivedMs, endMs, stamps, fetchMs);
      return;
    }
    const decodeMs = stamps.enqueuedMs - stamps.receivedMs - fetchMs;
    stages.decode.observe(decodeMs / 1e3);
    stages.queue.observe((stamps.dispatchedMs - stamps.enqueuedMs) / 1e3);
    stages.handover.observe((stamps.computeStartMs - stamps.dispatchedMs) / 1e3);
    stages.compute.observe((stamps.computeEndMs - stamps.computeStartMs) / 1e3);
    stages.handback.observe((stamps.settledMs - stamps.computeEndMs) / 1e3);
    stages.encode.observe((endMs - stamps.settledMs) / 1e3);
    this.codecMs += decodeMs;
    // A caller in this process gets what there is; until it goes on others do, which is no work of this request.
    if (protocol !== 'library') this.codecMs += endMs - stamps.settledMs;
  }

  /** The stages that a failed request came to; what came after it was handed over counts as compute. */
  #failed(receivedMs: number, endMs: number, stamps: Readonly<Stamps> | undefined, fetchMs: number): void {
    const { stages } = this;
    const enqueuedMs = stamps?.enqueuedMs ?? endMs;
    stages.decode.observe((enqueuedMs - receivedMs - fetchMs) / 1e3);
    if (stamps === undefined) return;
    const ran = stamps.dispatchedMs > 0;
    stages.queue.observe(((ran ? stamps.dispatchedMs : endMs) - enqueuedMs) / 1e3);
    if (ran) stages.compute.observe((endMs - stamps.dispatchedMs) / 1e3);
  }
}

function record<K extends string, V>(keys: readonly K[], make: () => V): Record<K, V> {
  return Object.fromEntries(keys.map((key) => [key, make()])) as Record<K, V>;
}
