import { descend, type GradientSource, nextTurn, type TrainingStep, unlessStopped } from './descent.ts';
import type { Head } from './head.ts';
import { addGradient, gather } from './step.ts';
import { TimeAccount } from './time-account.ts';
import { checkFeatures, planOf, type TrainHeadOptions, type Turn } from './training-plan.ts';

/**
 * Trains a small head by mini-batches, one step per iteration; the generator's return value is the head. A step is
 * plain arithmetic that goes by slices of about a tenth of a millisecond, so that whoever drives it can stop, wait or
 * do something else in between; `turn` is awaited before each slice.
 *
 * @throws {ShoalError} INVALID_REQUEST for options that do not fit each other, or a loss that is not finite any more;
 * CANCELLED when `signal` is aborted.
 */
export async function* trainHead(options: TrainHeadOptions): AsyncGenerator<TrainingStep, Head> {
  const account = new TimeAccount();
  if (Number.isInteger(options.width) && options.width > 0) await checkFeatures(options);
  const plan = planOf(options, true);
  const { shape, sliceRows } = plan;
  const { signal } = options;
  const turn: Turn = options.turn ?? nextTurn;
  // Who has the turn that is under way; a step of several slices gives it back between them.
  let end: () => void = () => {};
  const take: Turn = async () => {
    end = await turn();
    return () => end();
  };

  const bySlices = async (head: Head, rows: Uint32Array, gradient: Float64Array) => {
    let loss = 0;
    let right = 0;
    for (let at = 0; at < rows.length; at += sliceRows) {
      if (at > 0) {
        account.spend('computeMs');
        end();
        // Given back already, should waiting fail.
        end = () => {};
        end = await unlessStopped(turn, signal);
        account.spend('waitMs');
      }
      const slice = rows.subarray(at, at + sliceRows);
      const share = slice.length / rows.length;
      const found = addGradient(head, gather(options, shape, slice), share, gradient);
      loss += found.loss * share;
      right += found.right;
    }
    return { loss, right };
  };
  const source: GradientSource = (head, rows, gradient) => {
    gradient.fill(0);
    return rows.length <= sliceRows
      ? addGradient(head, gather(options, shape, rows), 1, gradient)
      : bySlices(head, rows, gradient);
  };
  return yield* descend({ ...options, turn: take }, plan, source, account);
}
