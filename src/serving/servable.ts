import type { Reply, SettlementListener, Stamps } from '../batching/request.ts';
import type { ShoalError } from '../errors.ts';
import type { Signature } from '../tensor/signature.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { ModelSettings } from './model-settings.ts';
import type { InferOptions, ModelState, ModelSummary, SubmitOptions, VersionEvents } from './model-version.ts';

/** A request that has been taken and will be settled exactly once. */
export interface Pending {
  readonly stamps: Readonly<Stamps>;
  /** See {@link PendingRequest.onSettled}. */
  onSettled(listener: SettlementListener): void;
}

/** What answers inference requests under a name and a version: a version of a model, or a pipeline. */
export interface Servable {
  readonly kind: 'model' | 'pipeline';
  readonly name: string;
  readonly version: string;
  readonly state: ModelState;
  /** Whether a request would be answered now. */
  readonly isReady: boolean;
  /** Undefined until it is loaded. */
  readonly signature: Signature | undefined;
  /** See {@link ModelVersion.labels}. */
  readonly labels: ReadonlyMap<string, readonly string[]>;
  /**
   * Names of inputs and outputs of BYTES whose elements are any bytes; undefined where there are none, as for models:
   * ONNX Runtime takes texts alone.
   */
  readonly opaque: { readonly inputs: ReadonlySet<string>; readonly outputs: ReadonlySet<string> } | undefined;
  readonly sharesRuns: boolean;
  readonly maxBatchSize: number;
  readonly batchWindowMs: number;
  readonly settings: ModelSettings;
  readonly events: Pick<VersionEvents, 'refused' | 'finished'>;
  summary(): ModelSummary;
  /** The error for a request that it cannot take now. */
  notReady(): ShoalError;
  /** See {@link ModelVersion.submit}. */
  submit(inputs: ReadonlyMap<string, Tensor>, options?: SubmitOptions): Pending;
  /** Gives up a request that {@link submit} has taken. */
  cancel(request: Pending): void;
  /** {@link submit} as one promise, for callers in this process, whose tensors nobody has checked yet. */
  infer(inputs: ReadonlyMap<string, Tensor>, options?: InferOptions): Promise<Reply>;
}
