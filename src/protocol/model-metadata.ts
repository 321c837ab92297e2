import type { ModelVersion } from '../serving/model-version.ts';
import type { Signature, TensorSpec } from '../tensor/signature.ts';

/**
 * Model metadata of the Open Inference Protocol. `properties` says what Shoal found out beyond it.
 *
 * @param versions what is listed under `versions`.
 */
export function modelMetadata(model: ModelVersion, signature: Signature, versions: readonly string[]): object {
  const tensors = (specs: readonly TensorSpec[]): object[] =>
    specs.map(({ name, datatype, shape }) => ({ name, datatype, shape }));
  const { provider, providerReason, batching } = model.summary();
  return {
    name: model.name,
    versions,
    platform: 'onnxruntime_onnx',
    inputs: tensors(signature.inputs),
    outputs: tensors(signature.outputs),
    properties: { provider, provider_reason: providerReason, batching },
  };
}
