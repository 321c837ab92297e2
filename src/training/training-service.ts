import { invalid, ShoalError } from '../errors.ts';
import type { ModelControl } from '../serving/model-control.ts';
import type { Log, ModelVersion } from '../serving/model-version.ts';
import type { ModelRegistry } from '../serving/registry.ts';
import type { Signature } from '../tensor/signature.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type OpenFile, storageFailed } from './append-log.ts';
import { EventRing } from './event-ring.ts';
import { type Example, readExample } from './example-record.ts';
import { type ExampleCounts, ExampleStore, STORE_LIMITS, type StoreLimits } from './example-store.ts';
import { FeatureCache, featureWidth } from './feature-cache.ts';
import type { FeatureServer } from './features.ts';
import { Publisher, type PublisherContext } from './publisher.ts';
import { openTrainingFolder, type TrainingFolder } from './training-folder.ts';
import type { Checkpoint, Turn } from './training-plan.ts';
import { isRunning, TrainingFiles, type TrainingRecord, type TrainingState } from './training-record.ts';
import type { TrainingRequest } from './training-request.ts';
import { TrainingRun } from './training-run.ts';

/** What a {@link TrainingService} works with. */
export interface TrainingContext {
  /** `--training-dir`. */
  readonly folder: string;
  /** The models folder. */
  readonly models: string;
  readonly registry: ModelRegistry;
  readonly control: ModelControl;
  readonly server: FeatureServer;
  readonly turn: Turn;
  readonly log: Log;
  /** @internal For tests. */
  readonly limits?: StoreLimits | undefined;
  /** @internal For tests: how files of examples are opened. */
  readonly openFile?: OpenFile | undefined;
  /** @internal For tests: how a version's folder is made. */
  readonly makeFolder?: PublisherContext['makeFolder'];
}

/** The reply to labelled rows. */
export interface ExamplesStored {
  readonly model: string;
  /** Rows of this request. */
  readonly stored: number;
  /** Rows that the model has now. */
  readonly rows: number;
  /** Whether a request of this id had been stored before, so that nothing was added. */
  readonly duplicate: boolean;
}

/** Trainings at a time, of different models. */
const MOST_RUNNING = 4;

/** Trainings that are remembered; of more than these the oldest that are over are forgotten. */
const MOST_REMEMBERED = 100;

/** What the metrics say of a model's trainings, since the server was started. */
export interface TrainingMeters {
  readonly model: string;
  /** Rows stored; undefined before anybody has asked for them. */
  examples: number | undefined;
  steps: number;
  /** Rows that steps were made with. */
  rows: number;
  computeMs: number;
  waitMs: number;
  /** Of the last step. */
  loss: number | undefined;
  /** Of the latest training. */
  state: TrainingState | undefined;
  published: number;
}

/** Examples and trainings of a server's models, kept in a folder. */
export class TrainingService {
  readonly #context: TrainingContext;
  readonly #folder: TrainingFolder;
  readonly #files: TrainingFiles;
  readonly #features: FeatureCache;
  readonly #publisher: Publisher;
  readonly #stores: Map<string, Promise<ExampleStore>> = new Map();
  /** All that are remembered, oldest first. */
  readonly #records: Map<string, TrainingRecord> = new Map();
  readonly #runs: Map<string, TrainingRun> = new Map();
  readonly #rings: Map<string, EventRing> = new Map();
  readonly #meters: Map<string, TrainingMeters> = new Map();
  /** Models of which a training is about to begin, or whose examples are being deleted. */
  readonly #busy: Set<string> = new Set();
  #lastId = 0;
  #isStopping = false;
  #closed: Promise<void> | undefined;

  private constructor(context: TrainingContext, folder: TrainingFolder) {
    const { models, registry, control, log, server, turn, makeFolder } = context;
    this.#context = context;
    this.#folder = folder;
    this.#files = new TrainingFiles(folder.trainings);
    this.#features = new FeatureCache(server, turn);
    this.#publisher = new Publisher({ models, notes: folder.published, registry, control, log, makeFolder });
  }

  /** @throws {ServeError} TRAINING_DIR when the folder cannot be used. */
  static async open(context: TrainingContext): Promise<TrainingService> {
    const service = new TrainingService(context, await openTrainingFolder(context.folder));
    await service.#recover();
    return service;
  }

  /** Takes up what an earlier server has left. */
  async #recover(): Promise<void> {
    for (const record of await this.#files.readAll()) {
      this.#lastId = Math.max(this.#lastId, Number(record.id));
      this.#records.set(record.id, record);
      if (!isRunning(record)) continue;
      await this.#publisher.clean(record.request.model, record.id);
      const { publication } = record;
      const version = publication?.version ?? undefined;
      const isPublished = version !== undefined && (await this.#publisher.isThere(record.request.model, version));
      const reason = `version ${version} was published just before the server ended`;
      const next: TrainingRecord = isPublished
        ? { ...record, state: 'finished', publication: { ...publication!, outcome: 'published', reason } }
        : { ...record, state: 'interrupted', publication: null };
      await this.#write(next);
    }
  }

  /** Trainings that are remembered, oldest first. */
  list(): TrainingRecord[] {
    return [...this.#records.values()];
  }

  /** @throws {ShoalError} NOT_FOUND. */
  get(id: string): TrainingRecord {
    const record = this.#records.get(id);
    if (record === undefined) throw new ShoalError('NOT_FOUND', `there is no training '${id.slice(0, 40)}'`);
    return record;
  }

  /** What happened in a training since the server was started, and is happening. @throws {ShoalError} NOT_FOUND. */
  eventsOf(id: string): EventRing {
    this.get(id);
    return this.#ringOf(id);
  }

  /** Where the result of a training lies, once it is finished. @throws {ShoalError} NOT_FOUND, CONFLICT. */
  modelFileOf(id: string): string {
    const { state } = this.get(id);
    if (state !== 'finished') throw new ShoalError('CONFLICT', `training ${id} is ${state} and has no result`);
    return this.#files.modelOf(id);
  }

  /**
   * Begins to train a head on the examples that a model has now.
   *
   * @throws {ShoalError} MODEL_NOT_FOUND, MODEL_NOT_READY; INVALID_REQUEST when the model has no such output or no
   * examples; CONFLICT when it is being trained already, others are, or its versions cannot be published.
   */
  async start(request: TrainingRequest): Promise<TrainingRecord> {
    const { model, features, publish, output } = request;
    const version = this.#readyVersion(model, request.version);
    featureWidth(version, features);
    if (publish) this.#publisher.check(version, output);
    return this.#begin(model, async (store) => {
      if (store.rows === 0) throw invalid(`model '${model}' has no examples`);
      const now = new Date().toISOString();
      const record: TrainingRecord = {
        id: String(++this.#lastId),
        request,
        state: 'collecting',
        reason: null,
        version: version.version,
        rows: store.rows,
        generation: store.generation,
        createdAt: now,
        updatedAt: now,
        classes: null,
        progress: null,
        heldBack: null,
        publication: null,
      };
      await this.#forgetOld();
      await this.#write(record);
      return this.#run(record, version, store);
    });
  }

  /**
   * Goes on with a training that was stopped or interrupted, from its last checkpoint; the result is the same as if it
   * had not been.
   *
   * @throws {ShoalError} NOT_FOUND; CONFLICT when it is in another state, or its examples have been deleted.
   */
  async resume(id: string): Promise<TrainingRecord> {
    const { request, version: number, state } = this.get(id);
    if (state !== 'stopped' && state !== 'interrupted') {
      throw new ShoalError('CONFLICT', `training ${id} is ${state}, only one that was stopped or interrupted goes on`);
    }
    const version = this.#readyVersion(request.model, number);
    featureWidth(version, request.features);
    if (request.publish) this.#publisher.check(version, request.output);
    return this.#begin(request.model, async (store) => {
      const record = this.get(id);
      if (store.generation !== record.generation || store.rows < record.rows) {
        throw new ShoalError('CONFLICT', `the examples of training ${id} have been deleted`);
      }
      const checkpoint = await this.#files.readCheckpoint(id);
      // Whoever reads its events again is not told first that it is over.
      this.#rings.delete(id);
      const next: TrainingRecord = { ...record, state: 'collecting', publication: null };
      this.#records.set(id, next);
      return this.#run(next, version, store, checkpoint);
    });
  }

  /** Stops a training; resolves when it has. One that is over is forgotten. @throws {ShoalError} NOT_FOUND. */
  async stop(id: string): Promise<{ readonly record: TrainingRecord; readonly isForgotten: boolean }> {
    const record = this.get(id);
    const run = this.#runs.get(id);
    if (run !== undefined) {
      await run.stop('stopped');
      return { record: this.get(id), isForgotten: false };
    }
    await this.#forget(id);
    return { record, isForgotten: true };
  }

  /** See {@link Publisher.rollBack}. */
  rollBack(model: string): Promise<{ readonly removed: string; readonly version: string }> {
    return this.#publisher.rollBack(model);
  }

  /** What the metrics read. */
  meters(): Iterable<TrainingMeters> {
    return this.#meters.values();
  }

  #readyVersion(model: string, number: string | undefined): ModelVersion {
    if (this.#isStopping) throw new ShoalError('SHUTTING_DOWN', 'the server is shutting down');
    const version = this.#context.registry.get(model, number);
    if (version.signature === undefined || version.state !== 'ready') throw version.notReady();
    return version;
  }

  /** Lets one training of a model begin at a time. */
  async #begin(model: string, begin: (store: ExampleStore) => Promise<TrainingRecord>): Promise<TrainingRecord> {
    this.#checkIdle(model);
    if (this.#runs.size + this.#busy.size >= MOST_RUNNING) {
      throw new ShoalError('CONFLICT', `${MOST_RUNNING} models are being trained, which is the most at a time`);
    }
    this.#busy.add(model);
    try {
      return await begin(await this.#storeOf(model));
    } finally {
      this.#busy.delete(model);
    }
  }

  #checkIdle(model: string): void {
    for (const { record } of this.#runs.values()) {
      if (record.request.model !== model) continue;
      throw new ShoalError('CONFLICT', `model '${model}' is being trained already, by training ${record.id}`);
    }
    if (this.#busy.has(model)) throw new ShoalError('CONFLICT', `model '${model}' is about to be trained already`);
  }

  #run(record: TrainingRecord, version: ModelVersion, store: ExampleStore, resume?: Checkpoint): TrainingRecord {
    const { turn, log } = this.#context;
    const { id } = record;
    const { model } = record.request;
    const meters = this.#metersOf(model);
    const run = new TrainingRun(
      record,
      {
        version,
        store,
        features: this.#features,
        publisher: this.#publisher,
        files: this.#files,
        turn,
        changed: (next) => {
          this.#records.set(id, next);
          meters.state = next.state;
        },
        stepped: (loss, rows, computeMs, waitMs) => {
          meters.steps++;
          meters.rows += rows;
          meters.computeMs += computeMs;
          meters.waitMs += waitMs;
          meters.loss = loss;
        },
      },
      this.#ringOf(id),
      resume,
    );
    this.#runs.set(id, run);
    void run.done.then(() => {
      this.#runs.delete(id);
      this.#records.set(id, run.record);
      const { state, reason, publication } = run.record;
      if (publication?.outcome === 'published') meters.published++;
      log.info({ model, training: id, reason, publication }, `training ${id} of model '${model}' is ${state}`);
    });
    return run.record;
  }

  #ringOf(id: string): EventRing {
    let ring = this.#rings.get(id);
    if (ring === undefined) {
      ring = new EventRing();
      const { state, reason, publication } = this.get(id);
      if (!this.#runs.has(id) && !isRunning({ state })) ring.add('state', { state, reason, publication });
      this.#rings.set(id, ring);
    }
    return ring;
  }

  #metersOf(model: string): TrainingMeters {
    let meters = this.#meters.get(model);
    if (meters === undefined) {
      const none = { examples: undefined, loss: undefined, state: undefined };
      meters = { model, ...none, steps: 0, rows: 0, computeMs: 0, waitMs: 0, published: 0 };
      this.#meters.set(model, meters);
    }
    return meters;
  }

  async #write(record: TrainingRecord): Promise<void> {
    try {
      await this.#files.write(record);
    } catch (thrown) {
      throw storageFailed('the training cannot be noted', thrown);
    }
    this.#records.set(record.id, record);
  }

  async #forgetOld(): Promise<void> {
    const over = this.list().filter(({ id }) => !this.#runs.has(id));
    const surplus = this.#records.size - (MOST_REMEMBERED - 1);
    for (const { id } of over.slice(0, Math.max(0, surplus))) await this.#forget(id);
  }

  async #forget(id: string): Promise<void> {
    this.#records.delete(id);
    this.#rings.delete(id);
    await this.#files.remove(id);
  }

  /**
   * What a model takes.
   *
   * @throws {ShoalError} MODEL_NOT_FOUND, or MODEL_NOT_READY while that is not known.
   */
  signatureOf(model: string): Signature {
    const version = this.#context.registry.get(model, undefined);
    if (version.signature === undefined || version.state === 'unloaded') throw version.notReady();
    return version.signature;
  }

  /**
   * Stores labelled rows; resolves when they are on the disk. See {@link readExample} for what the tensors are.
   *
   * @param id of the request; one that was stored before is not stored again.
   * @throws {ShoalError} what {@link readExample}, {@link ExampleStore.add} and {@link signatureOf} throw.
   */
  async addExamples(
    model: string,
    tensors: ReadonlyMap<string, Tensor>,
    id: string | undefined,
  ): Promise<ExamplesStored> {
    const { maxBatchSize } = this.#context.registry.get(model, undefined);
    const example = await readExample(model, this.signatureOf(model), maxBatchSize, tensors, id);
    const store = await this.#storeOf(model);
    const { rows, duplicate } = await store.add(example);
    this.#metersOf(model).examples = store.rows;
    return { model, stored: rows, rows: store.rows, duplicate };
  }

  /** @throws {ShoalError} MODEL_NOT_FOUND, STORAGE_FAILED. */
  async countExamples(
    model: string,
  ): Promise<ExampleCounts & { readonly model: string; readonly limits: StoreLimits }> {
    this.#context.registry.get(model, undefined);
    const counts = (await this.#storeOf(model)).counts();
    this.#metersOf(model).examples = counts.rows;
    return { model, ...counts, limits: this.#context.limits ?? STORE_LIMITS };
  }

  /** What is stored for a model now, in order. @throws {ShoalError} MODEL_NOT_FOUND, STORAGE_FAILED. */
  async *readExamples(model: string): AsyncGenerator<Example> {
    this.#context.registry.get(model, undefined);
    yield* (await this.#storeOf(model)).read();
  }

  /** Deletes the examples of a model. @throws {ShoalError} MODEL_NOT_FOUND, CONFLICT, STORAGE_FAILED. */
  async deleteExamples(model: string): Promise<{ readonly model: string; readonly deleted: number }> {
    this.#context.registry.get(model, undefined);
    this.#checkIdle(model);
    this.#busy.add(model);
    try {
      const deleted = await (await this.#storeOf(model)).clear();
      this.#metersOf(model).examples = 0;
      return { model, deleted };
    } finally {
      this.#busy.delete(model);
    }
  }

  /** Begins no more trainings and interrupts those that are under way; they can go on when the server is there again. */
  interrupt(): void {
    this.#isStopping = true;
    for (const run of this.#runs.values()) void run.stop('interrupted');
  }

  /** Stores what has been accepted, and lets the folder go. Repeated calls join the first. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.interrupt();
    await Promise.all([...this.#runs.values()].map(({ done }) => done));
    const stores = await Promise.allSettled(this.#stores.values());
    await Promise.all(stores.map((store) => (store.status === 'fulfilled' ? store.value.close() : undefined)));
    await this.#folder.release();
  }

  /** @param model the name of a model that is known, which therefore is one segment of a path. */
  #storeOf(model: string): Promise<ExampleStore> {
    if (this.#closed !== undefined) throw new ShoalError('SHUTTING_DOWN', 'the server is shutting down');
    let store = this.#stores.get(model);
    if (store === undefined) {
      const { log, limits = STORE_LIMITS, openFile } = this.#context;
      const warn = (message: string): void => log.warn({ model }, message);
      store = ExampleStore.open(this.#folder.examples, model, warn, { limits, openFile });
      this.#stores.set(model, store);
      // Tried again when it is next asked for.
      store.catch(() => this.#stores.delete(model));
    }
    return store;
  }
}
