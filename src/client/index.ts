/** The client: what `import … from 'shoal/client'` gives. */
export type {
  AnyModels,
  BytesForm,
  DataOf,
  HalfArray,
  InputsOf,
  InputTensor,
  ModelMap,
  ModelName,
  ModelTypes,
  OutputName,
  OutputsOf,
  OutputTensor,
  TensorType,
} from '../tensor/signature-types.ts';
export type { Datatype } from '../tensor/tensor.ts';
export { type InferReply, type LoadOptions, ShoalClient } from './client.ts';
export { type ClientErrorCode, ShoalClientError } from './errors.ts';
export { fromHalf, toHalf } from './half.ts';
export type {
  CallOptions,
  ClientOptions,
  Compression,
  InferOptions,
  ModelOptions,
  ParameterValue,
  WireFormat,
} from './options.ts';
export type {
  ModelMetadata,
  ModelStatistics,
  RepositoryEntry,
  ServerMetadata,
  StatisticDuration,
  TensorMetadata,
} from './replies.ts';
export type { RetryOptions } from './retry.ts';
