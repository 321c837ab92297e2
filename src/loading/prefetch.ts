import { invalid } from '../errors.ts';

/** How {@link prefetch} goes about it. */
export interface PrefetchOptions {
  /** Items worked on at the same time; default 8. */
  readonly concurrency?: number;
  /** Items taken from the source and not yet delivered, those being worked on included; default twice `concurrency`. */
  readonly prefetch?: number;
  /** Whether results come in the order of the source (default), or as they are ready. */
  readonly ordered?: boolean;
  /** Ends it with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What is done with an item; `signal` is aborted when nobody wants the result any more. */
export type Task<Item, Result> = (item: Item, signal: AbortSignal, index: number) => Result | Promise<Result>;

/**
 * Works on several items of a source at a time, ahead of the one who takes the results, and never further ahead than
 * asked for: a slow taker holds back the source.
 *
 * The first failure, of the source or of a task, ends it in its place in the order (in any order: at once). However it
 * ends, also by a `break` in the taker's loop, tasks under way are told by their signal, and the source is closed.
 *
 * @throws {ShoalError} INVALID_REQUEST for a concurrency or prefetch below 1; what the source, a task or the signal
 * throws.
 */
export async function* prefetch<Item, Result>(
  source: Iterable<Item> | AsyncIterable<Item>,
  task: Task<Item, Result>,
  options: PrefetchOptions = {},
): AsyncGenerator<Result, void, undefined> {
  const { concurrency = 8, ordered = true, signal } = options;
  const ahead = Math.max(options.prefetch ?? 2 * concurrency, concurrency);
  for (const [name, value] of Object.entries({ concurrency, prefetch: options.prefetch ?? ahead })) {
    if (!Number.isInteger(value) || value < 1) throw invalid(`${name} is ${value}, expected an integer of 1 or more`);
  }
  const ended = new AbortController();
  const inner = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]);
  const items = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  const queue = new Deliveries<Result>(ordered);
  const room = new Gate();
  const stop = (): void => {
    queue.fail(signal!.reason);
    room.open();
  };
  signal?.addEventListener('abort', stop, { once: true });

  let working = 0;
  const pump = async (): Promise<void> => {
    for (let index = 0; !inner.aborted; index++) {
      while ((working >= concurrency || queue.size >= ahead) && !inner.aborted) await room.opened();
      if (inner.aborted) return;
      const next = await items.next();
      if (next.done === true) return;
      working++;
      const slot = queue.reserve();
      // Started in a turn of its own, so that a task that throws at once is a failed task like any other.
      Promise.resolve(next.value)
        .then((item) => task(item, inner, index))
        .then(
          (result) => queue.deliver(slot, result),
          (thrown: unknown) => queue.refuse(slot, thrown),
        )
        .finally(() => {
          working--;
          room.open();
        });
    }
  };
  const pumped = pump().then(
    () => queue.close(),
    (thrown: unknown) => queue.closeWith(thrown),
  );

  try {
    if (signal?.aborted) throw signal.reason;
    for (;;) {
      const next = await queue.take();
      room.open();
      if (next === undefined) return;
      yield next.result;
    }
  } finally {
    signal?.removeEventListener('abort', stop);
    ended.abort(new Error('nobody takes the results any more'));
    room.open();
    // A source that is being read cannot be closed before that read has ended.
    void pumped.then(() => items.return?.()).catch(() => {});
  }
}

/** Where one waits until something has changed. */
class Gate {
  #open: (() => void) | undefined;
  #opened: Promise<void> | undefined;

  opened(): Promise<void> {
    this.#opened ??= new Promise((resolve) => {
      this.#open = resolve;
    });
    return this.#opened;
  }

  open(): void {
    this.#open?.();
    this.#open = undefined;
    this.#opened = undefined;
  }
}

interface Slot<Result> {
  outcome: { readonly result: Result } | { readonly thrown: unknown } | undefined;
}

/** Results on their way to the one who takes them. */
class Deliveries<Result> {
  readonly #ordered: boolean;
  /** In order: all that were reserved. In any order: those that have an outcome. */
  readonly #slots: Slot<Result>[] = [];
  readonly #changed: Gate = new Gate();
  #reserved = 0;
  #closed = false;
  #failure: { readonly thrown: unknown } | undefined;

  constructor(ordered: boolean) {
    this.#ordered = ordered;
  }

  /** Reserved and not taken yet. */
  get size(): number {
    return this.#reserved;
  }

  reserve(): Slot<Result> {
    const slot: Slot<Result> = { outcome: undefined };
    this.#reserved++;
    if (this.#ordered) this.#slots.push(slot);
    return slot;
  }

  deliver(slot: Slot<Result>, result: Result): void {
    this.#settle(slot, { result });
  }

  refuse(slot: Slot<Result>, thrown: unknown): void {
    this.#settle(slot, { thrown });
  }

  /** No more will be reserved. */
  close(): void {
    this.#closed = true;
    this.#changed.open();
  }

  /** As {@link Deliveries.close}, since the source failed: told after what came before it. */
  closeWith(thrown: unknown): void {
    this.refuse(this.reserve(), thrown);
    this.close();
  }

  /** Ends it at once. */
  fail(thrown: unknown): void {
    this.#failure ??= { thrown };
    this.#changed.open();
  }

  /** The next result; undefined when there are no more. */
  async take(): Promise<{ readonly result: Result } | undefined> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure.thrown;
      const outcome = this.#slots[0]?.outcome;
      if (outcome !== undefined) {
        this.#slots.shift();
        this.#reserved--;
        if ('thrown' in outcome) throw outcome.thrown;
        return outcome;
      }
      if (this.#closed && this.#reserved === 0) return undefined;
      await this.#changed.opened();
    }
  }

  #settle(slot: Slot<Result>, outcome: NonNullable<Slot<Result>['outcome']>): void {
    slot.outcome = outcome;
    if (!this.#ordered) this.#slots.push(slot);
    this.#changed.open();
  }
}
