import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { messageOf, ServeError } from '../errors.ts';
import { syncFolder } from './append-log.ts';

/** The places in `--training-dir`. */
export interface TrainingFolder {
  /** `<model>.log`: examples. */
  readonly examples: string;
  /** `<id>.json`, `<id>.checkpoint`, `<id>.onnx`: trainings. */
  readonly trainings: string;
  /** `<model>.json`: versions that trainings have published. */
  readonly published: string;
  /** Lets another process use it. */
  readonly release: () => Promise<void>;
}

/**
 * Makes a training folder ready and keeps other processes out of it.
 *
 * @throws {ServeError} TRAINING_DIR when it cannot be written, or another process uses it.
 */
export async function openTrainingFolder(folder: string): Promise<TrainingFolder> {
  const [examples, trainings, published] = ['examples', 'trainings', 'published'].map((name) =>
    path.join(folder, name),
  ) as [string, string, string];
  const lock = path.join(folder, 'lock');
  try {
    for (const one of [examples, trainings, published]) await mkdir(one, { recursive: true });
    await takeLock(lock);
  } catch (thrown) {
    throw new ServeError('TRAINING_DIR', `--training-dir ${folder} cannot be used: ${messageOf(thrown)}`, {
      cause: thrown,
    });
  }
  return { examples, trainings, published, release: () => rm(lock, { force: true }) };
}

async function takeLock(lock: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      const handle = await open(lock, 'wx');
      await handle.write(`${process.pid}\n`);
      await handle.close();
      return;
    } catch (thrown) {
      if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'EEXIST') || tries > 0) throw thrown;
      const pid = Number(await readFile(lock, 'utf8').catch(() => ''));
      // In a container every server may have the same number; then the lock is of one that is gone.
      if (pid > 0 && pid !== process.pid && isAlive(pid)) throw new Error(`process ${pid} uses it`);
      await rm(lock, { force: true });
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return thrown instanceof Error && 'code' in thrown && thrown.code === 'EPERM';
  }
}

/** Writes a file so that it is there whole or as it was before, also after a crash. */
export async function writeWhole(file: string, pieces: readonly Uint8Array[]): Promise<void> {
  const handle = await open(`${file}.new`, 'w');
  try {
    for (const piece of pieces) await handle.writeFile(piece);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
  await syncFolder(path.dirname(file));
}
