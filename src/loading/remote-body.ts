import { ShoalError } from '../errors.ts';

/** Counts bytes that are held in memory against a limit that others share. */
export interface ByteHold {
  /** Takes `bytes` more; false when there is no room for them, and nothing is taken then. */
  hold(bytes: number): boolean;
  /** Gives back what was taken. */
  free(bytes: number): void;
}

/** Allocated for a body whose length was not told, to begin with. */
const FIRST_BYTES = 16 * 1024;

/**
 * The body of an answer while it arrives, in one piece of memory that grows: a host that sends byte by byte costs no
 * more than others. What is allocated is held.
 */
export class BodyMemory {
  readonly #hold: ByteHold | undefined;
  readonly #maxBytes: number;
  #buffer: Buffer = Buffer.alloc(0);
  #length = 0;
  #isFreed = false;

  /** @param maxBytes most bytes of the body; the caller does not append more. */
  constructor(maxBytes: number, hold: ByteHold | undefined) {
    this.#maxBytes = maxBytes;
    this.#hold = hold;
  }

  /** Bytes so far. */
  get length(): number {
    return this.#length;
  }

  /** The body. A view: valid for as long as somebody refers to it, held until {@link BodyMemory.free}. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Makes room for a body of this many bytes. @throws {ShoalError} QUEUE_FULL when that cannot be held. */
  reserve(bytes: number): void {
    const old = this.#buffer;
    if (bytes <= old.length) return;
    if (this.#isFreed) throw new ShoalError('CANCELLED', 'the caller left');
    if (this.#hold?.hold(bytes - old.length) === false) {
      throw new ShoalError('QUEUE_FULL', 'the server holds as many bytes of inputs as it may', {
        retryAfterSeconds: 1,
      });
    }
    this.#buffer = Buffer.allocUnsafeSlow(bytes);
    old.copy(this.#buffer, 0, 0, this.#length);
  }

  /** @throws {ShoalError} QUEUE_FULL when there is no room for it. */
  append(chunk: Buffer): void {
    const needed = this.#length + chunk.length;
    if (needed > this.#buffer.length) {
      const doubled = Math.min(this.#maxBytes, 2 * this.#buffer.length);
      this.reserve(Math.max(needed, doubled, Math.min(FIRST_BYTES, this.#maxBytes)));
    }
    chunk.copy(this.#buffer, this.#length);
    this.#length = needed;
  }

  /** Gives back what is held; more is not taken then. */
  free(): void {
    if (this.#isFreed) return;
    this.#isFreed = true;
    if (this.#buffer.length > 0) this.#hold?.free(this.#buffer.length);
  }
}
