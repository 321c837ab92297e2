import type { CoreTokens, TokenUser } from '../batching/core-tokens.ts';
import type { Clock } from '../clock.ts';

/** For so long after a batch was started others count as there. */
const BUSY_MS = 100;

/** While others are there a turn comes at most so often: a tenth of the event loop's time for turns of 0.1 ms. */
const PAUSE_MS = 1;

/**
 * Turns for work in the background: each takes a core, and only when no batch could be started with it. Whoever
 * trains by these turns gives way within one step. The work is done on the event loop, where requests come and go; so
 * while there are some, the loop is left alone for a millisecond between two turns.
 */
export class BackgroundTurns implements TokenUser {
  readonly isBackground = true;
  spentMs = 0;
  readonly #tokens: CoreTokens;
  readonly #clock: Clock;
  readonly #waiting: ((done: () => void) => void)[] = [];
  #seenStarts = 0;
  #busyUntilMs = Number.NEGATIVE_INFINITY;

  constructor(tokens: CoreTokens, clock: Clock) {
    this.#tokens = tokens;
    this.#clock = clock;
  }

  /** Resolves when a core is free that nobody else has a use for, with what gives it back. */
  turn(): Promise<() => void> {
    return new Promise((resolve) => {
      const ask = (): void => {
        this.#waiting.push(resolve);
        this.#tokens.request(this);
      };
      if (this.#isBusy()) this.#clock.setTimer(PAUSE_MS, ask, { keepsAlive: true });
      else ask();
    });
  }

  /** See {@link TokenUser.tokensWanted}. */
  tokensWanted(): number {
    return this.#waiting.length > 0 ? 1 : 0;
  }

  /** See {@link TokenUser.start}. */
  start(tokens: number): void {
    const startMs = this.#clock.now();
    this.#waiting.shift()!(() => this.#tokens.giveBack(this, tokens, this.#clock.now() - startMs));
  }

  #isBusy(): boolean {
    const { starts } = this.#tokens;
    const nowMs = this.#clock.now();
    if (starts !== this.#seenStarts) {
      this.#seenStarts = starts;
      this.#busyUntilMs = nowMs + BUSY_MS;
    }
    return nowMs < this.#busyUntilMs;
  }
}
