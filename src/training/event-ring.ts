/** Something that happened in a training. */
export interface TrainingEvent {
  /** Counts from 1. */
  readonly id: number;
  readonly kind: 'state' | 'step' | 'epoch';
  /** JSON. */
  readonly data: string;
}

/** Events that are kept for those who come later or read slowly. */
const KEPT = 1024;

/** The latest events of a training; whoever reads them goes at a pace of their own, and misses what is older. */
export class EventRing {
  readonly #events: TrainingEvent[] = [];
  readonly #listeners: Set<() => void> = new Set();
  #last = 0;

  add(kind: TrainingEvent['kind'], value: object): void {
    this.#events.push({ id: ++this.#last, kind, data: JSON.stringify(value) });
    if (this.#events.length > KEPT) this.#events.shift();
    for (const listener of this.#listeners) listener();
  }

  /**
   * The event behind the one of this id; undefined when there is none yet. The oldest that is kept, when that id is none
   * of the kept ones: it is gone, or from before the server was started again.
   */
  after(id: number): TrainingEvent | undefined {
    const first = this.#events[0];
    if (first === undefined) return undefined;
    return id >= first.id && id <= this.#last ? this.#events[id - first.id + 1] : first;
  }

  /** Calls `listener` after each further event, until the function that is given back is called. */
  watch(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
