import { ShoalError } from '../errors.ts';
import { type ModelSummary, ModelVersion, type ServingContext } from './model-version.ts';
import type { ModelSource } from './repository.ts';

/** After this long a model that is still loading has one more load beside it. */
const PATIENCE_MS = 5000;

/** The models of a server by name; each name has its versions in rising order. */
export class ModelRegistry {
  readonly #models: Map<string, ModelVersion[]> = new Map();
  readonly #context: ServingContext;

  constructor(sources: readonly ModelSource[], context: ServingContext) {
    this.#context = context;
    for (const source of sources) {
      const versions = this.#models.get(source.name) ?? [];
      versions.push(new ModelVersion(source, context));
      this.#models.set(source.name, versions);
    }
    for (const versions of this.#models.values()) versions.sort((a, b) => Number(a.version) - Number(b.version));
  }

  get names(): string[] {
    return [...this.#models.keys()];
  }

  /**
   * Loads all versions, the highest of each model first; resolves when each is ready or failed. About as many load at
   * a time as there are cores, or all would take as long as the last; one that takes long does not hold up the others.
   */
  async load(): Promise<void> {
    const { clock, config } = this.#context;
    const byRank = [...this.#models.values()].flatMap((versions) =>
      versions.toReversed().map((version, rank) => ({ version, rank })),
    );
    byRank.sort((a, b) => a.rank - b.rank);
    const loads: Promise<void>[] = [];
    const work = async (): Promise<void> => {
      for (let next = byRank.shift(); next !== undefined; next = byRank.shift()) {
        const load = next.version.load();
        loads.push(load);
        const patience = new Promise<void>((resolve) => void clock.setTimer(PATIENCE_MS, resolve));
        await Promise.race([load, patience]);
      }
    };
    await Promise.all(Array.from({ length: Math.max(2, config.cores) }, work));
    await Promise.all(loads);
  }

  all(): ModelVersion[] {
    return [...this.#models.values()].flat();
  }

  /**
   * The versions of a model.
   *
   * @throws {ShoalError} MODEL_NOT_FOUND.
   */
  versions(name: string): readonly ModelVersion[] {
    const versions = this.#models.get(name);
    if (versions === undefined) throw new ShoalError('MODEL_NOT_FOUND', `there is no model '${name}'`);
    return versions;
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

  /** Why the models do not make the server ready: those that have no ready version. Empty when all have one. */
  unready(): string[] {
    const reasons: string[] = [];
    for (const [name, versions] of this.#models) {
      if (versions.some((version) => version.isReady)) continue;
      reasons.push(`model '${name}' is ${versions.at(-1)!.state}`);
    }
    return reasons;
  }

  summary(): ModelSummary[] {
    return this.all().map((version) => version.summary());
  }

  /** See {@link ModelVersion.drain}. */
  async drain(): Promise<void> {
    await Promise.all(this.all().map((version) => version.drain()));
  }

  close(): void {
    for (const version of this.all()) version.close();
  }

  kill(): void {
    for (const version of this.all()) version.kill();
  }
}
