import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename } from 'node:fs/promises';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { messageOf, ShoalError } from '../errors.ts';

/** What is done to the file; tests put failing ones in its place. */
export type OpenFile = (file: string, flags: string) => Promise<LogHandle>;

/** The part of Node's file handles that a log needs. */
export type LogHandle = Pick<FileHandle, 'read' | 'writev' | 'datasync' | 'truncate' | 'stat' | 'close'>;

/** Where a record lies. */
export interface RecordPlace {
  /** Of its payload, in bytes from the beginning of the file. */
  readonly position: number;
  readonly length: number;
}

/** What opening a log found. */
export interface Recovered {
  readonly log: AppendLog;
  /** Bytes at the end that made no whole record and were cut off; they are kept beside the log as `.torn`. */
  readonly tornBytes: number;
}

interface Waiting {
  readonly pieces: readonly Uint8Array[];
  readonly length: number;
  readonly resolve: (place: RecordPlace) => void;
  readonly reject: (error: ShoalError) => void;
}

const MAGIC = Buffer.from('SHOALEX1');
const ID_BYTES = 8;
/** The file begins with the magic and a random id, which another file in its place does not have. */
const FILE_HEAD = MAGIC.length + ID_BYTES;
/** A record begins with its payload's length and the checksum of that length and the payload. */
const RECORD_HEAD = 8;
/** Longest payload. */
export const MOST_RECORD_BYTES: number = 64 << 20;
/** Bytes whose checksum is worked out before others have a turn: about half a millisecond. */
const CHECKED_AT_ONCE = 1 << 20;
/** Bytes that may wait to be written. */
const MOST_WAITING_BYTES = 128 << 20;

/**
 * A file of records that only grows. A record counts when it is on the disk: those that come while others are being
 * written are written together, with one `fdatasync` for all. What a crash leaves half written is cut off when the
 * file is opened; a whole record is never lost and never there twice.
 */
export class AppendLog {
  readonly file: string;
  /** Other than that of any other log. */
  readonly id: string;
  readonly #handle: LogHandle;
  #end: number;
  /** Whether the file may have more than `#end` bytes. */
  #hasRest = false;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #flushing: Promise<void> | undefined;
  #closed = false;

  private constructor(file: string, id: string, handle: LogHandle, end: number) {
    this.file = file;
    this.id = id;
    this.#handle = handle;
    this.#end = end;
  }

  /**
   * Opens the log, new if it is not there, and reads all of it.
   *
   * @param visit called with each record in order; the payload is only valid during the call.
   * @throws {ShoalError} STORAGE_FAILED when it is no such file, or the disk fails.
   */
  static async open(
    file: string,
    visit: (payload: Buffer, place: RecordPlace) => void,
    openFile: OpenFile = open,
  ): Promise<Recovered> {
    try {
      return await recover(file, visit, openFile);
    } catch (thrown) {
      throw storageFailed(`${path.basename(file)} cannot be opened`, thrown);
    }
  }

  /** @internal */
  static of(file: string, id: string, handle: LogHandle, end: number): AppendLog {
    return new AppendLog(file, id, handle, end);
  }

  /** Bytes of the file. */
  get bytes(): number {
    return this.#end;
  }

  /**
   * Adds a record; resolves when it is on the disk.
   *
   * @param pieces its payload, which must not change until then.
   * @throws {ShoalError} STORAGE_FAILED: it could not be written and is not there; QUEUE_FULL when too much waits.
   */
  async append(pieces: readonly Uint8Array[]): Promise<RecordPlace> {
    const length = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (this.#waitingBytes + length > MOST_WAITING_BYTES) {
      throw new ShoalError('QUEUE_FULL', 'too many examples wait to be written', { retryAfterSeconds: 1 });
    }
    this.#waitingBytes += length;
    try {
      const head = Buffer.alloc(RECORD_HEAD);
      head.writeUInt32LE(length, 0);
      head.writeUInt32LE(await checksum([head.subarray(0, 4), ...pieces]), 4);
      if (this.#closed) throw new ShoalError('SHUTTING_DOWN', 'the server is shutting down; nothing more is stored');
      return await new Promise<RecordPlace>((resolve, reject) => {
        this.#waiting.push({ pieces: [head, ...pieces], length, resolve, reject });
        this.#flushing ??= this.#flush();
      });
    } finally {
      this.#waitingBytes -= length;
    }
  }

  /** The payload of a record. */
  async read({ position, length }: RecordPlace): Promise<Buffer> {
    try {
      return await readFully(this.#handle, position, length);
    } catch (thrown) {
      throw storageFailed(`${path.basename(this.file)} cannot be read`, thrown);
    }
  }

  /** Writes what waits and closes the file. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#flushing;
    await this.#handle.close();
  }

  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      try {
        // What an earlier failure has left would otherwise lie between records.
        if (this.#hasRest) await this.#cutRest();
        this.#hasRest = true;
        const bytes = await this.#write(group.flatMap(({ pieces }) => pieces));
        await this.#handle.datasync();
        this.#hasRest = false;
        let position = this.#end;
        this.#end += bytes;
        for (const { length, resolve } of group) {
          resolve({ position: position + RECORD_HEAD, length });
          position += RECORD_HEAD + length;
        }
      } catch (thrown) {
        await this.#cutRest().catch(() => {});
        const error = storageFailed('the examples could not be stored', thrown);
        for (const { reject } of group) reject(error);
      }
    }
    this.#flushing = undefined;
  }

  async #cutRest(): Promise<void> {
    await this.#handle.truncate(this.#end);
    this.#hasRest = false;
  }

  async #write(pieces: readonly Uint8Array[]): Promise<number> {
    let rest = [...pieces];
    let at = this.#end;
    while (rest.length > 0) {
      // The system takes no more than 1,024 at a time.
      const { bytesWritten } = await this.#handle.writev(rest.slice(0, 1024), at);
      if (bytesWritten === 0) throw new Error('nothing was written');
      at += bytesWritten;
      rest = after(rest, bytesWritten);
    }
    return at - this.#end;
  }
}

/** An error of the disk, as who sent the request is told of it; the paths of the server are not their matter. */
export function storageFailed(what: string, thrown: unknown): ShoalError {
  if (thrown instanceof ShoalError) return thrown;
  // Node ends such messages with the call and the path: `, open '/…'`.
  const why = messageOf(thrown).replace(/, [a-z]+( '[^']*')?( -> '[^']*')?$/, '');
  return new ShoalError('STORAGE_FAILED', `${what}: ${why}`, { cause: thrown });
}

/** Makes what a folder lists last: files that were made, renamed or removed in it. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function recover(
  file: string,
  visit: (payload: Buffer, place: RecordPlace) => void,
  openFile: OpenFile,
): Promise<Recovered> {
  let handle: LogHandle;
  try {
    handle = await openFile(file, 'r+');
  } catch (thrown) {
    if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT')) throw thrown;
    return { log: await create(file, openFile), tornBytes: 0 };
  }
  try {
    const { size } = await handle.stat();
    const head = await readFully(handle, 0, Math.min(size, FILE_HEAD));
    if (size < FILE_HEAD || !head.subarray(0, MAGIC.length).equals(MAGIC)) throw new Error('it is no file of examples');
    let end = FILE_HEAD;
    for (;;) {
      const payload = await readRecord(handle, end, size);
      if (payload === undefined) break;
      visit(payload, { position: end + RECORD_HEAD, length: payload.length });
      end += RECORD_HEAD + payload.length;
    }
    const tornBytes = size - end;
    if (tornBytes > 0) {
      await keepTorn(handle, `${file}.torn`, end, size, openFile);
      await handle.truncate(end);
      await handle.datasync();
    }
    return { log: AppendLog.of(file, head.toString('hex', MAGIC.length), handle, end), tornBytes };
  } catch (thrown) {
    await handle.close();
    throw thrown;
  }
}

/** Makes an empty log under another name first, so that there never is half of one. */
async function create(file: string, openFile: OpenFile): Promise<AppendLog> {
  const id = randomBytes(ID_BYTES);
  const handle = await openFile(`${file}.new`, 'w+');
  try {
    await handle.writev([MAGIC, id], 0);
    await handle.datasync();
    await rename(`${file}.new`, file);
    await syncFolder(path.dirname(file));
  } catch (thrown) {
    await handle.close();
    throw thrown;
  }
  return AppendLog.of(file, id.toString('hex'), handle, FILE_HEAD);
}

/** Puts an empty log in the place of what is there. */
export async function replaceLog(file: string, openFile: OpenFile = open): Promise<AppendLog> {
  try {
    return await create(file, openFile);
  } catch (thrown) {
    throw storageFailed('the examples could not be deleted', thrown);
  }
}

/** The record that begins at `at`; undefined when there is no whole one. */
async function readRecord(handle: LogHandle, at: number, size: number): Promise<Buffer | undefined> {
  if (at + RECORD_HEAD > size) return undefined;
  const head = await readFully(handle, at, RECORD_HEAD);
  const length = head.readUInt32LE(0);
  if (length === 0 || length > MOST_RECORD_BYTES || at + RECORD_HEAD + length > size) return undefined;
  const payload = await readFully(handle, at + RECORD_HEAD, length);
  return (await checksum([head.subarray(0, 4), payload])) === head.readUInt32LE(4) ? payload : undefined;
}

async function readFully(handle: LogHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length);
  let at = 0;
  while (at < length) {
    const { bytesRead } = await handle.read(buffer, at, length - at, position + at);
    if (bytesRead === 0) throw new Error('the file is shorter than it was');
    at += bytesRead;
  }
  return buffer;
}

/** Keeps what is cut off: after a fault of the disk it may be more than the half of a record that a crash leaves. */
async function keepTorn(
  handle: LogHandle,
  file: string,
  from: number,
  size: number,
  openFile: OpenFile,
): Promise<void> {
  const copy = await openFile(file, 'w');
  try {
    for (let at = from; at < size; at += CHECKED_AT_ONCE) {
      const piece = await readFully(handle, at, Math.min(CHECKED_AT_ONCE, size - at));
      await copy.writev([piece], at - from);
    }
  } finally {
    await copy.close();
  }
}

async function checksum(pieces: readonly Uint8Array[]): Promise<number> {
  let sum = 0;
  let since = 0;
  for (const piece of pieces) {
    for (let at = 0; at < piece.byteLength; at += CHECKED_AT_ONCE) {
      const slice = piece.subarray(at, at + CHECKED_AT_ONCE);
      since += slice.byteLength;
      if (since > CHECKED_AT_ONCE) {
        await new Promise(setImmediate);
        since = slice.byteLength;
      }
      sum = crc32(slice, sum);
    }
  }
  return sum;
}

function after(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = bytes;
  for (const piece of pieces) {
    if (skip >= piece.byteLength) skip -= piece.byteLength;
    else {
      rest.push(piece.subarray(skip));
      skip = 0;
    }
  }
  return rest;
}
