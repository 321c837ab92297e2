import { ShoalError } from '../errors.ts';
import { LoadQueue } from './load-queue.ts';
import type { ModelSummary, ModelVersion, ServingContext } from './model-version.ts';
import { listModels, type ModelSource, scanModel } from './repository.ts';
import { type IndexEntry, type ModelHome, ServedModel } from './served-model.ts';

/** The models of a server by name; each name has its versions in rising order. */
export class ModelRegistry {
  readonly #models: Map<string, ServedModel> = new Map();
  readonly #home: ModelHome;

  /** @param sources what is to be served from the start. */
  constructor(sources: readonly ModelSource[], context: ServingContext) {
    this.#home = { context, queue: new LoadQueue(context.config.cores, context.clock), alive: new Set() };
    for (const name of new Set(sources.map((source) => source.name))) {
      this.add(name).begin(sources.filter((source) => source.name === name));
    }
  }

  /** Names of models that are loaded, loading, draining or failed; not of those that were unloaded. */
  get names(): string[] {
    return [...this.#models.values()].filter((model) => model.isPresent).map(({ name }) => name);
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
   * Every version that is known, loading ones included, by name and number; with explicit model control also models of
   * the folder that have never been loaded.
   *
   * @param readyOnly only versions that answer requests now.
   */
  async index(readyOnly: boolean): Promise<IndexEntry[]> {
    const { config } = this.#home.context;
    const entries = [...this.#models.values()].flatMap((model) => model.index());
    if (config.modelControlMode === 'explicit' && !readyOnly) {
      for (const name of await listModels(config.models).catch(() => [])) {
        if (this.#models.has(name)) continue;
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
