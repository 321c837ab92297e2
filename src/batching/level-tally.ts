import type { PendingRequest } from './request.ts';

interface Tally {
  rows: number;
  requests: number;
}

/** What waits in a queue with levels of priority, by level; 1 is the most urgent. */
export class LevelTally {
  readonly #levels: Map<number, Tally> = new Map();

  /** Notes that a request waits (1) or does not any more (-1). */
  count({ priority, inputs }: PendingRequest, sign: 1 | -1): void {
    let tally = this.#levels.get(priority);
    if (tally === undefined) {
      tally = { rows: 0, requests: 0 };
      this.#levels.set(priority, tally);
    }
    tally.rows += sign * inputs.rows;
    tally.requests += sign;
    // Configurations may have any number of levels.
    if (tally.requests === 0) this.#levels.delete(priority);
  }

  /** Requests of a level that wait. */
  requests(level: number): number {
    return this.#levels.get(level)?.requests ?? 0;
  }

  /** Rows that are run before a new request of a level: those of the same level and of more urgent ones. */
  rowsBefore(level: number): number {
    let rows = 0;
    for (const [other, tally] of this.#levels) if (other <= level) rows += tally.rows;
    return rows;
  }
}
