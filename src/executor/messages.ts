import type { Signature } from '../tensor/signature.ts';

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
}

/** What is known of how rows may share a run. */
export interface BatchVerdict {
  readonly batched: boolean;
  /** One sentence for people: what was found, and why the model is served as it is. */
  readonly reason: string;
}

/** A run of a probe: its rows, the bytes of its inputs, and the time it took. */
export interface ProbedRun {
  readonly rows: number;
  readonly bytes: number;
  readonly ms: number;
}

/** What a probe found: the answer to `probe`. */
export interface Finding {
  /** With batch axes where the model may be batched. */
  readonly signature: Signature;
  readonly verdict: BatchVerdict;
  /** Memory by which a run grew per row, in bytes; 0 when it is not known. */
  readonly bytesPerRow: number;
  /** What some of its runs took; empty when the model is not batched. */
  readonly runs: readonly ProbedRun[];
}

/** Head of a `failed` frame: what ONNX Runtime said, on a line. */
export interface Failure {
  readonly message: string;
}
