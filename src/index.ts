/** The library: what `import … from 'shoal'` gives. */
export type { BatchInfo, ReleaseReason, Stamps } from './batching/request.ts';
export { type Config, ConfigError, type ConfigInput, resolveConfig } from './config.ts';
export { type ErrorCode, ServeError, type ServeErrorCode, ShoalError, STATUS } from './errors.ts';
export { createServer, type ShoalServer } from './server.ts';
export { type InferResult, Service, type ServiceDeps } from './service.ts';
export type { ControlParameters } from './serving/model-control.ts';
export type { InferOptions, ModelState, ModelSummary } from './serving/model-version.ts';
export type { IndexEntry } from './serving/served-model.ts';
export type { Signature, TensorSpec } from './tensor/signature.ts';
export type { Datatype, Tensor } from './tensor/tensor.ts';
export { makeTensor, readTensor } from './tensor/typed.ts';
