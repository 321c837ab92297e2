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

/** Counts whole lines, checks that the file is an output as far as that, and cuts off half a line at its end. */
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
  const half = Buffer.alloc(Math.min(size - end, TAIL_BYTES));
  await file.read(half, 0, half.length, end);
  if (!isBeginning(half.toString('latin1'), rows)) throw foreign(path, rows);
  if (rows > 0 && !(await endsWithRow(file, end, rows - 1))) throw foreign(path, rows);
  // Only what is known to be ours is cut off.
  if (end < size) await file.truncate(end);
  return rows;
}

/** Whether half a line may be the beginning of this row's. */
function isBeginning(text: string, row: number): boolean {
  const wanted = `{"row":${row},`;
  return text.startsWith(wanted) || wanted.startsWith(text);
}

function foreign(path: string, rows: number): OutputError {
  const what = rows === 0 ? 'holds something else' : `does not end with row ${rows - 1} of an earlier run`;
  return new OutputError(`${path} ${what}; give another file, or --overwrite`);
}

/** Whether the last whole line, which ends at `end`, is that of the row. */
async function endsWithRow(file: FileHandle, end: number, row: number): Promise<boolean> {
  const start = Math.max(0, end - TAIL_BYTES);
  const tail = Buffer.alloc(end - start);
  await file.read(tail, 0, tail.length, start);
  const lines = tail.toString('latin1').trimEnd().split('\n');
  // A line longer than what was looked at has its beginning elsewhere.
  if (lines.length === 1 && start > 0) return true;
  return lines.at(-1)!.startsWith(`{"row":${row},`);
}
