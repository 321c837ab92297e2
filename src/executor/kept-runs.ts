import { joinAligned } from '../tensor/rows.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** A run as it was answered. */
export interface KeptRun {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  /** Which outputs those are; empty: all. */
  readonly indices: readonly number[];
}

/** Inputs of kept runs take so many bytes at most; the last run is kept whatever its size. */
const MOST_BYTES = 16 * 2 ** 20;

/** The last runs of a session while somebody wants to look at them. */
export class KeptRuns {
  #runs: KeptRun[] = [];

  /**
   * Adds a run, and forgets all but the last `most`.
   *
   * @param run its inputs are copied, for they lie in memory that the next frame overwrites.
   */
  add(run: KeptRun, most: number): void {
    if (most === 0) {
      this.#runs = [];
      return;
    }
    const inputs = run.inputs.map((tensor) => ({ ...tensor, bytes: joinAligned([tensor.bytes]) }));
    this.#runs.push({ ...run, inputs });
    this.#runs.splice(0, Math.max(0, this.#runs.length - most));
    let bytes = 0;
    const first = this.#runs.findLastIndex((one) => {
      bytes += sizeOf(one.inputs);
      return bytes > MOST_BYTES;
    });
    this.#runs.splice(0, Math.min(first + 1, this.#runs.length - 1));
  }

  /** The runs, the last one last; they are not kept any longer. */
  take(): readonly KeptRun[] {
    return this.#runs.splice(0);
  }
}

function sizeOf(tensors: readonly Tensor[]): number {
  return tensors.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
}
