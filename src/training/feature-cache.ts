import { invalid, ShoalError } from '../errors.ts';
import type { ModelVersion } from '../serving/model-version.ts';
import { formatShape } from '../tensor/tensor.ts';
import { sliceInputs } from './example-record.ts';
import type { ExampleStore } from './example-store.ts';
import { collectFeatures, type FeatureRows, type FeatureServer } from './features.ts';
import type { Turn } from './training-plan.ts';

/** Features of the first rows of a model's examples. */
interface Cached {
  readonly key: string;
  readonly features: Float32Array;
  readonly width: number;
  readonly rows: number;
}

/** Bytes of features that one training may have, and that are kept for later ones. */
export const MOST_FEATURE_BYTES: number = 256 << 20;

/** How long one request for features should take, so that requests of others do not wait behind it. */
const WANTED_MS = 2;
const MOST_ROWS = 64;

/**
 * Features of examples, by model: made in the gaps by sending the rows through the model, and kept, so that the next
 * training on the same output and version only makes those of rows that have come since.
 */
export class FeatureCache {
  readonly #server: FeatureServer;
  readonly #turn: Turn;
  /** The one used last is the last. */
  readonly #cached: Map<string, Cached> = new Map();

  constructor(server: FeatureServer, turn: Turn) {
    this.#server = server;
    this.#turn = turn;
  }

  /**
   * The features of the first `rows` rows.
   *
   * @throws {ShoalError} INVALID_REQUEST when the version has no such output, or there would be too many; what
   * {@link collectFeatures} throws.
   */
  async collect(
    version: ModelVersion,
    output: string,
    store: ExampleStore,
    rows: number,
    signal: AbortSignal,
  ): Promise<{ readonly features: Float32Array; readonly width: number }> {
    const width = featureWidth(version, output);
    if (rows * width * 4 > MOST_FEATURE_BYTES) {
      throw invalid(`${rows} examples of ${width} features need more than ${MOST_FEATURE_BYTES} bytes`);
    }
    const { name, source } = version;
    const key = [version.version, source.fingerprint, output, store.generation].join('\n');
    const before = this.#cached.get(name);
    const known = before?.key === key && before.rows <= rows ? before : undefined;
    let { features } = known ?? { features: new Float32Array(0) };
    if (known === undefined || known.rows < rows) {
      const size = new RequestSize(version.maxBatchSize);
      const found = await collectFeatures(this.#server, {
        model: name,
        version: version.version,
        output,
        rows: this.#requests(version, store, known?.rows ?? 0, rows, size),
        concurrency: 1,
        // The lowest level, where the model has some.
        priority: version.settings.batching.priorityLevels || undefined,
        turn: this.#turn,
        signal,
        answered: (count, tookMs) => size.answered(count, tookMs),
      });
      if (known === undefined) features = found.features;
      else {
        features = new Float32Array(rows * width);
        features.set(known.features);
        features.set(found.features, known.features.length);
      }
      if (features.length !== rows * width) {
        throw new ShoalError('CONFLICT', `the examples of model '${name}' have changed while they were read`);
      }
    }
    this.#keep(name, { key, features, width, rows });
    return { features, width };
  }

  async *#requests(
    version: ModelVersion,
    store: ExampleStore,
    from: number,
    rows: number,
    size: RequestSize,
  ): AsyncGenerator<FeatureRows> {
    const signature = version.signature!;
    const isCut = signature.batched && signature.inputs.every(({ batchAxis }) => batchAxis === 0 || batchAxis === null);
    let passed = 0;
    for await (const example of store.read(rows)) {
      passed += example.rows;
      if (passed <= from) continue;
      for (let at = 0; at < example.rows; ) {
        const to = isCut ? Math.min(example.rows, at + size.rows) : example.rows;
        yield sliceInputs(example, signature, at, to);
        at = to;
      }
    }
  }

  #keep(name: string, cached: Cached): void {
    this.#cached.delete(name);
    this.#cached.set(name, cached);
    let bytes = 0;
    for (const [one, { features }] of [...this.#cached].toReversed()) {
      bytes += features.byteLength;
      if (bytes > MOST_FEATURE_BYTES) this.#cached.delete(one);
    }
  }
}

/** How many rows the next request has, so that it takes about {@link WANTED_MS}. */
class RequestSize {
  rows = 8;
  readonly #most: number;

  constructor(maxBatchSize: number) {
    this.#most = Math.min(MOST_ROWS, maxBatchSize);
    this.rows = Math.min(this.rows, this.#most);
  }

  answered(rows: number, tookMs: number): void {
    if (tookMs > WANTED_MS) this.rows = Math.max(1, Math.floor(rows / 2));
    else if (rows === this.rows) this.rows = Math.min(this.#most, rows * 2);
  }
}

/**
 * How many features an output has.
 *
 * @throws {ShoalError} INVALID_REQUEST when it is not FP32 of shape `[rows, features]`.
 */
export function featureWidth(version: ModelVersion, output: string): number {
  const { outputs } = version.signature!;
  const spec = outputs.find(({ name }) => name === output);
  if (spec === undefined) {
    const names = outputs.map(({ name }) => `'${name}'`).join(', ');
    throw invalid(`model '${version.name}' has no output '${output}', only ${names}`);
  }
  const width = spec.shape[1] ?? 0;
  if (spec.datatype !== 'FP32' || spec.shape.length !== 2 || width < 1) {
    const came = `${spec.datatype} ${formatShape(spec.shape)}`;
    throw invalid(`output '${output}' of model '${version.name}' is ${came}, expected FP32 [rows, features]`);
  }
  return width;
}
