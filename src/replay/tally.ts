import type { BatchInfo, PendingRequest, ReleaseReason } from '../batching/request.ts';
import type { ErrorCode } from '../errors.ts';
import type { ReplayResult } from './replay.ts';

/** Counts what becomes of the requests of a replay. */
export class Tally {
  readonly #latenciesMs: Float64Array;
  readonly #overheadMs: number;
  /** So many requests that end first are not counted. */
  readonly #skip: number;
  #ended = 0;
  #requests = 0;
  #answered = 0;
  readonly #errors: Record<string, number> = {};
  readonly #sizes: Record<number, number> = {};
  readonly #reasons: Partial<Record<ReleaseReason, number>> = {};
  #batches = 0;
  #rows = 0;
  #firstMs = Number.NaN;

  constructor(requests: number, overheadMs: number, skip = 0) {
    this.#skip = skip;
    this.#latenciesMs = new Float64Array(requests);
    this.#overheadMs = overheadMs;
  }

  ran({ rows, reason }: BatchInfo): void {
    this.#batches++;
    this.#rows += rows;
    this.#sizes[rows] = (this.#sizes[rows] ?? 0) + 1;
    this.#reasons[reason] = (this.#reasons[reason] ?? 0) + 1;
  }

  settled({ stamps }: PendingRequest, code: ErrorCode | undefined): void {
    if (Number.isNaN(this.#firstMs)) this.#firstMs = stamps.enqueuedMs;
    if (++this.#ended <= this.#skip) return;
    this.#requests++;
    if (code === undefined) {
      this.#latenciesMs[this.#answered++] = stamps.settledMs - stamps.enqueuedMs + this.#overheadMs;
    } else this.#errors[code] = (this.#errors[code] ?? 0) + 1;
  }

  refused(code: ErrorCode): void {
    this.#requests++;
    this.#errors[code] = (this.#errors[code] ?? 0) + 1;
  }

  result(endMs: number): ReplayResult {
    const sorted = this.#latenciesMs.subarray(0, this.#answered).sort();
    let sum = 0;
    for (const ms of sorted) sum += ms;
    return {
      requests: this.#requests,
      answered: this.#answered,
      errors: this.#errors,
      meanMs: sum / this.#answered,
      p50Ms: quantile(sorted, 0.5),
      p99Ms: quantile(sorted, 0.99),
      spanMs: endMs - this.#firstMs,
      batches: this.#batches,
      meanRows: this.#rows / this.#batches,
      sizes: this.#sizes,
      reasons: this.#reasons,
    };
  }
}

/** The value that a share `q` of the sorted ones does not exceed; not a number where there are none. */
export function quantile(sorted: Float64Array, q: number): number {
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}
