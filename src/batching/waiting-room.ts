/** One who waits to be let in. */
interface Entry {
  /** Whether it would be taken now, or refused for another reason than a full queue. */
  readonly fits: () => boolean;
  readonly enter: () => void;
}

/**
 * Where callers wait who would rather wait than be refused by a full queue. They are let in in the order in which they
 * came, as soon as there is room; callers that do not wait may pass them.
 */
export class WaitingRoom {
  readonly #entries: Set<Entry> = new Set();
  readonly #inUse: Set<WaitingRoom>;

  /** @param inUse the rooms where somebody waits, kept by the rooms themselves. */
  constructor(inUse: Set<WaitingRoom>) {
    this.#inUse = inUse;
  }

  /** Whether nobody waits. */
  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  /**
   * Resolves with what `submit` gives once `fits` says so; rejects with what it throws.
   *
   * @param signal ends the wait with what `left` gives.
   */
  enter<T>(fits: () => boolean, submit: () => T, signal: AbortSignal | undefined, left: () => Error): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#entries.size === 0 && fits()) {
        resolve(submit());
        return;
      }
      const leave = (): void => {
        this.#remove(entry);
        reject(left());
      };
      const entry: Entry = {
        fits,
        enter: () => {
          signal?.removeEventListener('abort', leave);
          try {
            resolve(submit());
          } catch (thrown) {
            reject(thrown);
          }
        },
      };
      if (signal?.aborted) {
        reject(left());
        return;
      }
      signal?.addEventListener('abort', leave, { once: true });
      this.#entries.add(entry);
      this.#inUse.add(this);
    });
  }

  /** Lets in whoever fits, up to the first who does not. */
  admit(): void {
    for (const entry of this.#entries) {
      if (!entry.fits()) return;
      this.#remove(entry);
      entry.enter();
    }
  }

  #remove(entry: Entry): void {
    this.#entries.delete(entry);
    if (this.#entries.size === 0) this.#inUse.delete(this);
  }
}
