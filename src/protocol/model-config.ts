import type { ModelVersion } from '../serving/model-version.ts';
import { isBatchedAlongFirst, type Signature, type TensorSpec } from '../tensor/signature.ts';

/**
 * Model configuration in the JSON form of Triton's `ModelConfig`: derived, since Shoal needs none. `max_batch_size` is
 * 0 where rows are not stacked along the first dimension of every tensor, although the model may be batched then, too.
 */
export function modelConfig(model: ModelVersion, signature: Signature): object {
  const { maxInstances, provider } = model.summary();
  const alongFirst = isBatchedAlongFirst(signature);
  const cuda = /^cuda:(\d+)$/.exec(provider);
  const tensors = (specs: readonly TensorSpec[]): object[] =>
    specs.map(({ name, datatype, shape }) => ({
      name,
      data_type: `TYPE_${datatype === 'BYTES' ? 'STRING' : datatype}`,
      dims: alongFirst ? shape.slice(1) : shape,
    }));
  const batching = {
    dynamic_batching: {
      preferred_batch_size: [],
      max_queue_delay_microseconds: Math.round(model.batchWindowMs * 1000),
      preserve_ordering: false,
      priority_levels: 0,
      default_priority_level: 0,
    },
  };
  return {
    name: model.name,
    platform: 'onnxruntime_onnx',
    backend: 'onnxruntime',
    version_policy: { all: {} },
    max_batch_size: alongFirst ? model.maxBatchSize : 0,
    input: tensors(signature.inputs).map((input) => ({
      ...input,
      format: 'FORMAT_NONE',
      is_shape_tensor: false,
      allow_ragged_batch: false,
      optional: false,
    })),
    output: tensors(signature.outputs).map((output) => ({ ...output, label_filename: '', is_shape_tensor: false })),
    batch_input: [],
    batch_output: [],
    ...(signature.batched ? batching : {}),
    instance_group: [
      {
        name: `${model.name}_0`,
        kind: cuda === null ? 'KIND_CPU' : 'KIND_GPU',
        count: maxInstances,
        gpus: cuda === null ? [] : [Number(cuda[1])],
      },
    ],
    default_model_filename: 'model.onnx',
    cc_model_filenames: {},
    metric_tags: {},
    parameters: {},
    model_warmup: [],
  };
}
