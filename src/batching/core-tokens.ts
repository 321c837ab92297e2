import type { Clock } from '../clock.ts';

/** One who competes for cores: the batcher of a model version. */
export interface TokenUser {
  /** Compute it has had so far, in core-milliseconds. */
  spentMs: number;
  /** Whether it is served only when nobody else wants tokens. */
  readonly isBackground?: boolean;
  /** Tokens it needs to start its next batch now; 0 when it has nothing to start. Asking must not start anything. */
  tokensWanted(): number;
  /** Starts one batch; so many tokens are set aside for it until it gives them back. */
  start(tokens: number): void;
}

/**
 * As many tokens as cores are granted; a batch starts when it obtains as many as its executor has threads, so that
 * threads of running batches never exceed the cores.
 *
 * Tokens go to the user that has had the least compute so far (fair queueing: a user that was idle does not save up).
 * When the one whose turn it is needs more than are free, the free ones wait for it, so that a wide executor is not
 * starved by narrow ones.
 */
export class CoreTokens {
  readonly total: number;
  /** Batches started so far, those in the background left out. */
  starts = 0;
  #free: number;
  readonly #clock: Clock;
  readonly #users: Set<TokenUser> = new Set();
  #turnComes = false;
  /** The least `spentMs` of those served lately: where someone who was idle starts again. */
  #floorMs = 0;

  constructor(total: number, clock: Clock) {
    this.total = total;
    this.#free = total;
    this.#clock = clock;
  }

  get free(): number {
    return this.#free;
  }

  /** Says that `user` has work. It is asked after one turn of the event loop, which collects what has arrived. */
  request(user: TokenUser): void {
    this.#enter(user);
    if (this.#turnComes || this.#free === 0) return;
    this.#turnComes = true;
    this.#clock.nextTurn(() => {
      this.#turnComes = false;
      this.serve();
    });
  }

  /** Gives tokens back after a run that took `ms`; the next batches start at once, before this returns. */
  giveBack(user: TokenUser, tokens: number, ms: number): void {
    this.#free += tokens;
    user.spentMs += tokens * ms;
    this.#enter(user);
    this.serve();
  }

  /** Starts whatever can start now. */
  serve(): void {
    while (this.#free > 0) {
      let next: TokenUser | undefined;
      let wanted = 0;
      for (const user of this.#users) {
        const tokens = user.tokensWanted();
        if (tokens === 0) this.#users.delete(user);
        else if (next === undefined || isBefore(user, next)) {
          next = user;
          wanted = Math.min(tokens, this.total);
        }
      }
      if (next === undefined || wanted > this.#free) return;
      if (next.isBackground !== true) {
        this.starts++;
        this.#floorMs = Math.max(this.#floorMs, next.spentMs);
      }
      this.#free -= wanted;
      next.start(wanted);
    }
  }

  #enter(user: TokenUser): void {
    if (this.#users.has(user)) return;
    this.#users.add(user);
    user.spentMs = Math.max(user.spentMs, this.#floorMs);
  }
}

function isBefore(one: TokenUser, other: TokenUser): boolean {
  if (one.isBackground !== other.isBackground) return other.isBackground === true;
  return one.spentMs < other.spentMs;
}
