import { invalid } from '../errors.ts';
import { seededRandom, shuffle } from '../random.ts';
import { type Activation, type HeadShape, parameterCount } from './head.ts';
import type { OptimizerChoice } from './optimizer.ts';

/** Rows to learn from. */
export interface Examples {
  /** `[count, width]`, row-major. */
  readonly features: Float32Array | Float64Array;
  /** Features of a row. */
  readonly width: number;
  /** The class of each row, from 0: the head learns to tell classes by cross-entropy. Either these or targets. */
  readonly classes?: ArrayLike<number>;
  /** `[count, outputs]`: what the head should give, by least squares. */
  readonly targets?: ArrayLike<number>;
}

/** Resolves when one step may be made, with what is to be called when it has been. */
export type Turn = () => Promise<() => void>;

/** What {@link trainHead} goes by. */
export interface TrainHeadOptions extends Examples {
  /** Outputs of the head; default: the largest class plus one, or the targets of a row. */
  readonly outputs?: number;
  /** Units of one hidden layer; default 0, none. */
  readonly hidden?: number;
  /** Of the hidden layer; default `relu`. */
  readonly activation?: Activation;
  /** Whether outputs and hidden units have a constant; default true. */
  readonly bias?: boolean;
  /** Default: Adam at 0.001. */
  readonly optimizer?: OptimizerChoice;
  /** Rows of a step; default 32. */
  readonly batchRows?: number;
  /** Times all rows are gone through at most; default 20. */
  readonly epochs?: number;
  /** Most steps; default none. */
  readonly steps?: number;
  /** Weight of half the sum of the squared weights (not the constants) in the loss; default 0. */
  readonly l2?: number;
  /** Share of the rows that is held back to judge by; default 0. */
  readonly heldBack?: number;
  /** Stops after so many epochs without a better loss on what is held back, and keeps the best; default never. */
  readonly patience?: number;
  /** For starting weights and order of rows; default 1. */
  readonly seed?: number;
  /** How training gives way to others; default: no more than one turn of the event loop between two steps. */
  readonly turn?: Turn;
  /** Ends training with CANCELLED. */
  readonly signal?: AbortSignal;
  /** Where an earlier run of the same training stood, from {@link TrainingStep.checkpoint}. */
  readonly resume?: Checkpoint;
}

/** State of a training between two steps. */
export interface Checkpoint {
  readonly step: number;
  readonly parameters: Float64Array;
  readonly optimizer: Float64Array;
  readonly best: { readonly loss: number; readonly epoch: number; readonly parameters: Float64Array } | undefined;
}

/** What options come to. */
export interface TrainingPlan {
  readonly shape: HeadShape;
  /** Rows to learn from, by their number. */
  readonly learned: Uint32Array;
  /** Rows held back. */
  readonly judged: Uint32Array;
  readonly batchRows: number;
  readonly epochs: number;
  readonly maxSteps: number;
  /** Rows that are gone through at a time, so that the event loop is held for a tenth of a millisecond or so. */
  readonly sliceRows: number;
  readonly l2: number;
  readonly seed: number;
}

/** Multiplications by weights of a slice, forward; the way back has twice as many. */
const SLICE_PRODUCTS = 40_000;

/** Numbers that are looked at before others have a turn. */
const CHECKED_AT_ONCE = 65_536;

/**
 * Checks that all features are finite, in slices.
 *
 * @throws {ShoalError} INVALID_REQUEST that names the first one that is not.
 */
export async function checkFeatures({ features, width }: Pick<Examples, 'features' | 'width'>): Promise<void> {
  for (let at = 0; at < features.length; at += CHECKED_AT_ONCE) {
    if (at > 0) await new Promise(setImmediate);
    checkFinite(features, width, at, Math.min(features.length, at + CHECKED_AT_ONCE));
  }
}

/**
 * Checks options and fills in defaults.
 *
 * @param areFeaturesChecked whether {@link checkFeatures} has been called.
 * @throws {ShoalError} INVALID_REQUEST that names the option, what came and what was expected.
 */
export function planOf(options: TrainHeadOptions, areFeaturesChecked = false): TrainingPlan {
  const { features, width, classes, targets, hidden = 0, activation = 'relu', bias = true, heldBack = 0 } = options;
  const { batchRows = 32, epochs = 20, steps = Number.POSITIVE_INFINITY, l2 = 0, seed = 1 } = options;
  whole('width', width, 1);
  whole('hidden', hidden, 0);
  whole('batchRows', batchRows, 1);
  whole('epochs', epochs, 1);
  if (!(heldBack >= 0 && heldBack < 1)) throw invalid(`heldBack is ${heldBack}, expected a share from 0 to below 1`);
  if (!(l2 >= 0)) throw invalid(`l2 is ${l2}, expected 0 or more`);
  const count = features.length / width;
  if (!Number.isInteger(count) || count === 0) {
    throw invalid(`features has ${features.length} numbers, expected at least one row of ${width}`);
  }
  if ((classes === undefined) === (targets === undefined)) throw invalid('expected either classes or targets');
  if (!areFeaturesChecked) checkFinite(features, width, 0, features.length);
  const outputs = options.outputs ?? (classes === undefined ? targets!.length / count : largest(classes) + 1);
  whole('outputs', outputs, 1);
  if (classes !== undefined) checkClasses(classes, count, outputs);
  else if (targets!.length !== count * outputs) {
    throw invalid(`targets has ${targets!.length} numbers, expected ${count} rows of ${outputs}`);
  }
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  shuffle(order, seededRandom(seed));
  const judgedCount = Math.floor(count * heldBack);
  const shape = { features: width, outputs, hidden, activation, bias };
  const [judged, learned] = [order.slice(0, judgedCount), order.slice(judgedCount)];
  const sliceRows = Math.max(1, Math.floor(SLICE_PRODUCTS / parameterCount(shape)));
  return { shape, learned, judged, batchRows, epochs, maxSteps: steps, sliceRows, l2, seed };
}

function checkFinite(features: ArrayLike<number>, width: number, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    if (!Number.isFinite(features[i]!)) {
      throw invalid(`feature ${i % width} of row ${Math.floor(i / width)} is ${features[i]}`);
    }
  }
}

function whole(name: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least)
    throw invalid(`${name} is ${value}, expected an integer of ${least} or more`);
}

function largest(classes: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < classes.length; i++) most = Math.max(most, classes[i]!);
  return most;
}

function checkClasses(classes: ArrayLike<number>, count: number, outputs: number): void {
  if (classes.length !== count)
    throw invalid(`classes has ${classes.length} entries, expected one for each of ${count} rows`);
  for (let i = 0; i < count; i++) {
    const one = classes[i]!;
    if (!Number.isInteger(one) || one < 0 || one >= outputs) {
      throw invalid(`the class of row ${i} is ${one}, expected an integer from 0 to ${outputs - 1}`);
    }
  }
}
