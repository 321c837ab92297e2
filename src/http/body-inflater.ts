import { inflate } from './zlib-streams.ts';

/** What deflate can make of a byte at most (zlib's technical notes). */
const MAX_EXPANSION = 1032;

/** A body that has been expanded. */
export interface Inflated {
  readonly bytes: Buffer;
  /** To be called when the bytes have been let go, or are counted elsewhere; further calls do nothing. */
  readonly release: () => void;
}

interface Waiting {
  readonly bytes: number;
  readonly start: () => void;
}

/**
 * Expands compressed bodies within one allowance of memory for all of them: each has to get what it may become before
 * it is begun, in the order of arrival, and gives it back when its request has been read. A small body that becomes a
 * large one costs its sender next to nothing; without this a hundred of them would take all memory there is.
 */
export class BodyInflater {
  readonly #limitBytes: number;
  #freeBytes: number;
  readonly #waiting: Waiting[] = [];

  /**
   * @param limitBytes the most one body may become.
   * @param allowanceBytes the most all of them may hold at a time; at least `limitBytes`.
   */
  constructor(limitBytes: number, allowanceBytes: number) {
    this.#limitBytes = limitBytes;
    this.#freeBytes = Math.max(limitBytes, allowanceBytes);
  }

  /**
   * Expands a body when there is room for it.
   *
   * @param begin called when its turn has come; what it throws is thrown instead of beginning.
   * @throws {ShoalError} BODY_TOO_LARGE or INVALID_REQUEST, see {@link inflate}.
   */
  async inflate(body: Buffer, begin: () => void): Promise<Inflated> {
    let heldBytes = Math.min(this.#limitBytes, body.length * MAX_EXPANSION);
    if (!this.#take(heldBytes)) {
      await new Promise<void>((start) => {
        this.#waiting.push({ bytes: heldBytes, start });
      });
    }
    const release = (): void => {
      const bytes = heldBytes;
      heldBytes = 0;
      this.#give(bytes);
    };
    try {
      begin();
      const bytes = await inflate(body, this.#limitBytes);
      const spareBytes = heldBytes - bytes.length;
      heldBytes = bytes.length;
      this.#give(spareBytes);
      return { bytes, release };
    } catch (thrown) {
      release();
      throw thrown;
    }
  }

  #take(bytes: number): boolean {
    if (this.#waiting.length > 0 || bytes > this.#freeBytes) return false;
    this.#freeBytes -= bytes;
    return true;
  }

  #give(bytes: number): void {
    this.#freeBytes += bytes;
    while (this.#waiting.length > 0 && this.#waiting[0]!.bytes <= this.#freeBytes) {
      const { bytes: next, start } = this.#waiting.shift()!;
      this.#freeBytes -= next;
      start();
    }
  }
}
