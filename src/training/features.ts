import { invalid, ShoalError } from '../errors.ts';
import { formatShape, type Tensor } from '../tensor/tensor.ts';
import { readTensor } from '../tensor/typed.ts';
import { nextTurn, unlessStopped } from './descent.ts';
import type { Turn } from './training-plan.ts';

/** What runs a model: a server or a service. */
export interface FeatureServer {
  infer(
    model: string,
    inputs: Readonly<Record<string, Tensor>>,
    options: {
      readonly version?: string | undefined;
      readonly outputs: readonly string[];
      readonly whenFull: 'wait';
      readonly priority?: number | undefined;
      readonly signal?: AbortSignal | undefined;
    },
  ): Promise<{ readonly version: string; readonly outputs: Readonly<Record<string, Tensor>> }>;
}

/** The inputs of a request by name, with any number of rows. */
export type FeatureRows = Readonly<Record<string, Tensor>>;

/** What {@link collectFeatures} goes by. */
export interface FeatureOptions {
  readonly model: string;
  /** Default: the version that answers requests which name none. */
  readonly version?: string | undefined;
  /** An output of the model that is FP32 of shape `[rows, features]`. */
  readonly output: string;
  /** What is sent through the model; read no further ahead than is sent. */
  readonly rows: Iterable<FeatureRows> | AsyncIterable<FeatureRows>;
  /** Requests at a time; default 64, so that rows share runs. */
  readonly concurrency?: number;
  /** See {@link SubmitOptions.priority}. */
  readonly priority?: number | undefined;
  /** Awaited before each request, and given back at once: when a core is free. Default: a turn of the event loop. */
  readonly turn?: Turn;
  /** Ends it with CANCELLED. */
  readonly signal?: AbortSignal | undefined;
  /** @internal Called with each answer's time, to choose the size of what comes next. */
  readonly answered?: (rows: number, tookMs: number) => void;
}

/** What a model makes of rows. */
export interface Features {
  /** `[count, width]`, row-major; copies. */
  readonly features: Float32Array;
  readonly width: number;
  readonly count: number;
  /** The version that made them. */
  readonly version: string;
}

/** Requests at a time, unless said otherwise. */
const CONCURRENCY = 64;

/**
 * Sends rows through a served model and keeps one of its outputs, to train heads on: `trainHead({ ...features, … })`
 * as often as wanted. The requests join the batches of all others and wait where the queue is full.
 *
 * @throws {ShoalError} INVALID_REQUEST when the output is not FP32 of shape `[rows, features]`, or there are no rows;
 * MODEL_NOT_READY when another version took the place of the first one meanwhile; CANCELLED; what `infer` throws.
 */
export async function collectFeatures(server: FeatureServer, options: FeatureOptions): Promise<Features> {
  const { model, output, turn = nextTurn, concurrency = CONCURRENCY, priority, answered } = options;
  if (!Number.isInteger(concurrency) || concurrency < 1) {
    throw invalid(`concurrency is ${concurrency}, expected an integer of 1 or more`);
  }
  const source = toIterator(options.rows);
  const failed = new AbortController();
  const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
  const parts: Float32Array[] = [];
  let width = 0;
  let version = options.version;
  let sent = 0;

  const sendNext = async (): Promise<boolean> => {
    const place = sent++;
    const next = await source.next();
    if (next.done === true) return false;
    const done = await unlessStopped(turn, signal);
    done();
    const startMs = performance.now();
    const asked = { version, outputs: [output], whenFull: 'wait', priority, signal } as const;
    const reply = await server.infer(model, next.value, asked);
    const tensor = reply.outputs[output]!;
    const [rows = 0, columns = 0] = tensor.shape;
    if (tensor.datatype !== 'FP32' || tensor.shape.length !== 2 || columns === 0) {
      const came = `${tensor.datatype} ${formatShape(tensor.shape)}`;
      throw invalid(`output '${output}' of model '${model}' is ${came}, expected FP32 [rows, features]`);
    }
    if (width !== 0 && columns !== width) {
      throw invalid(`output '${output}' of model '${model}' has ${columns} features for one row, ${width} for another`);
    }
    if (version !== undefined && reply.version !== version) {
      throw new ShoalError('MODEL_NOT_READY', `model '${model}' was replaced while features were collected`);
    }
    answered?.(rows, performance.now() - startMs);
    width = columns;
    version = reply.version;
    // A copy: the batch's memory is not held on to.
    parts[place] = Float32Array.from(readTensor(tensor) as Float32Array);
    return true;
  };
  const work = async (): Promise<void> => {
    while (await sendNext());
  };
  try {
    // The first answer says which version it is.
    if (await sendNext()) await Promise.all(Array.from({ length: concurrency }, work));
  } catch (thrown) {
    failed.abort(thrown);
    throw options.signal?.aborted === true && !(thrown instanceof ShoalError)
      ? new ShoalError('CANCELLED', 'collecting features was stopped', { cause: thrown })
      : thrown;
  } finally {
    await source.return?.();
  }
  if (version === undefined || width === 0) throw invalid('there are no rows to collect features from');
  return { ...join(parts), width, version, count: parts.reduce((sum, { length }) => sum + length, 0) / width };
}

function toIterator<T>(items: Iterable<T> | AsyncIterable<T>): Iterator<T> | AsyncIterator<T> {
  return Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
}

function join(parts: readonly Float32Array[]): { readonly features: Float32Array } {
  const features = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    features.set(part, at);
    at += part.length;
  }
  return { features };
}
