import type { BatchInfo, Stamps } from '../batching/request.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** The answer to an inference asked for by a program. */
export interface InferResult {
  readonly model: string;
  readonly version: string;
  /** By name, in the order asked for. Views of a batch's memory: copy what is kept for long. */
  readonly outputs: Readonly<Record<string, Tensor>>;
  /** Rows of this request; `batch` says how many ran together. */
  readonly rows: number;
  readonly batch: BatchInfo;
  /** Its share of what its run computed, by rows, in milliseconds. */
  readonly costMs: number;
  readonly stamps: Readonly<Stamps>;
}
