import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MLP_WIDTHS, mlp } from '../test/support/models/mlp.ts';
import { REPOSITORY_ROOT } from '../test/support/root.ts';

/** What is measured: models, encodings of the body, numbers of clients. */

export type Encoding = 'json' | 'binary';

/** A model with one FP32 input and one FP32 output, both with the rows in front. */
export interface BenchModel {
  readonly name: string;
  /** For people. */
  readonly title: string;
  readonly input: string;
  readonly output: string;
  /** The shape of one row of the input. */
  readonly dims: readonly number[];
  /** Runs last so many times the usual seconds: where few requests are answered in one. */
  readonly stretch: number;
}

/** One model, one encoding, one number of clients. */
export interface Case {
  readonly id: string;
  readonly model: BenchModel;
  readonly encoding: Encoding;
  readonly clients: number;
}

export const MODELS: readonly BenchModel[] = [
  { name: 'tiny', title: 'tiny MLP 4-16-3', input: 'x', output: 'y', dims: [4], stretch: 1 },
  { name: 'mnist-cnn', title: 'mnist-cnn', input: 'image', output: 'probabilities', dims: [1, 28, 28], stretch: 1 },
  { name: 'mlp', title: 'MLP 784-512-512-10', input: 'x', output: 'y', dims: [784], stretch: 1 },
  { name: 'big', title: 'memory-bound MLP 2048-4096-4096-1000', input: 'x', output: 'y', dims: [2048], stretch: 2 },
];

const ENCODINGS: readonly Encoding[] = ['json', 'binary'];
const CLIENTS: readonly number[] = [1, 8, 64, 256];

/** Every model with every encoding and number of clients. */
export const ALL_CASES: readonly Case[] = MODELS.flatMap((model) =>
  ENCODINGS.flatMap((encoding) =>
    CLIENTS.map((clients) => ({ id: `${model.name}-${encoding}-${clients}`, model, encoding, clients })),
  ),
);

/** Those that decide about floors. */
const SHORT: readonly string[] = [
  'tiny-json-1',
  'tiny-json-64',
  'mnist-cnn-binary-64',
  'mlp-json-64',
  'mlp-binary-1',
  'mlp-binary-64',
  'big-binary-64',
];

/** Start and memory are no case of a model, but can be chosen like one. */
export const START_ID = 'start';

/**
 * The cases to run, and whether start and memory are measured.
 *
 * @param only parts of ids; what contains any of them is chosen from everything.
 */
export function chooseCases(
  isFull: boolean,
  only: readonly string[],
): { readonly cases: readonly Case[]; readonly measuresStart: boolean } {
  if (only.length > 0) {
    const matches = (id: string): boolean => only.some((part) => id.includes(part));
    return { cases: ALL_CASES.filter(({ id }) => matches(id)), measuresStart: matches(START_ID) };
  }
  return { cases: isFull ? ALL_CASES : ALL_CASES.filter(({ id }) => SHORT.includes(id)), measuresStart: true };
}

/**
 * Puts a model alone into a models folder below `folder`.
 *
 * @returns the folder to serve and the model's file in it.
 */
export function placeModel(model: BenchModel, folder: string): { readonly models: string; readonly file: string } {
  const models = join(folder, `models-${model.name}`);
  const file = join(models, model.name, '1', 'model.onnx');
  mkdirSync(join(models, model.name, '1'), { recursive: true });
  if (isGenerated(model.name)) writeFileSync(file, mlp(MLP_WIDTHS[model.name]));
  else copyFileSync(join(REPOSITORY_ROOT, 'models', model.name, '1', 'model.onnx'), file);
  return { models, file };
}

function isGenerated(name: string): name is keyof typeof MLP_WIDTHS {
  return Object.hasOwn(MLP_WIDTHS, name);
}
