import { descend, type GradientSource, type TrainingStep } from './descent.ts';
import type { Head } from './head.ts';
import { gather, gradientOf } from './step.ts';
import { TimeAccount } from './time-account.ts';
import { planOf, type TrainHeadOptions } from './training-plan.ts';

/**
 * Trains a small head by mini-batches, one step per iteration; the generator's return value is the head. A step is
 * plain arithmetic of well below a millisecond for some hundred features, so that whoever drives it can stop, wait or
 * do something else in between; `turn` is awaited before each.
 *
 * @throws {ShoalError} INVALID_REQUEST for options that do not fit each other, or a loss that is not finite any more;
 * CANCELLED when `signal` is aborted.
 */
export async function* trainHead(options: TrainHeadOptions): AsyncGenerator<TrainingStep, Head> {
  const account = new TimeAccount();
  const plan = planOf(options);
  const source: GradientSource = (head, rows, gradient) =>
    gradientOf(head, gather(options, plan.shape, rows), 1, gradient);
  return yield* descend(options, plan, source, account);
}
