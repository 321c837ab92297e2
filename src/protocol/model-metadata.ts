import type { Servable } from '../serving/servable.ts';
import type { Signature, TensorSpec } from '../tensor/signature.ts';

/** The platform of a pipeline, for which the protocol has no name. */
export const PIPELINE_PLATFORM = 'shoal_pipeline';

/**
 * Model metadata of the Open Inference Protocol. `properties` says what Shoal found out beyond it.
 *
 * @param versions what is listed under `versions`.
 */
export function modelMetadata(model: Servable, signature: Signature, versions: readonly string[]): object {
  const tensors = (specs: readonly TensorSpec[]): object[] =>
    specs.map(({ name, datatype, shape }) => ({ name, datatype, shape }));
  const { provider, providerReason, batching } = model.summary();
  return {
    name: model.name,
    versions,
    platform: model.kind === 'pipeline' ? PIPELINE_PLATFORM : 'onnxruntime_onnx',
    inputs: tensors(signature.inputs),
    outputs: tensors(signature.outputs),
    properties: { provider, provider_reason: providerReason, batching },
  };
}
