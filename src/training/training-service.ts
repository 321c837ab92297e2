import { ShoalError } from '../errors.ts';
import type { ModelControl } from '../serving/model-control.ts';
import type { Log } from '../serving/model-version.ts';
import type { ModelRegistry } from '../serving/registry.ts';
import type { Signature } from '../tensor/signature.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { OpenFile } from './append-log.ts';
import { type Example, readExample } from './example-record.ts';
import { type ExampleCounts, ExampleStore, STORE_LIMITS, type StoreLimits } from './example-store.ts';
import type { FeatureServer } from './features.ts';
import { openTrainingFolder, type TrainingFolder } from './training-folder.ts';
import type { Turn } from './training-plan.ts';

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

/** Examples and trainings of a server's models, kept in a folder. */
export class TrainingService {
  readonly #context: TrainingContext;
  readonly #folder: TrainingFolder;
  readonly #stores: Map<string, Promise<ExampleStore>> = new Map();
  #closed: Promise<void> | undefined;

  private constructor(context: TrainingContext, folder: TrainingFolder) {
    this.#context = context;
    this.#folder = folder;
  }

  /** @throws {ServeError} TRAINING_DIR when the folder cannot be used. */
  static async open(context: TrainingContext): Promise<TrainingService> {
    return new TrainingService(context, await openTrainingFolder(context.folder));
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
    return { model, stored: rows, rows: store.rows, duplicate };
  }

  /** @throws {ShoalError} MODEL_NOT_FOUND, STORAGE_FAILED. */
  async countExamples(
    model: string,
  ): Promise<ExampleCounts & { readonly model: string; readonly limits: StoreLimits }> {
    this.#context.registry.get(model, undefined);
    const counts = (await this.#storeOf(model)).counts();
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
    return { model, deleted: await (await this.#storeOf(model)).clear() };
  }

  /** Stores what has been accepted, and lets the folder go. Repeated calls join the first. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
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
