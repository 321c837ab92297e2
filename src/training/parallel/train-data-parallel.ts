import { invalid } from '../../errors.ts';
import { grantedCores } from '../../granted.ts';
import { descend, type TrainingStep } from '../descent.ts';
import type { Head } from '../head.ts';
import { TimeAccount } from '../time-account.ts';
import { checkFeatures, planOf, type TrainHeadOptions } from '../training-plan.ts';
import { WorkerTeam } from './worker-team.ts';

/** What {@link trainDataParallel} goes by: all that `trainHead` goes by, and how the work is spread. */
export interface DataParallelOptions extends TrainHeadOptions {
  /** Processes that share the rows of each step; each holds a copy of the examples. Default: the cores granted. */
  readonly workers?: number;
  /**
   * Parts that each worker does its share of a step in; the gradient of one travels while the next is computed.
   * Default 1: nothing travels before a worker is done.
   */
  readonly microShards?: number;
  /** The workers' program; needed where a bundler has moved it. */
  readonly workerEntry?: string;
}

/** One step of a data-parallel training. `computeMs` counts the worker of each step that computed longest. */
export interface ParallelStep extends TrainingStep {
  /** How long it took until all workers had the examples, in milliseconds; a part of `switchMs`. */
  readonly startUpMs: number;
  /**
   * How long parameters and gradients have been under way so far, in milliseconds: the mean over the workers, from the
   * moment something could be sent to the moment it was used or added.
   */
  readonly communicationMs: number;
  /** How much of that was hidden: the worker it belonged to computed meanwhile. */
  readonly hiddenMs: number;
  /** Ids of the workers' processes. */
  readonly pids: readonly (number | undefined)[];
}

/** Nobody has more cores for a small head. */
const MOST_WORKERS = 64;

/**
 * `trainHead` with the rows of each step shared out to several processes. This process sends the parameters to all,
 * takes the mean of the gradients that come back, and makes the step. It gives what `trainHead` gives but for rounding,
 * and always the same for the same number of workers and micro-shards; no gradient is ever of older parameters.
 *
 * The gradients meet in this process, a star and no ring: it has to hold the parameters anyway, for whoever looks at a
 * step; heads are small, so that the two hops of a star take less time than the many of a ring; and workers that
 * remember nothing need no care.
 *
 * When a worker dies the training ends with EXECUTOR_LOST; it goes on from the last checkpoint by `resume`. However a
 * training ends, also by leaving its loop, its processes are gone then.
 *
 * @throws {ShoalError} INVALID_REQUEST for options that do not fit each other, or a loss that is not finite any more;
 * CANCELLED when `signal` is aborted; EXECUTOR_LOST when a worker ended or could not be started.
 */
export async function* trainDataParallel(options: DataParallelOptions): AsyncGenerator<ParallelStep, Head> {
  const account = new TimeAccount();
  if (Number.isInteger(options.width) && options.width > 0) await checkFeatures(options);
  const plan = planOf(options, true);
  const { workers = Math.min(grantedCores(), MOST_WORKERS), microShards = 1, workerEntry: entry, signal } = options;
  inRange('workers', workers, MOST_WORKERS);
  inRange('microShards', microShards, 1024);
  account.spend('computeMs');
  const team = new WorkerTeam(options, plan, { workers, microShards, entry, signal });
  const { pids } = team;
  try {
    await team.ready();
    account.spend('switchMs');
    const startUpMs = account.switchMs;
    const steps = descend(options, plan, (head, rows, gradient) => team.gradientOf(head, rows, gradient), account);
    for (;;) {
      const next = await steps.next();
      if (next.done === true) return next.value;
      const { communicationMs, hiddenMs } = team;
      yield { ...next.value, startUpMs, communicationMs, hiddenMs, pids };
    }
  } finally {
    await team.close();
  }
}

function inRange(name: string, value: number, most: number): void {
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw invalid(`${name} is ${value}, expected an integer from 1 to ${most}`);
  }
}
