import type { InferResult } from '../serving/infer-result.ts';
import type { InferOptions } from '../serving/model-version.ts';
import type { AnyModels, ModelName, ModelTypes, OutputName, TensorType } from '../tensor/signature-types.ts';
import type { TypedTensor } from '../tensor/typed.ts';

/**
 * The models that pipelines know, by name. `shoal types --for-pipelines` writes a module that completes it, so that a wrong
 * name, datatype, rank or fixed dimension in a pipeline does not compile; as it stands, any model is taken.
 */
// biome-ignore lint/suspicious/noEmptyInterface: completed by users' modules.
export interface PipelineModels {}

/** {@link PipelineModels}, or any where it has not been completed. */
export type KnownModels = keyof PipelineModels extends never ? AnyModels : PipelineModels;

type TensorOf<T extends TensorType> = TypedTensor<T['datatype'], T['shape']>;

/** What {@link ModelHandle.infer} takes: all inputs by name. */
export type HandleInputs<T extends ModelTypes> = { readonly [I in keyof T['inputs']]: TensorOf<T['inputs'][I]> };

/** What {@link ModelHandle.infer} answers. */
export interface HandleResult<T extends ModelTypes, Names extends string = OutputName<T>> extends InferResult {
  readonly outputs: { readonly [O in Names]: TensorOf<T['outputs'][O]> };
}

/** Options of {@link ModelHandle.infer}; `signal`, deadline and priority of the pipeline hold besides. */
export interface HandleOptions<Names extends string = string> extends Omit<InferOptions, 'receivedMs' | 'outputs'> {
  readonly outputs?: readonly Names[];
  /** Default: the highest version that is ready. */
  readonly version?: string;
}

/** A model as pipelines see it. */
export interface ModelHandle<T extends ModelTypes = ModelTypes> {
  /**
   * Runs the model. The rows join those of all other callers: of this pipeline, of others, of requests from outside.
   *
   * @param inputs by name; their bytes must not change until the promise has settled.
   * @returns views of a batch's memory: copy what is kept for long.
   * @throws {ShoalError} with a message that names the step.
   */
  infer<Names extends OutputName<T> = OutputName<T>>(
    inputs: HandleInputs<T>,
    options?: HandleOptions<Names>,
  ): Promise<HandleResult<T, Names>>;
}

/** All models by name. */
export type ModelHandles = { readonly [M in ModelName<KnownModels>]: ModelHandle<KnownModels[M]> };
