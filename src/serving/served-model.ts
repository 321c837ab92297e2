import { isDeepStrictEqual } from 'node:util';
import { ShoalError } from '../errors.ts';
import type { LoadQueue } from './load-queue.ts';
import { type ModelState, ModelVersion, type ServingContext } from './model-version.ts';
import type { ModelSource } from './repository.ts';

/** A model version, or a model that lies in the folder and has never been loaded: then there is no version. */
export interface IndexEntry {
  readonly name: string;
  readonly version: string | undefined;
  readonly state: ModelState | 'absent';
  /** Whether a request to it would be answered now. */
  readonly isReady: boolean;
  /** Why it is not; empty where nothing is known. */
  readonly reason: string;
}

/** What a {@link ServedModel} shares with the others of its registry. */
export interface ModelHome {
  readonly context: ServingContext;
  readonly queue: LoadQueue;
  /** Every version that may have executors. */
  readonly alive: Set<ModelVersion>;
}

/**
 * A model: the versions that requests go to, and how they are exchanged for others. Its operations must not overlap;
 * who calls them waits for one before the next.
 */
export class ServedModel {
  readonly name: string;
  readonly #home: ModelHome;
  #versions: readonly ModelVersion[] = [];
  #candidates: readonly ModelVersion[] = [];
  #isWanted = false;

  constructor(name: string, home: ModelHome) {
    this.name = name;
    this.#home = home;
  }

  /** The versions in rising order, one for each number; those that were unloaded last among them. */
  get versions(): readonly ModelVersion[] {
    return this.#versions;
  }

  /** Versions that are loading to take the place of others. */
  get candidates(): readonly ModelVersion[] {
    return this.#candidates;
  }

  /** Whether it has been loaded, or should have been at the start, and has not been unloaded since. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  /** Whether there is anything of it but what was unloaded. */
  get isPresent(): boolean {
    return this.#versions.some((version) => version.state !== 'unloaded');
  }

  /** Takes the versions that are to be served from the start; they still have to be loaded. */
  begin(sources: readonly ModelSource[]): void {
    this.#isWanted = true;
    this.#place(sources.map((source) => this.#create(source)));
  }

  /** Resolves when none of its versions is loading. */
  async settle(): Promise<void> {
    await Promise.all(this.#versions.map((version) => version.load()));
  }

  /**
   * Exchanges the versions for those of `sources`. One that is ready and whose files have not changed is kept. If the
   * model serves, all others become ready before any of them takes its place, and if one fails, all stays as it is; if
   * the model does not serve, each version does as soon as it is ready, as at the start.
   *
   * @param force also versions whose files have not changed.
   * @throws {ShoalError} LOAD_FAILED when a version failed, SHUTTING_DOWN when the server ended meanwhile.
   */
  async reload(sources: readonly ModelSource[], force: boolean): Promise<void> {
    await this.settle();
    const serves = this.#versions.some(({ state }) => state === 'ready');
    const next = sources.map((source) => this.#keep(source, force) ?? this.#create(source));
    const fresh = next.filter((version) => !this.#versions.includes(version));
    this.#candidates = fresh;
    if (!serves) this.#place(next);
    await this.#home.queue.load(fresh.toReversed());
    this.#candidates = [];
    const failed = fresh.filter(({ state }) => state !== 'ready');
    if (failed.length === 0) {
      this.#isWanted = true;
      if (serves) this.#place(next);
      return;
    }
    const failure = this.#failure(failed);
    if (serves) this.#giveUp(fresh, failed);
    else if (next.some(({ state }) => state === 'ready')) this.#isWanted = true;
    throw failure;
  }

  /** What is known of its versions, loading ones included, in rising order of their numbers. */
  index(): IndexEntry[] {
    const serving = this.#versions.filter(({ state }) => state === 'ready');
    const loading = this.#candidates.filter((one) => serving.every(({ version }) => version !== one.version));
    const rest = this.#versions.filter((one) => loading.every(({ version }) => version !== one.version));
    const shown = [...loading, ...rest].sort((a, b) => Number(a.version) - Number(b.version));
    return shown.map((one) => {
      const { name, version, state, isReady } = one;
      return { name, version, state, isReady, reason: isReady ? '' : (one.summary().reason ?? '') };
    });
  }

  /** Takes no more requests; resolves when all accepted ones are settled and the executors have been let go. */
  async unload(): Promise<void> {
    this.#isWanted = false;
    await Promise.all(this.#versions.map((version) => this.#retire(version)));
  }

  /** Ends the loading of versions that are to take the place of others. */
  abandon(): void {
    for (const version of this.#candidates) version.close();
  }

  #keep(source: ModelSource, force: boolean): ModelVersion | undefined {
    if (force) return undefined;
    return this.#versions.find(
      (one) =>
        one.version === source.version &&
        one.state === 'ready' &&
        one.source.fingerprint === source.fingerprint &&
        isDeepStrictEqual(one.settings, source.settings),
    );
  }

  #create(source: ModelSource): ModelVersion {
    const version = new ModelVersion(source, this.#home.context);
    this.#home.alive.add(version);
    return version;
  }

  /** Has requests go to these versions; those before them finish what they have accepted. */
  #place(versions: readonly ModelVersion[]): void {
    const before = this.#versions;
    this.#versions = versions.toSorted((a, b) => Number(a.version) - Number(b.version));
    for (const version of versions) this.#home.context.placed(version);
    for (const version of before) if (!versions.includes(version)) void this.#retire(version);
  }

  /** Lets new versions go; of those that failed, what became of them is kept where nothing else has their number. */
  #giveUp(fresh: readonly ModelVersion[], failed: readonly ModelVersion[]): void {
    const serving = this.#versions.filter(({ state }) => state === 'ready');
    const noted = failed.filter(({ version }) => serving.every((one) => one.version !== version));
    this.#place([...serving, ...noted]);
    for (const version of fresh) if (!noted.includes(version)) void this.#retire(version);
  }

  async #retire(version: ModelVersion): Promise<void> {
    await version.unload();
    this.#home.alive.delete(version);
    this.#home.context.released(version);
  }

  #failure(failed: readonly ModelVersion[]): ShoalError {
    const gone = failed.find(({ state }) => state !== 'failed');
    if (gone !== undefined) {
      return new ShoalError('SHUTTING_DOWN', `the server is shutting down; model '${this.name}' was not loaded`);
    }
    // A configuration can fail all of them for the same reason.
    const byReason = new Map<string, string[]>();
    for (const one of failed) {
      const reason = one.summary().reason ?? '';
      byReason.set(reason, [...(byReason.get(reason) ?? []), one.version]);
    }
    const reasons = [...byReason].map(([reason, versions]) => `version ${versions.join(', ')}: ${reason}`);
    const serving = this.#versions.filter(({ state }) => state === 'ready').map(({ version }) => version);
    const rest = serving.length === 0 ? '' : `; serving: version ${serving.join(', ')}`;
    return new ShoalError('LOAD_FAILED', `model '${this.name}' was not loaded: ${reasons.join('; ')}${rest}`);
  }
}
