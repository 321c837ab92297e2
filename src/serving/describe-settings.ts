import { formatShape } from '../tensor/tensor.ts';
import type {
  BatchingSettings,
  ModelSettings,
  QueueSettings,
  TensorSettings,
  VersionPolicy,
} from './model-settings.ts';

/**
 * What a model's configuration sets, on one line for people: `config.pbtxt: max_batch_size 8, version_policy latest 1`.
 *
 * @returns undefined for a model without one.
 */
export function describeSettings(settings: ModelSettings): string | undefined {
  const { file, maxBatchSize, labels, instances, session, modelFile, maxQueueRows, batchingCheck, samples, message } =
    settings;
  if (file === undefined) return undefined;
  const says: string[] = [];
  if (maxBatchSize !== undefined) says.push(`max_batch_size ${maxBatchSize}`);
  says.push(`version_policy ${describePolicy(settings.versions)}`);
  says.push(...settings.inputs.map((tensor) => describeTensor('input', tensor)));
  says.push(...settings.outputs.map((tensor) => describeTensor('output', tensor)));
  for (const [output, lines] of labels) says.push(`${lines.length} labels of '${output}'`);
  if (message.dynamic_batching !== undefined) says.push(describeBatching(settings.batching));
  if (instances.count !== undefined) {
    const where = instances.provider === undefined ? '' : ` on ${instances.provider}`;
    says.push(`instance_group ${instances.count}${where}`);
  }
  if (session.graphOptimization !== 'all') says.push(`graph optimization ${session.graphOptimization}`);
  if (session.intraOpThreads !== undefined) says.push(`intra_op_thread_count ${session.intraOpThreads}`);
  if (batchingCheck !== undefined) says.push(`shoal.batching_check ${batchingCheck}`);
  if (samples.length > 0) says.push(`${samples.length} samples`);
  if (maxQueueRows !== undefined) says.push(`shoal.max_queue_rows ${maxQueueRows}`);
  if (modelFile !== 'model.onnx') says.push(`file ${modelFile}`);
  const kept = Object.keys(message.parameters ?? {}).filter((key) => !HONOURED.has(key));
  if (kept.length > 0) says.push(`parameters without effect: ${kept.join(', ')}`);
  return `${file}: ${says.join(', ')}`;
}

/** Parameters that are described by what they do, or that say what holds anyway. */
const HONOURED: ReadonlySet<string> = new Set([
  'intra_op_thread_count',
  'execution_mode',
  'shoal.batching_check',
  'shoal.max_queue_rows',
  'shoal.samples',
]);

function describePolicy(policy: VersionPolicy): string {
  if (policy.kind === 'all') return 'all';
  return policy.kind === 'latest' ? `latest ${policy.count}` : `specific ${policy.versions.join(' ')}`;
}

function describeTensor(kind: 'input' | 'output', { name, dims, reshape }: TensorSettings): string {
  const shape = dims.length === 0 && reshape === undefined ? '' : ` ${formatShape(dims)}`;
  return `${kind} '${name}'${shape}${reshape === undefined ? '' : ` as ${formatShape(reshape)}`}`;
}

function describeBatching(batching: BatchingSettings): string {
  const says: string[] = [];
  if (batching.preferredRows.length > 0) says.push(`preferred ${batching.preferredRows.join(' ')}`);
  if (batching.windowMs !== undefined) says.push(`window ${batching.windowMs} ms`);
  if (batching.preservesOrder) says.push('ordered');
  if (batching.priorityLevels > 0)
    says.push(`${batching.priorityLevels} levels, ${batching.defaultPriority} by default`);
  says.push(...describeQueue(batching.queue, ''));
  for (const [level, queue] of batching.queueByPriority) says.push(...describeQueue(queue, ` at level ${level}`));
  return `dynamic_batching${says.length === 0 ? '' : ` (${says.join('; ')})`}`;
}

function describeQueue({ maxRequests, timeoutMs }: QueueSettings, where: string): string[] {
  const says: string[] = [];
  if (maxRequests !== undefined) says.push(`at most ${maxRequests} waiting${where}`);
  if (timeoutMs !== undefined) says.push(`at most ${timeoutMs} ms waiting${where}`);
  return says;
}
