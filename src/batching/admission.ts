import { invalid, ShoalError } from '../errors.ts';
import type { ByteBudget } from './byte-budget.ts';
import type { CostEstimate } from './cost.ts';
import type { LevelTally } from './level-tally.ts';
import type { Submission } from './request.ts';

/** What bounds a queue. */
export interface QueueLimits {
  /** What messages call the model. */
  readonly name: string;
  /** The most rows that wait. */
  readonly maxQueueRows: number;
  /** The most requests that wait; infinite unless the model's configuration says otherwise. */
  readonly maxQueueRequests: number;
  /**
   * For a model with levels of priority, the most requests of a level that wait; undefined for one without, whose
   * requests all have level 0.
   */
  readonly maxLevelRequests: ((level: number) => number) | undefined;
  readonly budget: ByteBudget;
  readonly cost: CostEstimate;
}

/** What waits and what runs, when a request comes. */
export interface QueueState {
  readonly queuedRows: number;
  readonly queuedRequests: number;
  readonly runners: number;
  /** Counts by priority; undefined where the model has no levels. */
  readonly levels: LevelTally | undefined;
}

/** Longest and shortest `Retry-After`, in seconds. */
const RETRY_AFTER = { least: 1, most: 60 } as const;

/** The limits of a queue: whom it takes. It remembers nothing; what waits is told to it. */
export class Admission {
  readonly #options: QueueLimits;

  constructor(options: QueueLimits) {
    this.#options = options;
  }

  /** Why a request that has `leftMs` left is not taken; undefined when it is. */
  refusal(submission: Submission, queue: QueueState, leftMs: number): ShoalError | undefined {
    const { inputs, priority } = submission;
    const { name, maxQueueRows, budget, cost } = this.#options;
    if (leftMs <= 0) return expired(name);
    if (inputs.rows > maxQueueRows || inputs.bytes > budget.limitBytes) {
      const text = `the request has ${inputs.rows} rows and ${inputs.bytes} bytes, the queue takes at most ${maxQueueRows} rows and ${budget.limitBytes} bytes`;
      return invalid(text);
    }
    const fullness = this.fullness(submission, queue);
    if (fullness !== undefined) {
      return new ShoalError('QUEUE_FULL', fullness, { retryAfterSeconds: this.#retryAfterSeconds(queue) });
    }
    // At the best cost per row ever seen; who cannot make it even so is told at once, not after the wait.
    const rowsBefore = queue.levels === undefined ? queue.queuedRows : queue.levels.rowsBefore(priority);
    const waitMs = (rowsBefore * cost.leastMsPerRow()) / Math.max(1, queue.runners);
    if (waitMs <= leftMs) return undefined;
    const text = `model '${name}' needs at least ${Math.ceil(waitMs)} ms for what waits, the request has ${Math.ceil(leftMs)} ms left`;
    return new ShoalError('DEADLINE_UNREACHABLE', text, { retryAfterSeconds: this.#retryAfterSeconds(queue) });
  }

  /** Why there is no room for a request; undefined when there is, or when it is too large to be queued at all. */
  fullness({ inputs: { rows, bytes }, priority }: Submission, queue: QueueState): string | undefined {
    const { name, maxQueueRows, maxQueueRequests, maxLevelRequests, budget } = this.#options;
    if (rows > maxQueueRows || bytes > budget.limitBytes) return undefined;
    if (queue.queuedRows + rows > maxQueueRows) {
      return `the queue of model '${name}' is full: ${queue.queuedRows} rows wait, ${maxQueueRows} may`;
    }
    if (maxQueueRequests < Number.POSITIVE_INFINITY && queue.queuedRequests >= maxQueueRequests) {
      return `the queue of model '${name}' is full: ${maxQueueRequests} requests may wait`;
    }
    if (maxLevelRequests !== undefined && queue.levels!.requests(priority) >= maxLevelRequests(priority)) {
      return `the queue of model '${name}' for priority ${priority} is full: ${maxLevelRequests(priority)} requests may wait`;
    }
    if (budget.heldBytes + bytes > budget.limitBytes) {
      return `the server's queues are full: requests hold ${budget.heldBytes} bytes, ${budget.limitBytes} may be held`;
    }
    return undefined;
  }

  /** When about half of what waits will have been run. */
  #retryAfterSeconds({ queuedRows, runners }: QueueState): number {
    const drainMs = (queuedRows * this.#options.cost.leastMsPerRow()) / Math.max(1, runners);
    return Math.min(RETRY_AFTER.most, Math.max(RETRY_AFTER.least, Math.ceil(drainMs / 2000)));
  }
}

/** The error of a request whose time is over. */
export function expired(model: string): ShoalError {
  return new ShoalError(
    'DEADLINE_EXCEEDED',
    `model '${model}' did not answer within the time the request has (its timeout, or the server's request timeout)`,
  );
}
