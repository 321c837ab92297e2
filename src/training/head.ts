import type { Random } from '../random.ts';

/** What stands between the hidden layer and the outputs. */
export type Activation = 'relu' | 'tanh';

/** How large a head is. */
export interface HeadShape {
  /** Features of a row: the head's input is `[rows, features]`. */
  readonly features: number;
  /** Outputs of a row: the head's output is `[rows, outputs]`. */
  readonly outputs: number;
  /** Units of the one hidden layer; 0 for none. */
  readonly hidden: number;
  /** Of the hidden layer. */
  readonly activation: Activation;
  /** Whether each output, and each hidden unit, has a constant added to it. */
  readonly bias: boolean;
}

/** One matrix of a head, its numbers views of the head's parameters. */
export interface Layer {
  readonly inputs: number;
  readonly outputs: number;
  /** `[inputs, outputs]`, row-major. */
  readonly weights: Float64Array;
  /** `[outputs]`, or empty. */
  readonly bias: Float64Array;
}

/** A small network on top of a model's output: a matrix, or two with a hidden layer between them. */
export interface Head {
  readonly shape: HeadShape;
  /** All numbers that are learned, in one piece: what optimisers, checkpoints and averages over workers work on. */
  readonly parameters: Float64Array;
  readonly layers: readonly Layer[];
}

/** How many numbers a head of this shape learns. */
export function parameterCount({ features, outputs, hidden, bias }: HeadShape): number {
  const sizes = hidden > 0 ? [features, hidden, outputs] : [features, outputs];
  let count = 0;
  for (let i = 1; i < sizes.length; i++) count += (sizes[i - 1]! + (bias ? 1 : 0)) * sizes[i]!;
  return count;
}

/**
 * A head whose numbers are these.
 *
 * @param parameters {@link parameterCount} numbers; the head keeps them.
 */
export function headOf(shape: HeadShape, parameters: Float64Array): Head {
  return { shape, parameters, layers: layersOf(shape, parameters) };
}

/** A head with starting weights spread as Glorot and Bengio (2010) found to keep signals alive; constants start at 0. */
export function createHead(shape: HeadShape, random: Random): Head {
  const head = headOf(shape, new Float64Array(parameterCount(shape)));
  for (const { inputs, outputs, weights } of head.layers) {
    const bound = Math.sqrt(6 / (inputs + outputs));
    for (let i = 0; i < weights.length; i++) weights[i] = (2 * random() - 1) * bound;
  }
  return head;
}

/** The layers of a head as views of its parameters; a gradient has the same layout. */
export function layersOf({ features, outputs, hidden, bias }: HeadShape, parameters: Float64Array): Layer[] {
  const sizes = hidden > 0 ? [features, hidden, outputs] : [features, outputs];
  const layers: Layer[] = [];
  let at = 0;
  const take = (count: number): Float64Array => {
    at += count;
    return parameters.subarray(at - count, at);
  };
  for (let i = 1; i < sizes.length; i++) {
    const [from, to] = [sizes[i - 1]!, sizes[i]!];
    layers.push({ inputs: from, outputs: to, weights: take(from * to), bias: take(bias ? to : 0) });
  }
  return layers;
}

/**
 * Runs a head.
 *
 * @param rows `[count, features]`, row-major.
 * @returns what every layer gave, the last one being the outputs `[count, outputs]`.
 */
export function forward(head: Head, rows: ArrayLike<number>, count: number): Float64Array[] {
  const given: Float64Array[] = [];
  let input = rows;
  for (const [i, layer] of head.layers.entries()) {
    const output = multiply(input, count, layer);
    if (i < head.layers.length - 1) activate(output, head.shape.activation);
    given.push(output);
    input = output;
  }
  return given;
}

/**
 * The gradient of a loss by back-propagation.
 *
 * @param rows what {@link forward} was given.
 * @param given what it gave.
 * @param outputGradient `[count, outputs]`: the loss's gradient by the head's outputs.
 * @param gradient gets the gradient by the parameters, added to what it holds; same layout.
 */
export function backward(
  head: Head,
  rows: ArrayLike<number>,
  count: number,
  given: readonly Float64Array[],
  outputGradient: Float64Array,
  gradient: Float64Array,
): void {
  const into = layersOf(head.shape, gradient);
  let arriving = outputGradient;
  for (let i = head.layers.length - 1; i >= 0; i--) {
    const input = i === 0 ? rows : given[i - 1]!;
    addOuterProducts(input, arriving, count, into[i]!);
    if (i === 0) return;
    arriving = multiplyTransposed(arriving, count, head.layers[i]!);
    slope(arriving, given[i - 1]!, head.shape.activation);
  }
}

function multiply(rows: ArrayLike<number>, count: number, { inputs, outputs, weights, bias }: Layer): Float64Array {
  const result = new Float64Array(count * outputs);
  for (let row = 0; row < count; row++) {
    const at = row * outputs;
    if (bias.length > 0) result.set(bias, at);
    for (let i = 0; i < inputs; i++) {
      const value = rows[row * inputs + i]!;
      // Features after a rectifier are mostly zero.
      if (value === 0) continue;
      for (let j = 0, w = i * outputs; j < outputs; j++, w++) result[at + j]! += value * weights[w]!;
    }
  }
  return result;
}

function multiplyTransposed(rows: Float64Array, count: number, { inputs, outputs, weights }: Layer): Float64Array {
  const result = new Float64Array(count * inputs);
  for (let row = 0; row < count; row++) {
    for (let i = 0; i < inputs; i++) {
      let sum = 0;
      for (let j = 0, w = i * outputs; j < outputs; j++, w++) sum += rows[row * outputs + j]! * weights[w]!;
      result[row * inputs + i] = sum;
    }
  }
  return result;
}

function addOuterProducts(input: ArrayLike<number>, arriving: Float64Array, count: number, into: Layer): void {
  const { inputs, outputs, weights, bias } = into;
  for (let row = 0; row < count; row++) {
    const at = row * outputs;
    for (let i = 0; i < inputs; i++) {
      const value = input[row * inputs + i]!;
      if (value === 0) continue;
      for (let j = 0, w = i * outputs; j < outputs; j++, w++) weights[w]! += value * arriving[at + j]!;
    }
    for (let j = 0; j < bias.length; j++) bias[j]! += arriving[at + j]!;
  }
}

function activate(values: Float64Array, activation: Activation): void {
  if (activation === 'relu') for (let i = 0; i < values.length; i++) values[i] = Math.max(0, values[i]!);
  else for (let i = 0; i < values.length; i++) values[i] = Math.tanh(values[i]!);
}

/** Multiplies a gradient by the slope of an activation, which follows from what it gave. */
function slope(gradient: Float64Array, given: Float64Array, activation: Activation): void {
  for (let i = 0; i < gradient.length; i++) {
    const value = given[i]!;
    gradient[i]! *= activation === 'relu' ? (value > 0 ? 1 : 0) : 1 - value * value;
  }
}
