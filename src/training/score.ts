import type { ModelVersion } from '../serving/model-version.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { readTensor } from '../tensor/typed.ts';
import { unlessStopped } from './descent.ts';
import { type Example, sliceInputs } from './example-record.ts';
import type { TrainingLabels } from './training-labels.ts';
import type { Turn } from './training-plan.ts';
import type { Score } from './training-record.ts';

/** Requests at a time. */
const CONCURRENCY = 8;

/** How far a row of probabilities may be from adding up to 1. */
const SUM_TOLERANCE = 1e-3;

/** What {@link scoreVersion} goes by. */
export interface ScoreOptions {
  /** The examples in order; those that are not judged are passed over. */
  readonly examples: AsyncIterable<Example>;
  readonly labels: TrainingLabels;
  /** Numbers of the rows to judge by. */
  readonly judged: ReadonlySet<number>;
  /** Awaited before each request. */
  readonly turn: Turn;
  readonly signal: AbortSignal;
}

/**
 * How well an output of a version tells what the examples' labels say, run as requests would run it.
 *
 * @returns undefined when the output is not FP32 of shape `[rows, n]`, or of another width than targets.
 * @throws {ShoalError} what {@link ModelVersion.infer} rejects with.
 */
export async function scoreVersion(
  version: ModelVersion,
  output: string,
  { examples, labels, judged, turn, signal }: ScoreOptions,
): Promise<Score | undefined> {
  const signature = version.signature!;
  const spec = signature.outputs.find(({ name }) => name === output);
  if (spec?.datatype !== 'FP32' || spec.shape.length !== 2) return undefined;
  const tally = new Tally(labels);
  const open = new Set<Promise<void>>();
  const run = async (inputs: Record<string, Tensor>, row: number, index: number): Promise<void> => {
    const done = await unlessStopped(turn, signal);
    done();
    const asked = { outputs: [output], whenFull: 'wait', signal } as const;
    const { outputs } = await version.infer(new Map(Object.entries(inputs)), asked);
    const tensor = outputs[0]!;
    const width = tensor.shape[1]!;
    tally.add((readTensor(tensor) as Float32Array).subarray(index * width, (index + 1) * width), row);
  };
  const isCut = signature.batched && signature.inputs.every(({ batchAxis }) => batchAxis === 0 || batchAxis === null);
  let at = 0;
  try {
    for await (const example of examples) {
      for (let i = 0; i < example.rows; i++) {
        if (!judged.has(at + i)) continue;
        const inputs = isCut ? sliceInputs(example, signature, i, i + 1) : Object.fromEntries(example.inputs);
        const running: Promise<void> = run(inputs, at + i, isCut ? 0 : i).finally(() => open.delete(running));
        // It is awaited below; until then a failure has been seen to.
        running.catch(() => {});
        open.add(running);
        if (open.size >= CONCURRENCY) await Promise.race(open);
      }
      at += example.rows;
    }
    await Promise.all(open);
  } finally {
    await Promise.allSettled(open);
  }
  return tally.score();
}

/** Adds up how good answers are. */
class Tally {
  readonly #labels: TrainingLabels;
  #rows = 0;
  #right = 0;
  #loss = 0;
  #areProbabilities = true;
  #fits = true;

  constructor(labels: TrainingLabels) {
    this.#labels = labels;
  }

  add(answer: Float32Array, row: number): void {
    this.#rows++;
    const { classes, targets, width } = this.#labels;
    if (targets !== undefined) {
      if (answer.length !== width) this.#fits = false;
      else for (let i = 0; i < width; i++) this.#loss += (answer[i]! - targets[row * width + i]!) ** 2 / width;
      return;
    }
    const label = classes![row]!;
    if (answer.indexOf(answer.reduce((most, one) => Math.max(most, one))) === label) this.#right++;
    let sum = 0;
    for (const one of answer) {
      if (one < 0) this.#areProbabilities = false;
      sum += one;
    }
    if (Math.abs(sum - 1) > SUM_TOLERANCE) this.#areProbabilities = false;
    this.#loss -= Math.log(Math.max(answer[label] ?? 0, Number.MIN_VALUE));
  }

  score(): Score | undefined {
    if (!this.#fits || this.#rows === 0) return undefined;
    const loss = this.#loss / this.#rows;
    if (this.#labels.targets !== undefined) return { accuracy: null, loss };
    return { accuracy: this.#right / this.#rows, loss: this.#areProbabilities ? loss : null };
  }
}

/** Whether one is better than the other: more right answers, or as many and a smaller loss. */
export function isBetter(one: Score, other: Score): boolean {
  if (one.accuracy !== null && other.accuracy !== null && one.accuracy !== other.accuracy) {
    return one.accuracy > other.accuracy;
  }
  return one.loss !== null && other.loss !== null && one.loss < other.loss;
}

/** A score in words. */
export function describeScore({ accuracy, loss }: Score): string {
  const parts = [
    ...(accuracy === null ? [] : [`${(100 * accuracy).toFixed(2)} % right`]),
    ...(loss === null ? [] : [`loss ${loss.toPrecision(4)}`]),
  ];
  return parts.join(', ');
}
