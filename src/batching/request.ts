import type { ShoalError } from '../errors.ts';
import type { CheckedInputs } from '../tensor/signature.ts';
import type { Tensor } from '../tensor/tensor.ts';

/**
 * Instants in a request's life, in milliseconds on the monotonic clock. Stages are the differences of neighbours, so
 * that they add up: fetch and decode together, queue, handover, compute, handback (and encode, which the protocol adds).
 */
export interface Stamps {
  /** The caller's request began: for HTTP, its headers were read. */
  readonly receivedMs: number;
  /** How long inputs were fetched before it was queued, in milliseconds; 0 for a request that brought them all. */
  readonly fetchMs: number;
  /** Taken into the queue, or, where the queue was full, began to wait for room in it. */
  enqueuedMs: number;
  /** Handed to a runner, for the last time if more than once. */
  dispatchedMs: number;
  computeStartMs: number;
  computeEndMs: number;
  /** Settled. */
  settledMs: number;
}

/** Why a batch was started when it was. */
export type ReleaseReason =
  /** An idle runner took what had arrived within one turn of the event loop. */
  | 'idle'
  /** A runner became free and took all that waited. */
  | 'freed'
  /** It reached the largest size allowed, or a preferred one. */
  | 'full'
  /** By the measured curve fewer rows than waited are better run first. */
  | 'split'
  /** The batch window, an explicit setting, was over. */
  | 'window'
  /** The model is not batched. */
  | 'alone'
  /** Its members are tried again after a failure. */
  | 'retry';

/** How the batch came about that a request was answered in. */
export interface BatchInfo {
  readonly rows: number;
  readonly requests: number;
  readonly reason: ReleaseReason;
}

/** The answer to a request. */
export interface Reply {
  /** The outputs asked for, in that order; each holds this request's rows only. Views: copy what is kept for long. */
  readonly outputs: readonly Tensor[];
  readonly stamps: Readonly<Stamps>;
  readonly batch: BatchInfo;
  /** The request's share of what its run computed, by rows, in milliseconds: the costs of a run add up to its compute. */
  readonly costMs: number;
  /** What the time between handing over and back was spent on, where the answer came from more than one run. */
  readonly parts?: readonly AnswerPart[];
}

/** A part of the time of an answer; parts may overlap. */
export interface AnswerPart {
  /** A token. */
  readonly name: string;
  readonly ms: number;
  /** `key=value` words. */
  readonly description: string;
}

/** What a caller hands to the batcher. */
export interface Submission {
  readonly inputs: CheckedInputs;
  /** Indices of the outputs wanted, in order; undefined stands for all. */
  readonly outputs: readonly number[] | undefined;
  /** Level, 1 being the most urgent; 0 where the model has no levels. */
  readonly priority: number;
  readonly receivedMs: number;
  /** See {@link Stamps.fetchMs}. */
  readonly fetchMs?: number | undefined;
  /** Instant at which the caller stops waiting, whatever the request does then. */
  readonly deadlineMs: number;
  /** Instant until which a runner must have taken the request; at most `deadlineMs`. */
  readonly queueDeadlineMs: number;
}

/** Is told how a request ended. Must not throw. */
export interface SettlementListener {
  answered(reply: Reply): void;
  failed(error: ShoalError): void;
}

/** How often a request may have been in a batch whose executor died. */
const DEATHS_ALLOWED = 1;

/**
 * A request that someone must settle: the batcher from `submit` on. Settled exactly once; what comes later is ignored
 * and reported to the one who settles.
 */
export class PendingRequest {
  readonly inputs: CheckedInputs;
  readonly outputs: readonly number[] | undefined;
  readonly laneKey: string;
  readonly priority: number;
  readonly deadlineMs: number;
  readonly queueDeadlineMs: number;
  readonly stamps: Stamps;
  state: 'queued' | 'running' | 'settled' = 'queued';
  /** See {@link Reply.costMs}; 0 until it is answered. */
  costMs = 0;
  /** Batches with this request during which the executor died. */
  deaths = 0;
  #listener: SettlementListener | undefined;
  #promise: Promise<Reply> | undefined;
  #reply: Reply | undefined;
  #error: ShoalError | undefined;

  constructor(submission: Submission, laneKey: string, nowMs: number) {
    this.inputs = submission.inputs;
    this.outputs = submission.outputs;
    this.laneKey = laneKey;
    this.priority = submission.priority;
    this.deadlineMs = submission.deadlineMs;
    this.queueDeadlineMs = submission.queueDeadlineMs;
    this.stamps = {
      receivedMs: submission.receivedMs,
      fetchMs: submission.fetchMs ?? 0,
      enqueuedMs: nowMs,
      dispatchedMs: 0,
      computeStartMs: 0,
      computeEndMs: 0,
      settledMs: 0,
    };
  }

  /**
   * Has `listener` told once, when the request is settled or at once if it is: of the request's own rows, or of an
   * error. There is one listener; doors that answer thousands of requests a second do without a promise each.
   */
  onSettled(listener: SettlementListener): void {
    if (this.#reply !== undefined) listener.answered(this.#reply);
    else if (this.#error !== undefined) listener.failed(this.#error);
    else this.#listener = listener;
  }

  /** {@link PendingRequest.onSettled} as a promise, made when it is first asked for; rejects with a {@link ShoalError}. */
  get promise(): Promise<Reply> {
    this.#promise ??= new Promise((resolve, reject) => this.onSettled({ answered: resolve, failed: reject }));
    return this.#promise;
  }

  /** Instant at which it is given up as things stand; one that has been run once has not waited too long for it. */
  get expiresMs(): number {
    return this.stamps.dispatchedMs > 0 ? this.deadlineMs : Math.min(this.queueDeadlineMs, this.deadlineMs);
  }

  /** @returns false when the request had been settled before. */
  resolve(outputs: readonly Tensor[], batch: BatchInfo, nowMs: number): boolean {
    if (this.state === 'settled') return false;
    this.state = 'settled';
    this.stamps.settledMs = nowMs;
    const { computeStartMs, computeEndMs } = this.stamps;
    this.costMs = ((computeEndMs - computeStartMs) * this.inputs.rows) / batch.rows;
    this.#reply = { outputs, stamps: this.stamps, batch, costMs: this.costMs };
    this.#listener?.answered(this.#reply);
    return true;
  }

  /** @returns false when the request had been settled before. */
  reject(error: ShoalError, nowMs: number): boolean {
    if (this.state === 'settled') return false;
    this.state = 'settled';
    this.stamps.settledMs = nowMs;
    this.#error = error;
    this.#listener?.failed(error);
    return true;
  }

  /** Notes that the executor died with this request; true while the request may be tried again. */
  survivesDeath(): boolean {
    this.deaths++;
    return this.deaths <= DEATHS_ALLOWED;
  }
}
