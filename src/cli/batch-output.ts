import { type FileHandle, open } from 'node:fs/promises';
import { messageOf } from '../errors.ts';

/** Looked at from the end of a file for the beginning of its last line. */
const TAIL_BYTES = 64 * 1024;

/** So much, or what came in so long, is written at a time: at most that is done again after an interruption. */
const WRITE = { bytes: 64 * 1024, ms: 200 } as const;

/** An output that is none of `shoal batch`, or cannot be opened. */
export class OutputError extends Error {}

/**
 * The file that results are appended to, a line for each row in their order. What an interrupted run has left is kept:
 * the number of its whole lines is the row to go on with, and half a line at its end is cut off.
 */
export class BatchOutput {
  /** Rows that are in the file. */
  readonly done: number;
  readonly #file: FileHandle;
  #pending: string[] = [];
  #pendingBytes = 0;
  #writtenMs = 0;

  private constructor(file: FileHandle, done: number) {
    this.#file = file;
    this.done = done;
  }

  /** @throws {OutputError} when the file cannot be opened or holds something else. */
  static async open(path: string, overwrite: boolean): Promise<BatchOutput> {
    let file: FileHandle;
    try {
      file = await open(path, overwrite ? 'w+' : 'a+');
    } catch (error) {
      throw new OutputError(`${path} cannot be written: ${messageOf(error)}`);
    }
    try {
      return new BatchOutput(file, await wholeRows(file, path));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Appends a line. */
  async append(line: string): Promise<void> {
    this.#pending.push(line, '\n');
    this.#pendingBytes += line.length;
    if (this.#pendingBytes >= WRITE.bytes || performance.now() - this.#writtenMs >= WRITE.ms) await this.flush();
  }

  /** Hands everything to the operating system. */
  async flush(): Promise<void> {
    if (this.#pending.length === 0) return;
    const text = this.#pending.join('');
    this.#pending = [];
    this.#pendingBytes = 0;
    await this.#file.appendFile(text);
    this.#writtenMs = performance.now();
  }

  /** Has everything on disk. */
  async close(): Promise<void> {
    await this.flush();
    await this.#file.sync();
    await this.#file.close();
  }
}

/** Counts whole lines, cuts off half a line at the end, and checks that the last one says that it is the last one. */
async function wholeRows(file: FileHandle, path: string): Promise<number> {
  const { size } = await file.stat();
  const piece = Buffer.alloc(TAIL_BYTES);
  let rows = 0;
  let end = 0;
  for (let at = 0; at < size; ) {
    const { bytesRead } = await file.read(piece, 0, piece.length, at);
    if (bytesRead === 0) break;
    for (let i = piece.indexOf(10); i >= 0 && i < bytesRead; i = piece.indexOf(10, i + 1)) {
      rows++;
      end = at + i + 1;
    }
    at += bytesRead;
  }
  if (end < size) await file.truncate(end);
  if (rows === 0) return 0;
  const start = Math.max(0, end - TAIL_BYTES);
  const tail = Buffer.alloc(end - start);
  await file.read(tail, 0, tail.length, start);
  const lines = tail.toString('utf8').trimEnd().split('\n');
  const last = /^\{"row":(\d+),/.exec(lines.at(-1)!);
  // A line longer than what was looked at has its beginning elsewhere.
  if (last === null && lines.length === 1 && start > 0) return rows;
  if (last === null || Number(last[1]) !== rows - 1) {
    throw new OutputError(
      `${path} does not end with row ${rows - 1} of an earlier run; give another file, or --overwrite`,
    );
  }
  return rows;
}
