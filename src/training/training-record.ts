import { readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { writeWhole } from './training-folder.ts';
import type { Checkpoint } from './training-plan.ts';
import type { TrainingRequest } from './training-request.ts';

/**
 * Where a training stands: its examples are sent through the model; steps are made; the result is written, compared and
 * published; and how it ended. What was stopped or interrupted can go on.
 */
export const TRAINING_STATES = [
  'collecting',
  'training',
  'publishing',
  'finished',
  'stopped',
  'failed',
  'interrupted',
] as const;
export type TrainingState = (typeof TRAINING_STATES)[number];

/** How well something does on the examples that were held back. */
export interface Score {
  /** Share of the rows that are right; null with targets. */
  readonly accuracy: number | null;
  /** Cross-entropy where the numbers are probabilities, squared error with targets; null otherwise. */
  readonly loss: number | null;
}

/** What became of a result that was to be published. */
export interface Publication {
  readonly outcome: 'publishing' | 'published' | 'not better' | 'failed';
  /** The new version; null where there is none. */
  readonly version: string | null;
  /** One sentence. */
  readonly reason: string;
  /** The new model, run as it would be served. */
  readonly candidate: Score | null;
  /** The version that served, on the same examples; null where it has no such output. */
  readonly serving: (Score & { readonly version: string }) | null;
}

/** How far a training has come. */
export interface Progress {
  readonly step: number;
  /** Steps at most. */
  readonly steps: number;
  readonly epoch: number;
  readonly loss: number;
  readonly accuracy: number | null;
  /** Rows used, repetitions counted. */
  readonly examples: number;
  readonly computeMs: number;
  readonly waitMs: number;
}

/** What is known of a training; kept in a file of JSON. */
export interface TrainingRecord {
  readonly id: string;
  readonly request: TrainingRequest;
  readonly state: TrainingState;
  /** Why it failed. */
  readonly reason: string | null;
  /** The version whose output is learned from. */
  readonly version: string;
  /** Rows of the examples that are used, the first ones; and which examples these are. */
  readonly rows: number;
  readonly generation: string;
  readonly createdAt: string;
  readonly updatedAt: string;
  /** Names of the classes in order; null where they are numbers, or there are none. */
  readonly classes: readonly string[] | null;
  readonly progress: Progress | null;
  readonly heldBack: (Score & { readonly rows: number }) | null;
  readonly publication: Publication | null;
}

/** Whether a training is under way. */
export function isRunning({ state }: Pick<TrainingRecord, 'state'>): boolean {
  return state === 'collecting' || state === 'training' || state === 'publishing';
}

/** The files of trainings. */
export class TrainingFiles {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Where the result of a training lies. */
  modelOf(id: string): string {
    return path.join(this.#folder, `${id}.onnx`);
  }

  /** All trainings that are remembered, oldest first; what cannot be read is left out. */
  async readAll(): Promise<TrainingRecord[]> {
    const records: TrainingRecord[] = [];
    for (const entry of await readdir(this.#folder)) {
      if (!/^\d{1,15}\.json$/.test(entry)) continue;
      try {
        records.push(JSON.parse(await readFile(path.join(this.#folder, entry), 'utf8')) as TrainingRecord);
      } catch {
        // Written by something else; a record is never there in half.
      }
    }
    return records.sort((a, b) => Number(a.id) - Number(b.id));
  }

  async write(record: TrainingRecord): Promise<void> {
    await writeWhole(path.join(this.#folder, `${record.id}.json`), [Buffer.from(`${JSON.stringify(record)}\n`)]);
  }

  async writeModel(id: string, pieces: readonly Uint8Array[]): Promise<void> {
    await writeWhole(this.modelOf(id), pieces);
  }

  async writeCheckpoint(id: string, { step, parameters, optimizer, best }: Checkpoint): Promise<void> {
    const head = {
      step,
      counts: [parameters.length, optimizer.length],
      best: best && { ...best, parameters: undefined },
    };
    const text = Buffer.from(JSON.stringify(head));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(text.length);
    const arrays = [parameters, optimizer, ...(best === undefined ? [] : [best.parameters])];
    const pieces = arrays.map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength));
    await writeWhole(this.#checkpointOf(id), [length, text, ...pieces]);
  }

  /** The last checkpoint of a training; undefined when there is none. */
  async readCheckpoint(id: string): Promise<Checkpoint | undefined> {
    const bytes = await readFile(this.#checkpointOf(id)).catch(() => undefined);
    if (bytes === undefined) return undefined;
    const end = 4 + bytes.readUInt32LE(0);
    const head = JSON.parse(bytes.toString('utf8', 4, end)) as {
      step: number;
      counts: [number, number];
      best?: { loss: number; epoch: number };
    };
    let at = end;
    const take = (count: number): Float64Array => {
      at += count * 8;
      return new Float64Array(Uint8Array.from(bytes.subarray(at - count * 8, at)).buffer);
    };
    const [parameters, optimizer] = [take(head.counts[0]), take(head.counts[1])];
    const best = head.best && { ...head.best, parameters: take(head.counts[0]) };
    return { step: head.step, parameters, optimizer, best };
  }

  /** Forgets a training. */
  async remove(id: string): Promise<void> {
    for (const file of [path.join(this.#folder, `${id}.json`), this.#checkpointOf(id), this.modelOf(id)]) {
      await rm(file, { force: true });
    }
  }

  #checkpointOf(id: string): string {
    return path.join(this.#folder, `${id}.checkpoint`);
  }
}
