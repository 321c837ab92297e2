import { invalid } from '../errors.ts';
import type { Activation } from './head.ts';
import type { OptimizerChoice } from './optimizer.ts';

/** What a training over the network is asked for; every default filled in. */
export interface TrainingRequest {
  readonly model: string;
  /** The version whose output is learned from; undefined: the one that serves. */
  readonly version: string | undefined;
  /** An output of the model that is FP32 of shape `[rows, features]`. */
  readonly features: string;
  /** How many classes there are, or their names in order; undefined: as the examples have them. */
  readonly classes: number | readonly string[] | undefined;
  readonly hidden: number;
  readonly activation: Activation;
  readonly bias: boolean;
  readonly loss: 'cross-entropy' | 'squared-error' | undefined;
  readonly optimizer: OptimizerChoice;
  readonly batchRows: number;
  readonly epochs: number;
  /** Undefined: as many as the epochs have. */
  readonly steps: number | undefined;
  readonly l2: number;
  /** Share of the examples that is held back to judge by. */
  readonly heldBack: number;
  readonly patience: number | undefined;
  readonly seed: number;
  /** Whether the result becomes a new version of the model when it is better. */
  readonly publish: boolean;
  /** What the head's output is called in the published model; an output of that name is replaced. */
  readonly output: string;
}

type Fields = Readonly<Record<string, unknown>>;

const KNOWN: ReadonlySet<string> = new Set([
  'model',
  'version',
  'features',
  'classes',
  'hidden',
  'activation',
  'bias',
  'loss',
  'optimizer',
  'batch_rows',
  'epochs',
  'steps',
  'l2',
  'held_back',
  'patience',
  'seed',
  'publish',
  'output',
]);

/** What it may be at most; far above what a head on a model's features needs. */
const MOST = { classes: 10_000, hidden: 4096, batchRows: 4096, epochs: 10_000, steps: 10_000_000 } as const;

/**
 * Reads the body of `POST /v2/trainings`.
 *
 * @throws {ShoalError} INVALID_REQUEST that names the field, what came and what was expected.
 */
export function readTrainingRequest(body: Fields): TrainingRequest {
  for (const key of Object.keys(body)) {
    if (!KNOWN.has(key)) throw invalid(`'${key}' is no field of a training, only ${[...KNOWN].join(', ')}`);
  }
  const heldBack = number(body, 'held_back', 0.2);
  if (!(heldBack >= 0 && heldBack <= 0.9)) throw wrong('held_back', heldBack, 'a share from 0 to 0.9');
  const l2 = number(body, 'l2', 0);
  if (l2 < 0) throw wrong('l2', l2, 'a number of 0 or more');
  const publish = flag(body, 'publish', false);
  if (publish && heldBack === 0) {
    throw invalid('publish needs examples that are held back to compare versions by, and held_back is 0');
  }
  const request: TrainingRequest = {
    model: name(body, 'model'),
    version: isGiven(body, 'version') ? versionOf(body['version']) : undefined,
    features: name(body, 'features'),
    classes: isGiven(body, 'classes') ? classesOf(body['classes']) : undefined,
    hidden: whole(body, 'hidden', 0, 0, MOST.hidden),
    activation: choice(body, 'activation', ['relu', 'tanh'], 'relu'),
    bias: flag(body, 'bias', true),
    loss: isGiven(body, 'loss')
      ? choice<'cross-entropy' | 'squared-error'>(body, 'loss', ['cross-entropy', 'squared-error'], 'cross-entropy')
      : undefined,
    optimizer: optimizerOf(body['optimizer']),
    batchRows: whole(body, 'batch_rows', 32, 1, MOST.batchRows),
    epochs: whole(body, 'epochs', 20, 1, MOST.epochs),
    steps: isGiven(body, 'steps') ? whole(body, 'steps', 1, 1, MOST.steps) : undefined,
    l2,
    heldBack,
    patience: isGiven(body, 'patience') ? whole(body, 'patience', 1, 1, MOST.epochs) : undefined,
    seed: whole(body, 'seed', 1, 0, 2 ** 32 - 1),
    publish,
    output: isGiven(body, 'output') ? name(body, 'output') : 'prediction',
  };
  if (request.patience !== undefined && heldBack === 0) {
    throw invalid('patience needs examples that are held back, and held_back is 0');
  }
  if (request.output === request.features) {
    throw invalid(`output and features are both '${request.output}'; the head would take the place of what it reads`);
  }
  return request;
}

function optimizerOf(value: unknown): OptimizerChoice {
  if (value === undefined || value === null) return { kind: 'adam', rate: 0.001 };
  if (typeof value !== 'object' || Array.isArray(value)) throw wrong('optimizer', value, 'an object');
  const fields = value as Fields;
  const kind = choice(fields, 'kind', ['sgd', 'momentum', 'adam'], 'adam', 'optimizer.');
  const allowed = { sgd: ['rate'], momentum: ['rate', 'momentum'], adam: ['rate', 'beta1', 'beta2'] }[kind];
  for (const key of Object.keys(fields)) {
    if (key !== 'kind' && !allowed.includes(key)) throw invalid(`optimizer.${key} is not known for ${kind}`);
  }
  const rate = number(fields, 'rate', kind === 'adam' ? 0.001 : 0.1, 'optimizer.');
  if (rate <= 0) throw wrong('optimizer.rate', rate, 'a number above 0');
  const share = (key: string, preset: number): number => {
    const given = number(fields, key, preset, 'optimizer.');
    if (!(given >= 0 && given < 1)) throw wrong(`optimizer.${key}`, given, 'a number from 0 to below 1');
    return given;
  };
  if (kind === 'sgd') return { kind, rate };
  if (kind === 'momentum') return { kind, rate, momentum: share('momentum', 0.9) };
  return { kind, rate, beta1: share('beta1', 0.9), beta2: share('beta2', 0.999) };
}

function classesOf(value: unknown): number | readonly string[] {
  if (Array.isArray(value)) {
    if (value.length < 2 || value.length > MOST.classes || value.some((one) => typeof one !== 'string' || one === '')) {
      throw wrong('classes', value, `2 to ${MOST.classes} names`);
    }
    if (new Set(value).size !== value.length) throw invalid('classes has a name twice');
    return value as string[];
  }
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 2 || value > MOST.classes) {
    throw wrong('classes', value, `an integer from 2 to ${MOST.classes}, or names`);
  }
  return value;
}

function versionOf(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string' || !/^\d{1,18}$/.test(text)) throw wrong('version', value, 'the number of a version');
  return text;
}

function isGiven(fields: Fields, key: string): boolean {
  return fields[key] !== undefined && fields[key] !== null;
}

function name(fields: Fields, key: string): string {
  const value = fields[key];
  if (typeof value !== 'string' || value === '' || value.length > 512) throw wrong(key, value, 'a name');
  return value;
}

function number(fields: Fields, key: string, preset: number, prefix = ''): number {
  const value = isGiven(fields, key) ? fields[key] : preset;
  if (typeof value !== 'number' || !Number.isFinite(value)) throw wrong(prefix + key, value, 'a number');
  return value;
}

function whole(fields: Fields, key: string, preset: number, least: number, most: number): number {
  const value = number(fields, key, preset);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw wrong(key, value, `an integer from ${least} to ${most}`);
  }
  return value;
}

function flag(fields: Fields, key: string, preset: boolean): boolean {
  const value = isGiven(fields, key) ? fields[key] : preset;
  if (typeof value !== 'boolean') throw wrong(key, value, 'true or false');
  return value;
}

function choice<T extends string>(fields: Fields, key: string, choices: readonly T[], preset: T, prefix = ''): T {
  const value = isGiven(fields, key) ? fields[key] : preset;
  const found = choices.find((one) => one === value);
  if (found === undefined) throw wrong(prefix + key, value, choices.join(' or '));
  return found;
}

function wrong(field: string, value: unknown, expected: string): Error {
  const text = value === undefined ? 'missing' : JSON.stringify(value);
  return invalid(`${field} is ${text.length > 60 ? `${text.slice(0, 60)}…` : text}, expected ${expected}`);
}
