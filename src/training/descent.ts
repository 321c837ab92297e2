import { invalid, ShoalError } from '../errors.ts';
import { seededRandom, shuffle } from '../random.ts';
import { unlessAborted } from '../unless-aborted.ts';
import { createHead, type Head, headOf } from './head.ts';
import { createOptimizer } from './optimizer.ts';
import { gather, outcomeOf, regularise } from './step.ts';
import type { TimeAccount } from './time-account.ts';
import type { Checkpoint, Examples, TrainHeadOptions, TrainingPlan, Turn } from './training-plan.ts';

/** One step of a training. */
export interface TrainingStep {
  /** From 1. */
  readonly step: number;
  /** From 1. */
  readonly epoch: number;
  /** Mean over the rows of the step, before it was made, regularisation included. */
  readonly loss: number;
  /** Share of the rows of the step that were right; undefined with targets. */
  readonly accuracy: number | undefined;
  /** Rows used so far, repetitions counted. */
  readonly examples: number;
  /** On what is held back, at the end of an epoch. */
  readonly heldBack: Judgement | undefined;
  /** Time spent computing so far, in milliseconds: steps, and judging what is held back. */
  readonly computeMs: number;
  /** Time spent so far on spreading steps over processes, in milliseconds; 0 where one process does it all. */
  readonly switchMs: number;
  /** Time spent waiting for turns so far, in milliseconds. The three add up to all that the training has taken. */
  readonly waitMs: number;
  /** Everything that going on from here needs. Copies; made when called. */
  readonly checkpoint: () => Checkpoint;
}

/** How a head does on rows it does not learn from. */
export interface Judgement {
  readonly loss: number;
  readonly accuracy: number | undefined;
}

/** What a source of gradients says of a step's rows. */
export interface StepGradient {
  /** Mean over the rows, without regularisation. */
  readonly loss: number;
  readonly right: number;
  /** How much of the time was compute; undefined: all of it. */
  readonly computeMs?: number;
}

/** Works out the gradient of a step: in this process or spread over several. */
export type GradientSource = (
  head: Head,
  rows: Uint32Array,
  /** Gets the mean gradient over the rows, without regularisation. */
  gradient: Float64Array,
) => StepGradient | Promise<StepGradient>;

/**
 * The steps of a training, one per iteration; the return value is the head.
 *
 * @param account where the time goes; made when the training began.
 * @throws {ShoalError} INVALID_REQUEST for options that do not fit each other, or a loss that is not finite any more;
 * CANCELLED when `signal` is aborted; whatever the source of gradients throws.
 */
export async function* descend(
  options: TrainHeadOptions,
  plan: TrainingPlan,
  source: GradientSource,
  account: TimeAccount,
): AsyncGenerator<TrainingStep, Head> {
  const { shape, learned, judged, batchRows, epochs, maxSteps, sliceRows, l2 } = plan;
  const { turn = nextTurn, signal, resume, patience = Number.POSITIVE_INFINITY } = options;
  const head =
    resume === undefined ? createHead(shape, seededRandom(plan.seed)) : headOf(shape, resume.parameters.slice());
  const { parameters } = head;
  const optimizer = createOptimizer(options.optimizer ?? { kind: 'adam', rate: 0.001 }, parameters.length);
  if (resume !== undefined) optimizer.restore(resume.optimizer);
  const gradient = new Float64Array(parameters.length);
  const stepsPerEpoch = Math.ceil(learned.length / batchRows);
  const takeTurn = async (): Promise<() => void> => {
    account.spend('computeMs');
    const done = await unlessStopped(turn, signal);
    account.spend('waitMs');
    return done;
  };
  let best = resume?.best;
  let examples = 0;
  let step = 0;

  for (let epoch = 1; epoch <= epochs; epoch++) {
    const order = learned.slice();
    // Each epoch has a seed of its own, so that a resumed training sees the rows in the same order.
    shuffle(order, seededRandom(plan.seed + epoch));
    for (let at = 0; at < order.length; at += batchRows) {
      step++;
      const rows = order.subarray(at, at + batchRows);
      examples += rows.length;
      if (resume !== undefined && step <= resume.step) continue;
      if (step > maxSteps) return head;
      const done = await takeTurn();
      let made: Pick<TrainingStep, 'loss' | 'accuracy'>;
      try {
        const found = await source(head, rows, gradient);
        if (found.computeMs === undefined) account.spend('computeMs');
        else account.split(found.computeMs);
        const loss = found.loss + regularise(head, gradient, l2);
        if (!Number.isFinite(loss)) throw invalid(`the loss is ${loss} at step ${step}: try a smaller rate`);
        optimizer.step(parameters, gradient);
        made = { loss, accuracy: options.classes && found.right / rows.length };
      } finally {
        done();
      }
      const ended = step % stepsPerEpoch === 0;
      const heldBack =
        ended && judged.length > 0
          ? await judgeHead(head, options, judged, Math.min(batchRows, sliceRows), takeTurn)
          : undefined;
      if (heldBack !== undefined && heldBack.loss < (best?.loss ?? Number.POSITIVE_INFINITY)) {
        best = { loss: heldBack.loss, epoch, parameters: parameters.slice() };
      }
      const now = { step, best };
      const checkpoint = (): Checkpoint => ({ ...now, parameters: parameters.slice(), optimizer: optimizer.state() });
      account.spend('computeMs');
      const { computeMs, switchMs, waitMs } = account;
      yield { step, epoch, ...made, examples, heldBack, computeMs, switchMs, waitMs, checkpoint };
      account.skip();
    }
    if (best !== undefined && epoch - best.epoch >= patience) break;
  }
  return best !== undefined && Number.isFinite(patience) ? headOf(shape, best.parameters) : head;
}

/** The error of a training that was told to stop. */
export function stopped(signal: AbortSignal | undefined): ShoalError {
  return new ShoalError('CANCELLED', 'training was stopped', { cause: signal?.reason });
}

/** Waits for a turn; one that comes when nobody waits for it any more is given back. */
export async function unlessStopped(turn: Turn, signal: AbortSignal | undefined): Promise<() => void> {
  const coming = turn();
  try {
    return await unlessAborted(coming, signal, () => stopped(signal));
  } catch (thrown) {
    coming.then((done) => done()).catch(() => {});
    throw thrown;
  }
}

/** No more than one turn of the event loop between two steps. */
export const nextTurn: Turn = () => new Promise((resolve) => setImmediate(() => resolve(() => {})));

/**
 * How a head does on some of the examples. Goes by slices as small as a step, with a turn before each.
 *
 * @param rows their numbers.
 */
export async function judgeHead(
  head: Head,
  examples: Examples,
  rows: Uint32Array,
  sliceRows: number,
  turn: Turn = nextTurn,
): Promise<Judgement> {
  let loss = 0;
  let right = 0;
  for (let at = 0; at < rows.length; at += sliceRows) {
    const done = await turn();
    try {
      const slice = rows.subarray(at, at + sliceRows);
      const outcome = outcomeOf(head, gather(examples, head.shape, slice));
      loss += outcome.loss * slice.length;
      right += outcome.right;
    } finally {
      done();
    }
  }
  return { loss: loss / rows.length, accuracy: examples.classes && right / rows.length };
}
