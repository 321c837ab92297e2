import { invalid, ShoalError } from '../errors.ts';
import { seededRandom, shuffle } from '../random.ts';
import { unlessAborted } from '../unless-aborted.ts';
import { backward, createHead, forward, type Head, type HeadShape, headOf, layersOf } from './head.ts';
import { crossEntropy, type Loss, rightRows, squaredError } from './loss.ts';
import { createOptimizer } from './optimizer.ts';
import { type Checkpoint, type Examples, planOf, type TrainHeadOptions, type Turn } from './training-plan.ts';

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
  /** Time spent computing so far, in milliseconds. */
  readonly computeMs: number;
  /** Time spent waiting for turns so far, in milliseconds. */
  readonly waitMs: number;
  /** Everything that going on from here needs. Copies; made when called. */
  readonly checkpoint: () => Checkpoint;
}

/** How a head does on rows it does not learn from. */
export interface Judgement {
  readonly loss: number;
  readonly accuracy: number | undefined;
}

/**
 * Trains a small head by mini-batches, one step per iteration; the generator's return value is the head. A step is
 * plain arithmetic of well below a millisecond for some hundred features, so that whoever drives it can stop, wait or
 * do something else in between; `turn` is awaited before each.
 *
 * @throws {ShoalError} INVALID_REQUEST for options that do not fit each other, or a loss that is not finite any more;
 * CANCELLED when `signal` is aborted.
 */
export async function* trainHead(options: TrainHeadOptions): AsyncGenerator<TrainingStep, Head> {
  const plan = planOf(options);
  const { shape, learned, judged, batchRows, epochs, maxSteps, l2 } = plan;
  const { turn = nextTurn, signal, resume, patience = Number.POSITIVE_INFINITY } = options;
  const head =
    resume === undefined ? createHead(shape, seededRandom(plan.seed)) : headOf(shape, resume.parameters.slice());
  const { parameters } = head;
  const optimizer = createOptimizer(options.optimizer ?? { kind: 'adam', rate: 0.001 }, parameters.length);
  if (resume !== undefined) optimizer.restore(resume.optimizer);
  const gradient = new Float64Array(parameters.length);
  const stepsPerEpoch = Math.ceil(learned.length / batchRows);
  let best = resume?.best;
  let examples = 0;
  let computeMs = 0;
  let waitMs = 0;
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
      const askedMs = performance.now();
      const done = await takeTurn(turn, signal);
      const startMs = performance.now();
      waitMs += startMs - askedMs;
      let made: StepResult;
      try {
        made = makeStep(head, gather(options, shape, rows), gradient, l2);
        if (!Number.isFinite(made.loss)) throw invalid(`the loss is ${made.loss} at step ${step}: try a smaller rate`);
        optimizer.step(parameters, gradient);
      } finally {
        done();
      }
      computeMs += performance.now() - startMs;
      const ended = step % stepsPerEpoch === 0;
      const heldBack =
        ended && judged.length > 0
          ? await judgeHead(head, options, judged, batchRows, () => takeTurn(turn, signal))
          : undefined;
      if (heldBack !== undefined && heldBack.loss < (best?.loss ?? Number.POSITIVE_INFINITY)) {
        best = { loss: heldBack.loss, epoch, parameters: parameters.slice() };
      }
      const now = { step, best };
      const checkpoint = (): Checkpoint => ({ ...now, parameters: parameters.slice(), optimizer: optimizer.state() });
      yield { step, epoch, ...made, examples, heldBack, computeMs, waitMs, checkpoint };
    }
    if (best !== undefined && epoch - best.epoch >= patience) break;
  }
  return best !== undefined && Number.isFinite(patience) ? headOf(shape, best.parameters) : head;
}

/** Waits for a turn; one that comes when nobody waits for it any more is given back. */
async function takeTurn(turn: Turn, signal: AbortSignal | undefined): Promise<() => void> {
  const coming = turn();
  const stopped = (): ShoalError => new ShoalError('CANCELLED', 'training was stopped', { cause: signal?.reason });
  try {
    return await unlessAborted(coming, signal, stopped);
  } catch (thrown) {
    coming.then((done) => done()).catch(() => {});
    throw thrown;
  }
}

const nextTurn: Turn = () => new Promise((resolve) => setImmediate(() => resolve(() => {})));

/** Rows of a step or of a judgement, gathered. */
interface Batch {
  readonly features: Float64Array;
  readonly classes: Uint32Array | undefined;
  readonly targets: Float64Array | undefined;
}

/** What a step says of its rows, before it was made. */
type StepResult = Pick<TrainingStep, 'loss' | 'accuracy'>;

/** The loss and its gradient on these rows. */
function makeStep(head: Head, batch: Batch, gradient: Float64Array, l2: number): StepResult {
  const { classes, features } = batch;
  const { outputs: width } = head.shape;
  const count = features.length / head.shape.features;
  const given = forward(head, features, count);
  const outputs = given.at(-1)!;
  const loss = lossOf(outputs, batch, head.shape);
  gradient.fill(0);
  backward(head, features, count, given, loss.gradient, gradient);
  return {
    loss: loss.value + regularise(head, gradient, l2),
    accuracy: classes && rightRows(outputs, classes, width) / count,
  };
}

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
  const { shape } = head;
  let loss = 0;
  let right = 0;
  for (let at = 0; at < rows.length; at += sliceRows) {
    const done = await turn();
    try {
      const slice = rows.subarray(at, at + sliceRows);
      const batch = gather(examples, shape, slice);
      const outputs = forward(head, batch.features, slice.length).at(-1)!;
      loss += lossOf(outputs, batch, shape).value * slice.length;
      if (batch.classes !== undefined) right += rightRows(outputs, batch.classes, shape.outputs);
    } finally {
      done();
    }
  }
  return { loss: loss / rows.length, accuracy: examples.classes && right / rows.length };
}

function lossOf(outputs: Float64Array, { classes, targets }: Batch, { outputs: width }: HeadShape): Loss {
  return classes === undefined ? squaredError(outputs, targets!) : crossEntropy(outputs, classes, width);
}

/** Adds the penalty's gradient; what it adds to the loss. */
function regularise(head: Head, gradient: Float64Array, l2: number): number {
  if (l2 === 0) return 0;
  let sum = 0;
  for (const [i, { weights }] of layersOf(head.shape, gradient).entries()) {
    const { weights: values } = head.layers[i]!;
    for (let j = 0; j < weights.length; j++) {
      weights[j]! += l2 * values[j]!;
      sum += values[j]! * values[j]!;
    }
  }
  return (l2 / 2) * sum;
}

function gather({ features, width, classes, targets }: Examples, { outputs }: HeadShape, rows: Uint32Array): Batch {
  const batch: Batch = {
    features: new Float64Array(rows.length * width),
    classes: classes && new Uint32Array(rows.length),
    targets: targets && new Float64Array(rows.length * outputs),
  };
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]!;
    batch.features.set(features.subarray(row * width, (row + 1) * width), i * width);
    if (batch.classes !== undefined) batch.classes[i] = classes![row]!;
    if (batch.targets === undefined) continue;
    for (let j = 0; j < outputs; j++) batch.targets[i * outputs + j] = targets![row * outputs + j]!;
  }
  return batch;
}
