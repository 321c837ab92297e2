import type { Log } from '../serving/model-version.ts';
import type { Fields, InputValues, OutputValues } from './fields.ts';
import type { ModelHandles } from './model-types.ts';

/** Options of {@link PipelineContext.offload}. */
export interface OffloadOptions {
  /** Ends the work; the pipeline's own signal does so in any case. */
  readonly signal?: AbortSignal;
  /** Array buffers that are handed over, not copied. */
  readonly transfer?: readonly ArrayBuffer[];
}

/** What `run` is given beside its inputs. */
export interface PipelineContext {
  /** The models by name, and the other pipelines. */
  readonly models: ModelHandles;
  /** Aborted when nobody waits for the result any more: the caller left, its time is over, the server ends. */
  readonly signal: AbortSignal;
  /** When the caller stops waiting, as `Date.now()` counts. */
  readonly deadlineMs: number;
  /**
   * Runs `exportName` of a module on a pool of threads, for work that would hold the event loop for long.
   *
   * @param url of the module: `new URL('./work.js', import.meta.url)`.
   * @param value what the function is called with; copied as `structuredClone` does.
   */
  offload<R = unknown>(url: URL | string, exportName: string, value: unknown, options?: OffloadOptions): Promise<R>;
  /** Lines for the server's log, with the pipeline's name. */
  readonly log: Log;
}

/** What {@link definePipeline} takes. */
export interface PipelineOptions<I extends Fields, O extends Fields> {
  /** Under this name it is served; in a file of the pipelines folder default: the file's name. */
  readonly name?: string;
  /** One sentence for those who call it. */
  readonly description?: string;
  /** Inputs by name. */
  readonly input: I;
  /** Outputs by name. */
  readonly output: O;
  /** Models (and pipelines) that it cannot do without: it is ready when they are, and one that is missing is told at the start. */
  readonly models?: readonly string[];
  /** The pipeline itself. Every `await` of a model lets others fill the gap. */
  run(input: InputValues<I>, context: PipelineContext): Promise<OutputValues<O>> | OutputValues<O>;
}

/** A pipeline as {@link definePipeline} gives it. */
export interface Pipeline {
  readonly '~shoal': 'pipeline';
  readonly name: string | undefined;
  readonly description: string | undefined;
  readonly input: Fields;
  readonly output: Fields;
  readonly models: readonly string[];
  readonly run: (input: Readonly<Record<string, unknown>>, context: PipelineContext) => unknown;
}

/** Names that objects have of themselves; a field of such a name would be found where there is none. */
const RESERVED: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * Describes an async function over models that is served as if it were a model.
 *
 * @throws {TypeError} for what is missing or of a wrong kind.
 */
export function definePipeline<const I extends Fields, const O extends Fields>(
  options: PipelineOptions<I, O>,
): Pipeline {
  const { name, description, input, output, models = [], run } = options;
  const what = name === undefined ? 'the pipeline' : `pipeline '${name}'`;
  if (name !== undefined && typeof name !== 'string') throw new TypeError('the name of a pipeline is no string');
  if (description !== undefined && typeof description !== 'string') {
    throw new TypeError(`the description of ${what} is no string`);
  }
  if (typeof run !== 'function') throw new TypeError(`${what} has no function 'run'`);
  if (!Array.isArray(models) || models.some((model) => typeof model !== 'string')) {
    throw new TypeError(`'models' of ${what} is no array of names`);
  }
  checkFields(`'input' of ${what}`, input);
  checkFields(`'output' of ${what}`, output);
  // The compiler has seen that the function fits the fields.
  const call = run.bind(options) as unknown as Pipeline['run'];
  return { '~shoal': 'pipeline', name, description, input: { ...input }, output: { ...output }, models, run: call };
}

/** Whether a value came from {@link definePipeline}, of this copy of the package or another. */
export function isPipeline(value: unknown): value is Pipeline {
  return typeof value === 'object' && value !== null && (value as Partial<Pipeline>)['~shoal'] === 'pipeline';
}

function checkFields(what: string, fields: Fields): void {
  if (typeof fields !== 'object' || fields === null) throw new TypeError(`${what} is no object of fields`);
  const entries = Object.entries(fields);
  if (entries.length === 0) throw new TypeError(`${what} has no field`);
  for (const [name, field] of entries) {
    if (name === '' || RESERVED.has(name))
      throw new TypeError(`${what} has a field '${name}', which is no name for one`);
    if (typeof field !== 'object' || field === null) {
      throw new TypeError(`field '${name}' of ${what} is no tensor(), bytes() or schema`);
    }
  }
}
