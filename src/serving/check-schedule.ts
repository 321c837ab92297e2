/** What a {@link CheckSchedule} goes by. */
export interface CheckCosts {
  /** What one row alone takes, in milliseconds; 0 when it is not known. */
  readonly rowMs: () => number;
  /** The compute of all runs so far, in milliseconds. */
  readonly computeMs: () => number;
}

/** Checks may take this part of the compute of all runs; those that prove sizes, this one. */
const BUDGET = 0.01;
const PROOF_BUDGET = 0.1;

/** Runs of each class of sizes that are checked at once when there is budget for it; the first is in any case. */
const FIRST_CHECKS = 3;

/** Afterwards one run in so many is. */
const RARELY = 1000;

/** Says which runs are checked: the first of each class of sizes (2–3, 4–7, 8–15, … rows), then few. */
export class CheckSchedule {
  readonly #costs: CheckCosts;
  /** Checks by class of sizes. */
  readonly #checks: number[] = [];
  #spentMs = 0;
  #proofMs = 0;
  #sinceLast = 0;
  #rows = 0;

  constructor(costs: CheckCosts) {
    this.#costs = costs;
  }

  /** Whether a run of so many rows is to be checked. Called for each run. */
  isDue(rows: number): boolean {
    this.#sinceLast++;
    const checks = this.#checks[classOf(rows)] ?? 0;
    if (checks === 0) return true;
    if (checks >= FIRST_CHECKS && this.#sinceLast < RARELY) return false;
    return this.#spentMs + this.#costs.rowMs() <= BUDGET * this.#costs.computeMs();
  }

  /** Whether there is time to try a run of so many rows beside what is served. */
  mayProve(rows: number): boolean {
    if (this.#proofMs === 0) return true;
    return this.#proofMs + rows * this.#costs.rowMs() <= PROOF_BUDGET * this.#costs.computeMs();
  }

  /** The row of a run that is to be run alone: the last one first, for kernels treat what is left over differently. */
  rowToCheck(rows: number): number {
    return rows - 1 - ((this.#rows++ * 7) % rows);
  }

  /** Notes a check. @param rows of the run, when a row of it was run alone; undefined: only a size was tried. */
  checked(rows: number | undefined, ms: number): void {
    if (rows === undefined) {
      this.#proofMs += ms;
      return;
    }
    this.#spentMs += ms;
    this.#sinceLast = 0;
    this.#checks[classOf(rows)] = (this.#checks[classOf(rows)] ?? 0) + 1;
  }
}

function classOf(rows: number): number {
  return 31 - Math.clz32(rows);
}
