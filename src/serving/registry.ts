import type { Reply } from '../batching/request.ts';
import { ShoalError } from '../errors.ts';
import type { Signature } from '../tensor/signature.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { InferResult } from './infer-result.ts';
import { LoadQueue } from './load-queue.ts';
import { type InferOptions, type ModelSummary, ModelVersion, type ServingContext } from './model-version.ts';
import { listModels, type ModelSource, scanModel } from './repository.ts';
import type { Servable } from './servable.ts';
import { type IndexEntry, type ModelHome, ServedModel } from './served-model.ts';

/** The models of a server by name; each name has its versions in rising order. */
export class ModelRegistry {
  readonly #models: Map<string, ServedModel> = new Map();
  readonly #home: ModelHome;
  /** What is served beside the models. */
  readonly #pipelines: Map<string, Servable> = new Map();

  /** @param sources what is to be served from the start. */
  constructor(sources: readonly ModelSource[], context: ServingContext) {
    this.#home = { context, queue: new LoadQueue(context.config.cores, context.clock), alive: new Set() };
    for (const name of new Set(sources.map((source) => source.name))) {
      this.add(name).begin(sources.filter((source) => source.name === name));
    }
  }

  /** Names of models that are loaded, loading, draining or failed, not of those that were unloaded; and of pipelines. */
  get names(): string[] {
    const models = [...this.#models.values()].filter((model) => model.isPresent).map(({ name }) => name);
    return [...models, ...this.#pipelines.keys()];
  }

  /** What is served beside the models, in the order in which it was added. */
  get pipelines(): readonly Servable[] {
    return [...this.#pipelines.values()];
  }

  /** Serves a pipeline under its name, which no model has and none can take from now on. */
  addPipeline(pipeline: Servable): void {
    this.#pipelines.set(pipeline.name, pipeline);
  }

  /** See {@link Servable.opaque}; for the inputs of what has this name. */
  opaqueInputs(name: string): ReadonlySet<string> | undefined {
    return this.#pipelines.size === 0 ? undefined : this.#pipelines.get(name)?.opaque?.inputs;
  }

  /** What a name stands for; a model where nothing is known of it. */
  kindOf(name: string): Servable['kind'] {
    return this.#pipelines.has(name) ? 'pipeline' : 'model';
  }

  /** Loads what is to be served from the start, the highest version of each model first; resolves when each is ready or failed. */
  async load(): Promise<void> {
    const byRank = [...this.#models.values()].flatMap(({ versions }) =>
      versions.toReversed().map((version, rank) => ({ version, rank })),
    );
    byRank.sort((a, b) => a.rank - b.rank);
    await this.#home.queue.load(byRank.map(({ version }) => version));
  }

  /** The model of this name, if it was loaded or tried at any time. */
  find(name: string): ServedModel | undefined {
    return this.#models.get(name);
  }

  /** The model of this name, new and empty if it is not there. */
  add(name: string): ServedModel {
    let model = this.#models.get(name);
    if (model === undefined) {
      model = new ServedModel(name, this.#home);
      this.#models.set(name, model);
    }
    return model;
  }

  /**
   * Loads a version that nobody is sent to, to try it; resolves when it is ready or failed.
   *
   * @returns it, and what lets it go.
   */
  async tryOut(source: ModelSource): Promise<{ readonly version: ModelVersion; readonly end: () => Promise<void> }> {
    const { alive, context, queue } = this.#home;
    const version = new ModelVersion(source, context);
    alive.add(version);
    await queue.load([version]);
    const end = async (): Promise<void> => {
      await version.unload();
      alive.delete(version);
      context.released(version);
    };
    return { version, end };
  }

  /** Forgets a model of which nothing is left. */
  forget(name: string): void {
    if (this.#models.get(name)?.isPresent === false) this.#models.delete(name);
  }

  all(): ModelVersion[] {
    return [...this.#models.values()].flatMap(({ versions }) => versions);
  }

  /**
   * The versions of a model.
   *
   * @throws {ShoalError} MODEL_NOT_FOUND.
   */
  versions(name: string): readonly ModelVersion[] {
    const model = this.#models.get(name);
    if (model === undefined) throw new ShoalError('MODEL_NOT_FOUND', `there is no model '${name}'`);
    return model.versions;
  }

  /**
   * The version a request is for: the one named, or else the highest that is ready (or will be, when none is).
   *
   * @throws {ShoalError} MODEL_NOT_FOUND.
   */
  get(name: string, version: string | undefined): ModelVersion {
    const versions = this.versions(name);
    if (version === undefined) return versions.findLast((one) => one.isReady) ?? versions.at(-1)!;
    const found = versions.find((one) => one.version === version);
    if (found !== undefined) return found;
    const known = versions.map((one) => one.version).join(', ');
    throw new ShoalError('MODEL_NOT_FOUND', `model '${name}' has no version '${version}', only ${known}`);
  }

  /**
   * What answers requests for a name: {@link get} of a model, or a pipeline.
   *
   * @throws {ShoalError} MODEL_NOT_FOUND.
   */
  servable(name: string, version: string | undefined): Servable {
    const pipeline = this.#pipelines.size === 0 ? undefined : this.#pipelines.get(name);
    if (pipeline === undefined) return this.get(name, version);
    if (version === undefined || version === pipeline.version) return pipeline;
    throw new ShoalError('MODEL_NOT_FOUND', `pipeline '${name}' has no version '${version}', only ${pipeline.version}`);
  }

  /** {@link versions} of a model, or a pipeline, which has one. @throws {ShoalError} MODEL_NOT_FOUND. */
  servables(name: string): readonly Servable[] {
    const pipeline = this.#pipelines.get(name);
    return pipeline === undefined ? this.versions(name) : [pipeline];
  }

  /**
   * Runs a model or a pipeline as a request from outside would.
   *
   * @param inputs by name; their bytes must not change until the promise has settled.
   * @throws {ShoalError} MODEL_NOT_FOUND, and what {@link Servable.submit} throws and rejects with.
   */
  async infer(
    name: string,
    inputs: Readonly<Record<string, Tensor>>,
    options: InferOptions & { readonly version?: string | undefined } = {},
  ): Promise<InferResult> {
    const servable = this.servable(name, options.version);
    let reply: Reply;
    try {
      reply = await servable.infer(new Map(Object.entries(inputs ?? {})), options);
    } catch (thrown) {
      // While it waited for room, another version took the place of this one.
      const isRefused = thrown instanceof ShoalError && thrown.code === 'MODEL_NOT_READY';
      if (options.whenFull !== 'wait' || !isRefused || !this.#isReplaced(servable, options.version)) throw thrown;
      return this.infer(name, inputs, options);
    }
    const { outputs, batch, costMs, stamps } = reply;
    const { version, signature } = servable;
    const names = options.outputs?.length ? options.outputs : signature!.outputs.map((spec) => spec.name);
    const named = Object.fromEntries(names.map((output, i) => [output, outputs[i]!]));
    return { model: name, version, outputs: named, rows: rowsOf(signature!, inputs), batch, costMs, stamps };
  }

  #isReplaced(before: Servable, asked: string | undefined): boolean {
    const versions = this.find(before.name)?.versions ?? [];
    return versions.some((one) => one !== before && one.isReady && (asked === undefined || one.version === asked));
  }

  /**
   * Every version that is known, loading ones included, by name and number; with explicit model control also models of
   * the folder that have never been loaded.
   *
   * @param readyOnly only versions that answer requests now.
   */
  async index(readyOnly: boolean): Promise<IndexEntry[]> {
    const { config } = this.#home.context;
    const entries = [...this.#models.values()].flatMap((model) => model.index());
    for (const pipeline of this.#pipelines.values()) {
      const { name, version, state, isReady } = pipeline;
      entries.push({ name, version, state, isReady, reason: isReady ? '' : pipeline.notReady().message });
    }
    if (config.modelControlMode === 'explicit' && !readyOnly) {
      for (const name of await listModels(config.models).catch(() => [])) {
        if (this.#models.has(name) || this.#pipelines.has(name)) continue;
        const sources = await scanModel(config.models, name).catch(() => []);
        if (sources.length > 0)
          entries.push({ name, version: undefined, state: 'absent', isReady: false, reason: 'not loaded' });
      }
    }
    const chosen = readyOnly ? entries.filter((entry) => entry.isReady) : entries;
    return chosen.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  }

  /** Why the models do not make the server ready: those that should serve and have no ready version. Empty when all have one. */
  unready(): string[] {
    const reasons: string[] = [];
    for (const { name, isWanted, versions } of this.#models.values()) {
      if (!isWanted || versions.some((version) => version.isReady)) continue;
      reasons.push(`model '${name}' is ${versions.at(-1)!.state}`);
    }
    for (const pipeline of this.#pipelines.values()) if (!pipeline.isReady) reasons.push(pipeline.notReady().message);
    return reasons;
  }

  summary(): ModelSummary[] {
    return this.all().map((version) => version.summary());
  }

  /** Ends the loading of versions that are to take the place of others. */
  abandonLoads(): void {
    for (const model of this.#models.values()) model.abandon();
  }

  /** See {@link ModelVersion.drain}; versions that have been replaced or unloaded and are not done are included. */
  async drain(): Promise<void> {
    await Promise.all([...this.#home.alive].map((version) => version.drain()));
  }

  close(): void {
    for (const version of this.#home.alive) version.close();
  }

  kill(): void {
    for (const version of this.#home.alive) version.kill();
  }
}

/** How many rows a request has that was taken. */
function rowsOf({ batched, inputs: specs }: Signature, inputs: Readonly<Record<string, Tensor>>): number {
  const spec = batched ? specs.find(({ batchAxis }) => batchAxis !== null) : undefined;
  return spec === undefined ? 1 : inputs[spec.name]!.shape[spec.batchAxis!]!;
}
