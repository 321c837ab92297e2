import { readSync, writevSync } from 'node:fs';
import { type Frame, FrameError, HEADER_BYTES, readHeader } from './frame.ts';

const INITIAL_BYTES = 256 * 1024;

/** The executor's end of the pipe: reads and writes whole frames, blocking. */
export class BlockingPipe {
  readonly #fd: number;
  #buffer: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  #filled = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * The next frame, or undefined when the front has closed the pipe. Head and body lie in the pipe's own memory,
   * aligned to 16 bytes, and are gone with the next call.
   *
   * @throws {FrameError} when the stream is broken.
   */
  read(): Frame | undefined {
    this.#filled = 0;
    if (!this.#fill(HEADER_BYTES)) return undefined;
    const header = readHeader(this.#buffer, 0);
    const bodyAt = HEADER_BYTES + header.headBytes;
    const total = bodyAt + header.bodyBytes;
    if (!this.#fill(total)) return undefined;
    // The front waits for an answer before it sends the next frame, so that each starts at an aligned offset.
    if (this.#filled !== total) throw new FrameError('the front sent a frame before the last one was answered');
    return {
      ...header,
      head: this.#buffer.subarray(HEADER_BYTES, bodyAt),
      body: this.#buffer.subarray(bodyAt, total),
    };
  }

  /** Writes all of the pieces. */
  write(pieces: readonly Uint8Array[]): void {
    let rest = pieces;
    while (rest.length > 0) {
      const written = retry(() => writevSync(this.#fd, rest as Uint8Array[]));
      rest = dropBytes(rest, written);
    }
  }

  #fill(bytes: number): boolean {
    if (bytes > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(bytes);
      this.#buffer.copy(larger, 0, 0, this.#filled);
      this.#buffer = larger;
    }
    while (this.#filled < bytes) {
      const got = retry(() => readSync(this.#fd, this.#buffer, this.#filled, this.#buffer.length - this.#filled, null));
      if (got === 0) return false;
      this.#filled += got;
    }
    return true;
  }
}

/** The pipe blocks by itself; should a platform hand it over non-blocking, waiting a moment does the same. */
function retry(call: () => number): number {
  for (;;) {
    try {
      return call();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

function dropBytes(pieces: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let left = count;
  for (let i = 0; i < pieces.length; i++) {
    const piece = pieces[i]!;
    if (left < piece.byteLength) return left === 0 ? pieces.slice(i) : [piece.subarray(left), ...pieces.slice(i + 1)];
    left -= piece.byteLength;
  }
  return [];
}
