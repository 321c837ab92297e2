/** The library: what `import … from 'shoal'` gives. */
export { type Static, type TSchema, Type } from 'typebox';
export type { BatchInfo, ReleaseReason, Stamps } from './batching/request.ts';
export { type Config, ConfigError, type ConfigInput, resolveConfig } from './config.ts';
export { type ErrorCode, ServeError, type ServeErrorCode, ShoalError, STATUS } from './errors.ts';
export { type PrefetchOptions, prefetch, type Task } from './loading/prefetch.ts';
export { RemoteFetcher, type RemoteOptions } from './loading/remote.ts';
export { type LoadedRow, type LoadOptions, loadRows, type RowFormat } from './loading/rows.ts';
export {
  definePipeline,
  type OffloadOptions,
  type Pipeline,
  type PipelineContext,
  type PipelineOptions,
} from './pipeline/define.ts';
export {
  type BytesField,
  bytes,
  type Field,
  type Fields,
  type TensorField,
  tensor,
} from './pipeline/fields.ts';
export type * from './pipeline/model-types.ts';
export { createServer, type ShoalServer } from './server.ts';
export { type InferResult, Service, type ServiceDeps } from './service.ts';
export type { ControlParameters } from './serving/model-control.ts';
export type { InferOptions, ModelState, ModelSummary } from './serving/model-version.ts';
export type { IndexEntry } from './serving/served-model.ts';
export type { Signature, TensorSpec } from './tensor/signature.ts';
export type { Datatype, Tensor } from './tensor/tensor.ts';
export { makeTensor, readTensor, type TypedTensor } from './tensor/typed.ts';
export { type Judgement, judgeHead, type TrainingStep } from './training/descent.ts';
export {
  collectFeatures,
  type FeatureOptions,
  type FeatureRows,
  type FeatureServer,
  type Features,
} from './training/features.ts';
export { type Activation, forward, type Head, type HeadShape, type Layer } from './training/head.ts';
export { baseWithHead, type HeadModelOptions, headModel } from './training/head-model.ts';
export type { OptimizerChoice } from './training/optimizer.ts';
export {
  type DataParallelOptions,
  type ParallelStep,
  trainDataParallel,
} from './training/parallel/train-data-parallel.ts';
export { trainHead } from './training/train-head.ts';
export type { Checkpoint, Examples, TrainHeadOptions, Turn } from './training/training-plan.ts';
