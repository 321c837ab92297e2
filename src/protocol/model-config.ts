import { tritonType } from '../serving/apply-settings.ts';
import type { QueuePolicyMessage, TensorMessage } from '../serving/model-config-message.ts';
import type { ModelSettings, QueueSettings, VersionPolicy } from '../serving/model-settings.ts';
import type { Servable } from '../serving/servable.ts';
import { isBatchedAlongFirst, type Signature, type TensorSpec } from '../tensor/signature.ts';
import { PIPELINE_PLATFORM } from './model-metadata.ts';

/** What of a model version its configuration is made from. */
type Configured = Pick<
  Servable,
  'kind' | 'name' | 'settings' | 'maxBatchSize' | 'batchWindowMs' | 'sharesRuns' | 'summary'
>;

/**
 * Model configuration in the JSON form of Triton's `ModelConfig`: what the model's file says, completed from the model
 * file, the probe and the server's options. Lists and maps are there even when they are empty, and 64-bit integers are
 * numbers. `max_batch_size` is 0 where rows are not stacked along the first dimension of every tensor, although the
 * model may be batched then, too. The reply is a `config.json` that has the same meaning.
 */
export function modelConfig(model: Configured, signature: Signature): object {
  const { name, settings } = model;
  const { message } = settings;
  const isPipeline = model.kind === 'pipeline';
  const alongFirst = isBatchedAlongFirst(signature);
  const hasBatching = model.sharesRuns || message.dynamic_batching !== undefined;
  return {
    name,
    platform: isPipeline ? PIPELINE_PLATFORM : 'onnxruntime_onnx',
    backend: isPipeline ? 'shoal' : 'onnxruntime',
    version_policy: versionPolicy(settings.versions),
    max_batch_size: alongFirst ? model.maxBatchSize : 0,
    input: signature.inputs.map((spec) => ({
      ...tensor(spec, alongFirst),
      format: given(message.input, spec.name)?.format ?? 'FORMAT_NONE',
      is_shape_tensor: false,
      allow_ragged_batch: false,
      optional: false,
      is_non_linear_format_io: false,
    })),
    output: signature.outputs.map((spec) => ({
      ...tensor(spec, alongFirst),
      label_filename: given(message.output, spec.name)?.label_filename ?? '',
      is_shape_tensor: false,
      is_non_linear_format_io: false,
    })),
    batch_input: [],
    batch_output: [],
    ...(message.optimization === undefined ? {} : { optimization: message.optimization }),
    ...(hasBatching ? { dynamic_batching: dynamicBatching(settings, model.batchWindowMs) } : {}),
    instance_group: isPipeline ? [] : instanceGroup(model),
    default_model_filename: isPipeline ? '' : settings.modelFile,
    cc_model_filenames: {},
    metric_tags: {},
    parameters: Object.fromEntries(
      Object.entries(message.parameters ?? {}).map(([key, { string_value = '' }]) => [key, { string_value }]),
    ),
    model_warmup: [],
    model_transaction_policy: { decoupled: false },
  };
}

function given(list: readonly TensorMessage[] | undefined, name: string): TensorMessage | undefined {
  return list?.find((tensor) => tensor.name === name);
}

function tensor(spec: TensorSpec, alongFirst: boolean): object {
  const { name, shape, modelShape } = spec;
  const dims = (full: readonly number[]): readonly number[] => (alongFirst ? full.slice(1) : full);
  const reshape = modelShape === undefined ? {} : { reshape: { shape: dims(modelShape) } };
  return { name, data_type: tritonType(spec), dims: dims(shape), ...reshape };
}

function versionPolicy(policy: VersionPolicy): object {
  if (policy.kind === 'all') return { all: {} };
  if (policy.kind === 'latest') return { latest: { num_versions: policy.count } };
  return { specific: { versions: policy.versions.map(Number) } };
}

function dynamicBatching({ batching, message }: ModelSettings, windowMs: number): object {
  const configured = message.dynamic_batching;
  const byPriority = [...batching.queueByPriority].map(([level, queue]) => [
    level,
    queuePolicy(queue, configured?.priority_queue_policy?.[level]),
  ]);
  return {
    preferred_batch_size: batching.preferredRows,
    max_queue_delay_microseconds: Math.round(windowMs * 1000),
    preserve_ordering: batching.preservesOrder,
    priority_levels: batching.priorityLevels,
    default_priority_level: batching.defaultPriority,
    default_queue_policy: queuePolicy(batching.queue, configured?.default_queue_policy),
    priority_queue_policy: Object.fromEntries(byPriority),
  };
}

/** Without a configuration, a request may always ask for a shorter time than the server's. */
function queuePolicy({ maxRequests = 0, timeoutMs = 0 }: QueueSettings, policy?: QueuePolicyMessage): object {
  return {
    timeout_action: 'REJECT',
    default_timeout_microseconds: Math.round(timeoutMs * 1000),
    allow_timeout_override: policy === undefined || (policy.allow_timeout_override ?? false),
    max_queue_size: maxRequests,
  };
}

/** One group that says what holds in sum. */
function instanceGroup(model: Configured): object[] {
  const { maxInstances, provider } = model.summary();
  const cuda = /^cuda:(\d+)$/.exec(provider);
  return [
    {
      name: model.settings.message.instance_group?.[0]?.name || `${model.name}_0`,
      kind: cuda === null ? 'KIND_CPU' : 'KIND_GPU',
      count: maxInstances,
      gpus: cuda === null ? [] : [Number(cuda[1])],
      secondary_devices: [],
      profile: [],
      passive: false,
      host_policy: '',
    },
  ];
}
