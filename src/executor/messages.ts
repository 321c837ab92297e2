import type { Axes } from '../tensor/rows.ts';
import type { Signature } from '../tensor/signature.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Evidence, OutputVerdict } from '../tensor/verdict.ts';

/** Control messages between the front and an executor: the JSON heads of its control frames. */

/** Asks for a model to be loaded; answered by `loaded` with a {@link LoadReport}, or `failed`. */
export interface LoadRequest {
  readonly file: string;
  /** A model in base64 to load instead of a file. */
  readonly inline?: string | undefined;
  readonly provider: 'cpu' | 'cuda';
  /** The CUDA device; ignored on the CPU. */
  readonly device: number;
  readonly intraOpThreads: number;
  /** Default `all`. */
  readonly graphOptimization?: 'all' | 'extended' | 'basic' | 'disabled' | undefined;
  /** Names of the outputs that are served; left out: all. Those the model does not have are passed over. */
  readonly outputs?: readonly string[] | undefined;
}

export interface LoadReport {
  /** As the file declares it: without batch axes, and with every output. */
  readonly signature: Signature;
}

/** Asks for the model to be probed; answered by `probed` with a {@link Finding}. */
export interface ProbeRequest {
  /** Shapes of tensors by name, full ones, which say the size of dimensions that the file leaves free; −1: still free. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  /** Whether rows may be stacked along the first axis only. */
  readonly alongFirst: boolean;
  /** Inputs to probe it with, in the order of the model's; left out: generated ones. */
  readonly samples?: readonly (readonly SentTensor[])[] | undefined;
  /** Whether the rows are those of the runs that were kept. */
  readonly useKept?: boolean | undefined;
}

/** A tensor within JSON. */
export interface SentTensor extends Omit<Tensor, 'bytes'> {
  /** In base64. */
  readonly bytes: string;
}

/** Asks for the last run that was kept to be compared with runs of its rows alone or in other numbers; see {@link CheckReport}. */
export interface CheckRequest {
  /** By index of the model's inputs. */
  readonly inputAxes: Axes;
  /** By index of the outputs that are served. */
  readonly outputAxes: Axes;
  /** Rows to run alone. */
  readonly alone: readonly number[];
  /** Row counts to run: with its rows, and those of runs kept before it, over and over. */
  readonly sizes: readonly number[];
}

/** The answer to `check`. */
export interface CheckReport {
  /** Of the rows that were run alone, by output. */
  readonly outputs: readonly OutputVerdict[];
  /** Whether a row that was changed alone is the same when it is run alone twice. */
  readonly isRepeatable: boolean;
  /** Those of the sizes asked for in which every row had bit for bit the answer it was given. */
  readonly exactSizes: readonly number[];
  /** What it took. */
  readonly ms: number;
}

/** A run of a probe: its rows, the bytes of its inputs, and the time it took. */
export interface ProbedRun {
  readonly rows: number;
  readonly bytes: number;
  readonly ms: number;
}

/** What a probe found: the answer to `probe`. */
export interface Finding {
  /** Whether rows may share a run. */
  readonly batched: boolean;
  /** Why: what was found, for people. It can follow `batched: ` or `unbatched: `. */
  readonly reason: string;
  /** Whether rows of real requests may tell what generated ones did not. */
  readonly isOpen: boolean;
  /** By output, in the order of the signature. */
  readonly outputs: readonly OutputVerdict[];
  /** Where the rows came from that were compared. */
  readonly evidence: Evidence;
  /** With batch axes where the model may be batched. */
  readonly signature: Signature;
  /** Row counts of compared runs in which every row had bit for bit the answer it has alone; 1 is always there. */
  readonly exactSizes: readonly number[];
  /** Memory by which a run grew per row, in bytes; 0 when it is not known. */
  readonly bytesPerRow: number;
  /** What some of its runs took; empty when the model is not batched. */
  readonly runs: readonly ProbedRun[];
}

/** Head of a `failed` frame: what ONNX Runtime said, on a line. */
export interface Failure {
  readonly message: string;
}
