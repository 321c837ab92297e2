import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { invalid, ShoalError } from '../errors.ts';
import { AppendLog, type OpenFile, type RecordPlace, replaceLog } from './append-log.ts';
import {
  decodeExample,
  type Example,
  encodeExample,
  type LabelKind,
  type Labels,
  MOST_CLASSES,
} from './example-record.ts';

/** What a model may have stored. */
export interface StoreLimits {
  readonly rows: number;
  readonly bytes: number;
}

/** Most examples of a model, unless tests say otherwise. */
export const STORE_LIMITS: StoreLimits = { rows: 100_000, bytes: 1 << 30 };

/** Ids of requests that are remembered, the latest of them. */
const REMEMBERED_IDS = 65_536;

/** What is stored for a model. */
export interface ExampleCounts {
  readonly rows: number;
  readonly bytes: number;
  /** Undefined without rows. */
  readonly kind: LabelKind | undefined;
  /** Rows of each class, by number or name; empty with targets. */
  readonly classes: Readonly<Record<string, number>>;
  /** Numbers of a target; undefined with classes. */
  readonly width: number | undefined;
}

/** What storing rows came to. */
export interface Stored {
  /** Rows of this request. */
  readonly rows: number;
  /** Whether a request of this id had been stored before, so that nothing was added. */
  readonly duplicate: boolean;
}

/** The labelled rows of one model, in a file of their own. */
export class ExampleStore {
  readonly #folder: string;
  readonly #model: string;
  readonly #limits: StoreLimits;
  readonly #openFile: OpenFile | undefined;
  #log: AppendLog;
  #records: (RecordPlace & { readonly rows: number })[] = [];
  #rows = 0;
  /** Rows and bytes that are being written. */
  #pendingRows = 0;
  #pendingBytes = 0;
  #kind: LabelKind | undefined;
  #width: number | undefined;
  #classes: Map<string, number> = new Map();
  #ids: Map<string, Promise<Stored> | number> = new Map();

  private constructor(
    folder: string,
    model: string,
    limits: StoreLimits,
    openFile: OpenFile | undefined,
    log: AppendLog,
  ) {
    this.#folder = folder;
    this.#model = model;
    this.#limits = limits;
    this.#openFile = openFile;
    this.#log = log;
  }

  /**
   * Opens what is stored for a model.
   *
   * @param folder where the files of all models are; made if it is not there.
   * @param warn is told what was cut off because a crash had left it half written.
   * @throws {ShoalError} STORAGE_FAILED.
   */
  static async open(
    folder: string,
    model: string,
    warn: (message: string) => void,
    {
      limits = STORE_LIMITS,
      openFile,
    }: { readonly limits?: StoreLimits; readonly openFile?: OpenFile | undefined } = {},
  ): Promise<ExampleStore> {
    const seen: [Example, RecordPlace][] = [];
    await mkdir(folder, { recursive: true });
    const visit = (payload: Buffer, place: RecordPlace): void => {
      const { inputs: _, ...example } = decodeExample(payload);
      seen.push([{ ...example, inputs: new Map() }, place]);
    };
    const { log, tornBytes } = await AppendLog.open(path.join(folder, `${model}.log`), visit, openFile);
    if (tornBytes > 0) {
      warn(`${tornBytes} bytes at the end of ${model}.log made no whole record; they are in ${model}.log.torn now`);
    }
    const store = new ExampleStore(folder, model, limits, openFile, log);
    for (const [example, place] of seen) store.#enter(example, place);
    return store;
  }

  /** Other than before once the examples have been deleted. */
  get generation(): string {
    return this.#log.id;
  }

  get rows(): number {
    return this.#rows;
  }

  counts(): ExampleCounts {
    const classes = Object.fromEntries(
      [...this.#classes].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true })),
    );
    return { rows: this.#rows, bytes: this.#log.bytes, kind: this.#kind, classes, width: this.#width };
  }

  /**
   * Stores rows; resolves when they are on the disk. A request whose id was stored before is answered as it was then,
   * so that a caller who got no answer can send it again.
   *
   * @throws {ShoalError} INVALID_REQUEST when the labels are of another kind than those stored; STORAGE_FAILED when
   * there is no room for them, or the disk fails; QUEUE_FULL.
   */
  async add(example: Example): Promise<Stored> {
    const { id } = example;
    const known = id === undefined ? undefined : this.#ids.get(id);
    if (known !== undefined) return typeof known === 'number' ? { rows: known, duplicate: true } : await again(known);
    const storing = this.#store(example);
    if (id === undefined) return storing;
    this.#ids.set(id, storing);
    try {
      const stored = await storing;
      this.#remember(id, stored.rows);
      return stored;
    } catch (thrown) {
      this.#ids.delete(id);
      throw thrown;
    }
  }

  async #store(example: Example): Promise<Stored> {
    const { rows, labels } = example;
    this.#checkKind(labels);
    const pieces = encodeExample(example);
    const bytes = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const limits = this.#limits;
    if (this.#rows + this.#pendingRows + rows > limits.rows) {
      const text = `model '${this.#model}' has ${this.#rows} of at most ${limits.rows} examples, ${rows} more do not fit`;
      throw new ShoalError('STORAGE_FAILED', text);
    }
    if (this.#log.bytes + this.#pendingBytes + bytes > limits.bytes) {
      const text = `examples of model '${this.#model}' have ${this.#log.bytes} of at most ${limits.bytes} bytes, ${bytes} more do not fit`;
      throw new ShoalError('STORAGE_FAILED', text);
    }
    this.#pendingRows += rows;
    this.#pendingBytes += bytes;
    // Who is written first says what kind of labels there are, also to those that are written with it.
    this.#kind ??= labels.kind;
    if (labels.kind === 'targets') this.#width ??= labels.width;
    const log = this.#log;
    try {
      const place = await log.append(pieces);
      if (log !== this.#log) throw new ShoalError('CONFLICT', 'the examples were deleted while these were stored');
      this.#enter(example, place);
      return { rows, duplicate: false };
    } finally {
      this.#pendingRows -= rows;
      this.#pendingBytes -= bytes;
      if (this.#rows + this.#pendingRows === 0) {
        this.#kind = undefined;
        this.#width = undefined;
      }
    }
  }

  /**
   * What is stored now, in order; rows that come later are no part of it.
   *
   * @param rows only the first ones, which must be those of whole records.
   */
  async *read(rows: number = this.#rows): AsyncGenerator<Example> {
    const log = this.#log;
    let left = rows;
    for (const record of [...this.#records]) {
      if (left <= 0) return;
      left -= record.rows;
      yield decodeExample(await log.read(record));
    }
  }

  /** Deletes all; how many rows there were. @throws {ShoalError} STORAGE_FAILED. */
  async clear(): Promise<number> {
    const log = await replaceLog(path.join(this.#folder, `${this.#model}.log`), this.#openFile);
    const before = this.#log;
    const rows = this.#rows;
    this.#log = log;
    this.#records = [];
    this.#rows = 0;
    this.#kind = undefined;
    this.#width = undefined;
    this.#classes = new Map();
    this.#ids = new Map();
    await before.close();
    return rows;
  }

  close(): Promise<void> {
    return this.#log.close();
  }

  #enter({ id, rows, labels }: Example, place: RecordPlace): void {
    this.#records.push({ ...place, rows });
    this.#rows += rows;
    this.#kind ??= labels.kind;
    if (labels.kind === 'targets') {
      this.#width ??= labels.width;
    } else {
      for (const label of labels.kind === 'classes' ? labels.classes : labels.names) {
        const key = String(label);
        this.#classes.set(key, (this.#classes.get(key) ?? 0) + 1);
      }
    }
    if (id !== undefined) this.#remember(id, rows);
  }

  #remember(id: string, rows: number): void {
    this.#ids.set(id, rows);
    if (this.#ids.size > REMEMBERED_IDS) this.#ids.delete(this.#ids.keys().next().value!);
  }

  #checkKind(labels: Labels): void {
    if (this.#kind !== undefined && labels.kind !== this.#kind) {
      throw invalid(`the request has ${labels.kind}, the examples of model '${this.#model}' have ${this.#kind}`);
    }
    if (labels.kind === 'names') {
      const added = new Set(labels.names.filter((name) => !this.#classes.has(name))).size;
      if (this.#classes.size + added > MOST_CLASSES) {
        throw invalid(
          `model '${this.#model}' would have ${this.#classes.size + added} classes, more than ${MOST_CLASSES}`,
        );
      }
    }
    if (labels.kind === 'targets' && this.#width !== undefined && labels.width !== this.#width) {
      const known = `the examples of model '${this.#model}' have ${this.#width}`;
      throw invalid(`the request has targets of ${labels.width} numbers, ${known}`);
    }
  }
}

async function again(storing: Promise<Stored>): Promise<Stored> {
  return { ...(await storing), duplicate: true };
}
