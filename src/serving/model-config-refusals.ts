import type { InstanceGroupMessage, ModelConfigMessage, TensorMessage } from './model-config-message.ts';

/**
 * What a configuration sets that Shoal does not have, each by the name of its field. Fields that say in other words
 * what holds anyway (`decoupled: false`, an empty `cuda {}`) are no reason to refuse a model.
 *
 * @returns one reason per field; empty when everything can be honoured.
 */
export function unsupportedFields(message: ModelConfigMessage): string[] {
  const refused: string[] = [];
  const refuse = (isSet: unknown, field: string, why: string): void => {
    if (isSet) refused.push(`${field} is not supported: ${why}`);
  };
  const { platform, backend } = message;
  refuse(platform && platform !== 'onnxruntime_onnx', `platform '${platform}'`, "only 'onnxruntime_onnx' is");
  refuse(backend && backend !== 'onnxruntime', `backend '${backend}'`, "only 'onnxruntime' is");
  refuse(message.runtime, 'runtime', 'ONNX Runtime is the one that Shoal was installed with');
  refuse(message.sequence_batching, 'sequence_batching', 'requests have no state between them');
  refuse(message.ensemble_scheduling, 'ensemble_scheduling', 'each model is served by itself');
  for (const field of ['batch_input', 'batch_output'] as const) {
    refuse(message[field]?.length, field, 'models get the inputs that callers send');
  }
  refuse(count(message.cc_model_filenames), 'cc_model_filenames', 'all devices run default_model_filename');
  refuse(count(message.metric_tags), 'metric_tags', 'series have the labels model and version');
  refuse(message.model_warmup?.length, 'model_warmup', 'the probe at load warms every model with inputs of its own');
  refuse(message.model_operations?.op_library_filename?.length, 'model_operations', 'libraries are not loaded');
  refuse(message.model_transaction_policy?.decoupled, 'model_transaction_policy.decoupled', 'a request has one answer');
  refuse(message.model_repository_agents?.agents?.length, 'model_repository_agents', 'files are read as they are');
  refuse(message.response_cache?.enable, 'response_cache.enable', 'every request is run');
  refuse(message.model_metrics?.metric_control?.length, 'model_metrics', 'histograms have fixed buckets');
  refused.push(...unsupportedOptimizations(message), ...unsupportedQueueing(message));
  for (const group of message.instance_group ?? []) refused.push(...unsupportedInstances(group));
  for (const field of ['input', 'output'] as const) {
    for (const tensor of message[field] ?? []) refused.push(...unsupportedTensor(field, tensor));
  }
  return refused;
}

function unsupportedOptimizations({ optimization }: ModelConfigMessage): string[] {
  const refused: string[] = [];
  if (optimization === undefined) return refused;
  const refuse = (isSet: unknown, field: string, why: string): void => {
    if (isSet) refused.push(`optimization.${field} is not supported: ${why}`);
  };
  const { cuda, execution_accelerators: accelerators } = optimization;
  const priority = optimization.priority ?? 'PRIORITY_DEFAULT';
  refuse(priority !== 'PRIORITY_DEFAULT', 'priority', 'models share the cores by what they have used');
  refuse(cuda?.graphs || cuda?.graph_spec?.length, 'cuda.graphs', 'CUDA graphs are not recorded');
  refuse(cuda?.busy_wait_events, 'cuda.busy_wait_events', 'ONNX Runtime waits in its own way');
  refuse(cuda?.output_copy_stream, 'cuda.output_copy_stream', 'ONNX Runtime copies in its own way');
  for (const kind of ['gpu_execution_accelerator', 'cpu_execution_accelerator'] as const) {
    for (const { name } of accelerators?.[kind] ?? []) {
      refuse(true, `execution_accelerators.${kind} '${name ?? ''}'`, 'models run on the CPU or on CUDA');
    }
  }
  refuse(optimization.gather_kernel_buffer_threshold, 'gather_kernel_buffer_threshold', 'inputs are not gathered so');
  refuse(optimization.eager_batching, 'eager_batching', 'a batch is closed when an executor can start it');
  return refused;
}

function unsupportedQueueing({ dynamic_batching: batching }: ModelConfigMessage): string[] {
  const refused: string[] = [];
  if (batching === undefined) return refused;
  const policies = { default_queue_policy: batching.default_queue_policy };
  for (const [level, policy] of Object.entries(batching.priority_queue_policy ?? {})) {
    Object.assign(policies, { [`priority_queue_policy[${level}]`]: policy });
  }
  for (const [field, policy] of Object.entries(policies)) {
    const action = policy?.timeout_action ?? 'REJECT';
    if (action === 'REJECT') continue;
    refused.push(
      `dynamic_batching.${field}.timeout_action '${action}' is not supported: who has waited too long is told so (REJECT)`,
    );
  }
  return refused;
}

function unsupportedInstances(group: InstanceGroupMessage): string[] {
  const refused: string[] = [];
  const refuse = (isSet: unknown, field: string, why: string): void => {
    if (isSet) refused.push(`instance_group.${field} is not supported: ${why}`);
  };
  const { kind = 'KIND_AUTO', rate_limiter: limiter } = group;
  refuse(
    !['KIND_AUTO', 'KIND_CPU', 'KIND_GPU'].includes(String(kind)),
    `kind '${kind}'`,
    'KIND_AUTO, _CPU and _GPU are',
  );
  refuse(limiter?.resources?.length || limiter?.priority, 'rate_limiter', 'runs are limited by the cores alone');
  refuse(group.secondary_devices?.length, 'secondary_devices', 'an instance has one device');
  refuse(group.profile?.length, 'profile', 'ONNX Runtime has no optimization profiles');
  refuse(group.passive, 'passive', 'every instance takes requests');
  refuse(group.host_policy, 'host_policy', 'the operating system places the processes');
  return refused;
}

function unsupportedTensor(field: 'input' | 'output', tensor: TensorMessage): string[] {
  const refused: string[] = [];
  const refuse = (isSet: unknown, key: string, why: string): void => {
    if (isSet) refused.push(`${key} of ${field} '${tensor.name ?? ''}' is not supported: ${why}`);
  };
  refuse(tensor.is_shape_tensor, 'is_shape_tensor', 'ONNX Runtime has no shape tensors');
  refuse(tensor.allow_ragged_batch, 'allow_ragged_batch', 'only requests of one shape share a run');
  refuse(tensor.optional, 'optional', 'a request has every input');
  refuse(tensor.is_non_linear_format_io, 'is_non_linear_format_io', 'tensors are laid out row by row');
  return refused;
}

function count(map: Readonly<Record<string, unknown>> | undefined): number {
  return Object.keys(map ?? {}).length;
}
