import { readSync, write, writeSync } from 'node:fs';
import { type FrameKind, HEADER_BYTES, readHeader } from './frame.ts';

/** The worker's end of its pipe: reads frames blocking, for it has nothing else to do; writes beside its arithmetic. */
export class BlockingPipe {
  readonly #fd: number;
  readonly #header: Uint8Array = new Uint8Array(HEADER_BYTES);
  #body: Uint8Array = new Uint8Array(0);

  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * The next frame, or undefined when the other end is closed. The body is gone with the next call.
   *
   * @throws {FrameError} when the stream is broken.
   */
  read(): { readonly kind: FrameKind; readonly body: Uint8Array } | undefined {
    if (!this.#fill(this.#header)) return undefined;
    const { kind, bodyBytes } = readHeader(this.#header);
    if (this.#body.length !== bodyBytes) this.#body = new Uint8Array(bodyBytes);
    return this.#fill(this.#body) ? { kind, body: this.#body } : undefined;
  }

  /**
   * Writes on a thread of libuv's pool, so that this one goes on computing. The bytes must stay as they are until it
   * resolves, and the next write must wait until then.
   */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      at += await new Promise<number>((resolve, reject) => {
        write(this.#fd, bytes, at, bytes.length - at, null, (error, written) =>
          error === null ? resolve(written) : reject(error),
        );
      });
    }
  }

  /** Writes and waits. */
  writeNow(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
  }

  #fill(into: Uint8Array): boolean {
    for (let at = 0; at < into.length; ) {
      const got = readSync(this.#fd, into, at, into.length - at, null);
      if (got === 0) return false;
      at += got;
    }
    return true;
  }
}
