import { Batch } from '../../batching/batch.ts';
import type { Split } from '../../batching/curve-verdict.ts';
import { PendingRequest } from '../../batching/request.ts';
import type { Clock } from '../../clock.ts';
import type { Executor } from '../../executor/executor.ts';
import { residentBytes } from '../../executor/resident.ts';
import type { CheckedInputs, Signature } from '../../tensor/signature.ts';
import type { ProfileRows } from './profile-rows.ts';
import type { SweepTarget } from './sweep.ts';

/** Executors of one split, all of which run at the same time. It owns them. */
export class ExecutorTarget implements SweepTarget {
  readonly split: Split;
  readonly #executors: readonly Executor[];
  readonly #signature: Signature;
  readonly #rows: ProfileRows;
  readonly #clock: Clock;
  readonly #warm: Set<number> = new Set();

  constructor(split: Split, executors: readonly Executor[], signature: Signature, rows: ProfileRows, clock: Clock) {
    this.split = split;
    this.#executors = executors;
    this.#signature = signature;
    this.#rows = rows;
    this.#clock = clock;
  }

  /** See {@link SweepTarget.measure}. */
  async measure(rows: number, forMs: number): Promise<readonly number[]> {
    const inputs = this.#rows(rows);
    if (!this.#warm.has(rows)) {
      // The first run of a size takes memory for it.
      await Promise.all(this.#executors.map((executor) => runOnce(executor, this.#signature, inputs)));
      this.#warm.add(rows);
    }
    const times: number[] = [];
    const endMs = this.#clock.now() + forMs;
    await Promise.all(
      this.#executors.map(async (executor) => {
        do times.push(await runOnce(executor, this.#signature, inputs));
        while (this.#clock.now() < endMs);
      }),
    );
    return times;
  }

  /** See {@link SweepTarget.residentBytes}. */
  residentBytes(): number {
    return Math.max(0, ...this.#executors.map(({ pid }) => residentBytes(pid) ?? 0));
  }

  close(): void {
    for (const executor of this.#executors) executor.close();
  }
}

/** Runs a batch; resolves with the milliseconds it took in ONNX Runtime. */
export async function runOnce(executor: Executor, signature: Signature, inputs: CheckedInputs): Promise<number> {
  const never = Number.POSITIVE_INFINITY;
  const submission = {
    inputs,
    outputs: undefined,
    priority: 0,
    receivedMs: 0,
    deadlineMs: never,
    queueDeadlineMs: never,
  };
  const batch = new Batch(signature, [new PendingRequest(submission, '', 0)], '', 'alone');
  const { computeStartMs, computeEndMs } = await executor.run(batch);
  return computeEndMs - computeStartMs;
}
