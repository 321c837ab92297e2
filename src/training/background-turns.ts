import type { CoreTokens, TokenUser } from '../batching/core-tokens.ts';
import type { Clock } from '../clock.ts';

/**
 * Turns for work in the background: each takes a core, and only when no batch could be started with it. Whoever
 * trains by these turns gives way within one step.
 */
export class BackgroundTurns implements TokenUser {
  readonly isBackground = true;
  spentMs = 0;
  readonly #tokens: CoreTokens;
  readonly #clock: Clock;
  readonly #waiting: ((done: () => void) => void)[] = [];

  constructor(tokens: CoreTokens, clock: Clock) {
    this.#tokens = tokens;
    this.#clock = clock;
  }

  /** Resolves when a core is free that nobody else has a use for, with what gives it back. */
  turn(): Promise<() => void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#tokens.request(this);
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
}
