import { backward, forward, type Head, type HeadShape, layersOf } from './head.ts';
import { crossEntropy, type Loss, rightRows, squaredError } from './loss.ts';
import type { Examples } from './training-plan.ts';

/** Rows of a step or of a judgement, gathered. */
export interface RowBatch {
  /** `[count, width]`. */
  readonly features: Float64Array;
  readonly classes: Uint32Array | undefined;
  /** `[count, outputs]`. */
  readonly targets: Float64Array | undefined;
}

/** What a head gives for some rows, and how good that is. */
export interface Outcome {
  /** Mean over the rows. */
  readonly loss: number;
  /** Rows that were right; 0 with targets. */
  readonly right: number;
}

/**
 * Copies rows out of the examples.
 *
 * @param rows their numbers.
 */
export function gather(
  { features, width, classes, targets }: Examples,
  { outputs }: HeadShape,
  rows: Uint32Array,
): RowBatch {
  const batch: RowBatch = {
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

/** How a head does on rows. */
export function outcomeOf(head: Head, batch: RowBatch): Outcome {
  const outputs = forward(head, batch.features, rowsOf(head, batch)).at(-1)!;
  return { loss: lossOf(outputs, batch, head.shape).value, right: rightOf(outputs, batch, head.shape) };
}

/**
 * How a head does on rows, and the gradient of its loss there, without regularisation.
 *
 * @param share what the gradient is multiplied by: the rows' share of a step that others have rows of, too.
 * @param gradient gets the gradient by the parameters, added to what it holds.
 */
export function addGradient(head: Head, batch: RowBatch, share: number, gradient: Float64Array): Outcome {
  const count = rowsOf(head, batch);
  const given = forward(head, batch.features, count);
  const outputs = given.at(-1)!;
  const loss = lossOf(outputs, batch, head.shape);
  if (share !== 1) for (let i = 0; i < loss.gradient.length; i++) loss.gradient[i]! *= share;
  backward(head, batch.features, count, given, loss.gradient, gradient);
  return { loss: loss.value, right: rightOf(outputs, batch, head.shape) };
}

/** Adds the gradient of the penalty on large weights; gives what the penalty adds to the loss. */
export function regularise(head: Head, gradient: Float64Array, l2: number): number {
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

function rowsOf(head: Head, batch: RowBatch): number {
  return batch.features.length / head.shape.features;
}

function lossOf(outputs: Float64Array, { classes, targets }: RowBatch, { outputs: width }: HeadShape): Loss {
  return classes === undefined ? squaredError(outputs, targets!) : crossEntropy(outputs, classes, width);
}

function rightOf(outputs: Float64Array, { classes }: RowBatch, { outputs: width }: HeadShape): number {
  return classes === undefined ? 0 : rightRows(outputs, classes, width);
}
