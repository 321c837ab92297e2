import { messageOf } from '../errors.ts';
import type { Log } from '../serving/model-version.ts';

/** A pipeline that holds the event loop longer than this within one turn is warned about. */
const WARN_MS = 20;

/** How often a pipeline is warned about at most. */
const WARN_EVERY_MS = 10_000;

/** What one pipeline holds of the event loop, by its turns: others wait for the whole turn, not for a segment. */
export class LoopAccount {
  readonly #name: string;
  readonly #log: Log;
  readonly #report: (ms: number) => void;
  #turnMs = 0;
  #isCounting = false;
  #warnedAtMs = Number.NEGATIVE_INFINITY;
  #unsaid = 0;

  /** @param report is told after each turn in which the pipeline's code ran. */
  constructor(name: string, log: Log, report: (ms: number) => void) {
    this.#name = name;
    this.#log = log;
    this.#report = report;
  }

  /** Counts a segment into the turn. */
  held(ms: number): void {
    this.#turnMs += ms;
    if (this.#isCounting) return;
    this.#isCounting = true;
    setImmediate(() => this.#endTurn());
  }

  /** Notes a promise that was rejected and forgotten. */
  unhandled(reason: unknown): void {
    const text = `pipeline '${this.#name}' left a promise alone that was rejected: ${messageOf(reason)}`;
    this.#log.warn({ err: reason }, text);
  }

  #endTurn(): void {
    const ms = this.#turnMs;
    this.#turnMs = 0;
    this.#isCounting = false;
    this.#report(ms);
    if (ms > WARN_MS) this.#warn(ms);
  }

  #warn(ms: number): void {
    const nowMs = performance.now();
    if (nowMs - this.#warnedAtMs < WARN_EVERY_MS) {
      this.#unsaid++;
      return;
    }
    const more = this.#unsaid === 0 ? '' : ` (and ${this.#unsaid} times since this was last said)`;
    this.#warnedAtMs = nowMs;
    this.#unsaid = 0;
    const text = `pipeline '${this.#name}' held the event loop for ${Math.round(ms)} ms in one go, and all requests waited${more}; offload() does such work on a thread`;
    this.#log.warn({ heldMs: Math.round(ms) }, text);
  }
}
