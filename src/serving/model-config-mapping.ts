import type {
  DynamicBatchingMessage,
  ModelConfigMessage,
  QueuePolicyMessage,
  TensorMessage,
} from './model-config-message.ts';
import { unsupportedFields } from './model-config-refusals.ts';
import {
  type BatchingCheck,
  type BatchingSettings,
  DEFAULT_SETTINGS,
  type InstanceSettings,
  type ModelSettings,
  type QueueSettings,
  type SessionSettings,
  type TensorSettings,
  type VersionPolicy,
} from './model-settings.ts';
import type { Sample } from './samples.ts';

/** Values of `optimization.graph.level` as Triton's ONNX Runtime backend has them; 0 is the default. */
const GRAPH_LEVELS: ReadonlyMap<number, SessionSettings['graphOptimization']> = new Map([
  [-1, 'basic'],
  [0, 'all'],
  [1, 'extended'],
  [2, 'disabled'],
]);

/** As `--instances` and `--intra-op-threads` have it. */
const MOST_INSTANCES = 1024;
const MOST_THREADS = 1024;

/** Parameters of ours; others are kept and shown. */
const OWN_PREFIX = 'shoal.';
const OWN_PARAMETERS = ['shoal.batching_check', 'shoal.max_queue_rows', 'shoal.samples'] as const;

const BATCHING_CHECKS: readonly BatchingCheck[] = ['live', 'load', 'strict'];

/**
 * What a configuration means for the server.
 *
 * @param name of the model's folder.
 * @param file the name that messages and `ModelSettings.file` have.
 * @param labels of each output that names a `label_filename`.
 * @param samples of the file that `shoal.samples` names.
 * @throws {Error} that names every field which is wrong or not supported, and why.
 */
export function settingsOf(
  message: ModelConfigMessage,
  name: string,
  file: string,
  labels: ReadonlyMap<string, readonly string[]>,
  samples: readonly Sample[] = [],
): ModelSettings {
  const problems = unsupportedFields(message);
  const wrong = (text: string): void => void problems.push(text);
  if (message.name && message.name !== name) {
    wrong(`name is '${message.name}', expected the folder's name '${name}' or none`);
  }
  const maxBatchSize = message.max_batch_size;
  if (maxBatchSize !== undefined && maxBatchSize < 0) wrong(`max_batch_size is ${maxBatchSize}, expected 0 or more`);
  const modelFile = message.default_model_filename || DEFAULT_SETTINGS.modelFile;
  if (!isPlainName(modelFile)) wrong(`default_model_filename is '${modelFile}', expected the name of a file`);
  const settings: ModelSettings = {
    file,
    maxBatchSize,
    insistsOnBatching: message.dynamic_batching !== undefined && (maxBatchSize ?? 0) > 0,
    inputs: tensors('input', message.input, wrong),
    outputs: tensors('output', message.output, wrong),
    labels,
    versions: versionPolicy(message, wrong),
    batching: batchingSettings(message.dynamic_batching, maxBatchSize, wrong),
    instances: instanceSettings(message, wrong),
    session: sessionSettings(message, wrong),
    modelFile,
    ...ownParameters(message, wrong),
    samples,
    message,
  };
  if (problems.length > 0) throw new Error(problems.join('; '));
  return settings;
}

/** Whether it names something right in a folder: no path, and nothing hidden. */
export function isPlainName(file: string): boolean {
  return !/[/\\\0]/.test(file) && !file.startsWith('.');
}

type Wrong = (text: string) => void;

function tensors(field: 'input' | 'output', list: readonly TensorMessage[] = [], wrong: Wrong): TensorSettings[] {
  const names = new Set<string>();
  return list.map((tensor) => {
    const { name = '', data_type: type = 'TYPE_INVALID', dims = [] } = tensor;
    if (name === '') wrong(`an ${field} has no name`);
    if (names.has(name)) wrong(`${field} '${name}' is there twice`);
    names.add(name);
    if (typeof type === 'number') wrong(`data_type of ${field} '${name}' is ${type}, expected one of Triton's types`);
    for (const [key, shape] of [
      ['dims', dims],
      ['reshape.shape', tensor.reshape?.shape ?? []],
    ] as const) {
      if (shape.every((dim) => dim === -1 || dim >= 1)) continue;
      wrong(`${key} of ${field} '${name}' are [${shape.join(', ')}], expected numbers from 1, or -1 for any`);
    }
    const reshape = tensor.reshape === undefined ? undefined : (tensor.reshape.shape ?? []);
    if (reshape !== undefined && !isReshape(dims, reshape)) {
      wrong(
        `${field} '${name}' has dims [${dims.join(', ')}] and reshape [${reshape.join(', ')}], expected as many elements in both`,
      );
    }
    return { name, dataType: type === 'TYPE_INVALID' ? undefined : String(type), dims, reshape };
  });
}

/** Whether two shapes have the same elements in any case: their fixed dimensions between free ones multiply to the same. */
function isReshape(dims: readonly number[], reshape: readonly number[]): boolean {
  const products = (shape: readonly number[]): string => {
    const out = [1];
    for (const dim of shape) {
      if (dim < 0) out.push(1);
      else out.push(out.pop()! * dim);
    }
    return out.join();
  };
  return products(dims) === products(reshape);
}

function versionPolicy({ version_policy: policy }: ModelConfigMessage, wrong: Wrong): VersionPolicy {
  if (policy?.all !== undefined) return { kind: 'all' };
  if (policy?.specific !== undefined) {
    const versions = policy.specific.versions ?? [];
    if (versions.length === 0) wrong('version_policy.specific has no versions, expected at least one');
    if (versions.some((version) => version < 0)) wrong('version_policy.specific.versions are numbers from 0');
    return { kind: 'specific', versions: versions.map(String) };
  }
  // As Triton has it where a configuration says nothing: the newest alone.
  return { kind: 'latest', count: policy?.latest?.num_versions || 1 };
}

function batchingSettings(
  batching: DynamicBatchingMessage | undefined,
  maxBatchSize: number | undefined,
  wrong: Wrong,
): BatchingSettings {
  if (batching === undefined) return DEFAULT_SETTINGS.batching;
  const preferred = [...new Set(batching.preferred_batch_size)].sort((a, b) => a - b);
  const most = maxBatchSize || Number.POSITIVE_INFINITY;
  if (preferred.some((rows) => rows < 1 || rows > most)) {
    const range = Number.isFinite(most) ? `from 1 to max_batch_size (${most})` : 'from 1';
    wrong(`dynamic_batching.preferred_batch_size is [${preferred.join(', ')}], expected numbers ${range}`);
  }
  const priorityLevels = batching.priority_levels ?? 0;
  const defaultPriority = batching.default_priority_level ?? 0;
  if (priorityLevels > 0 && (defaultPriority < 1 || defaultPriority > priorityLevels)) {
    wrong(
      `dynamic_batching.default_priority_level is ${defaultPriority}, expected 1 to priority_levels (${priorityLevels})`,
    );
  }
  if (priorityLevels === 0 && defaultPriority > 0) {
    wrong(`dynamic_batching.default_priority_level is ${defaultPriority}, expected priority_levels beside it`);
  }
  if (priorityLevels > 1 && batching.preserve_ordering === true) {
    wrong(
      `dynamic_batching.preserve_ordering is true, expected at most one of priority_levels beside it, not ${priorityLevels}`,
    );
  }
  const queueByPriority = new Map<number, QueueSettings>();
  for (const [key, policy] of Object.entries(batching.priority_queue_policy ?? {})) {
    const level = Number(key);
    if (level < 1 || level > priorityLevels) {
      wrong(
        `dynamic_batching.priority_queue_policy has level ${key}, expected 1 to priority_levels (${priorityLevels})`,
      );
    }
    queueByPriority.set(level, queueSettings(policy));
  }
  const delay = batching.max_queue_delay_microseconds;
  return {
    preferredRows: preferred,
    windowMs: delay === undefined ? undefined : delay / 1000,
    preservesOrder: batching.preserve_ordering ?? false,
    priorityLevels,
    defaultPriority,
    queue: queueSettings(batching.default_queue_policy),
    queueByPriority,
  };
}

function queueSettings(policy: QueuePolicyMessage = {}): QueueSettings {
  const { max_queue_size: size, default_timeout_microseconds: timeout } = policy;
  return { maxRequests: size || undefined, timeoutMs: timeout ? timeout / 1000 : undefined };
}

function instanceSettings({ instance_group: groups = [] }: ModelConfigMessage, wrong: Wrong): InstanceSettings {
  if (groups.length === 0) return DEFAULT_SETTINGS.instances;
  let count = 0;
  const kinds = new Set<string>();
  const devices = new Set<number>();
  for (const group of groups) {
    const one = group.count ?? 1;
    if (one < 0) wrong(`instance_group.count is ${one}, expected 1 or more`);
    count += one || 1;
    kinds.add(String(group.kind ?? 'KIND_AUTO'));
    for (const device of group.gpus ?? []) devices.add(device);
    if (group.kind === 'KIND_CPU' && group.gpus?.length) wrong('instance_group.gpus stands beside KIND_CPU');
  }
  if (count > MOST_INSTANCES)
    wrong(`instance_group has a count of ${count} in sum, expected at most ${MOST_INSTANCES}`);
  const name = `instance_group has ${groups.length} groups`;
  if (kinds.size > 1)
    wrong(`${name} of kinds ${[...kinds].join(' and ')}, which is not supported: one kind per model is`);
  if (devices.size > 1) {
    wrong(`instance_group.gpus are ${[...devices].join(', ')}, which is not supported: one GPU per model is`);
  }
  const [kind] = kinds;
  const provider = kind === 'KIND_CPU' ? 'cpu' : kind === 'KIND_GPU' ? 'cuda' : undefined;
  return { count, provider, device: [...devices][0] };
}

function sessionSettings({ optimization, parameters }: ModelConfigMessage, wrong: Wrong): SessionSettings {
  const level = optimization?.graph?.level ?? 0;
  const graphOptimization = GRAPH_LEVELS.get(level);
  if (graphOptimization === undefined) wrong(`optimization.graph.level is ${level}, expected -1, 0, 1 or 2`);
  const mode = parameters?.['execution_mode']?.string_value ?? '0';
  if (mode !== '0') wrong(`parameter execution_mode '${mode}' is not supported: nodes run one after the other ('0')`);
  const threads = parameters?.['intra_op_thread_count']?.string_value ?? '0';
  const isCount = /^\d{1,4}$/.test(threads) && Number(threads) <= MOST_THREADS;
  if (!isCount)
    wrong(`parameter intra_op_thread_count is '${threads}', expected text of a number from 0 to ${MOST_THREADS}`);
  return {
    intraOpThreads: isCount ? Number(threads) || undefined : undefined,
    graphOptimization: graphOptimization ?? 'all',
  };
}

function ownParameters(
  { parameters = {} }: ModelConfigMessage,
  wrong: Wrong,
): Pick<ModelSettings, 'maxQueueRows' | 'batchingCheck'> {
  const known: readonly string[] = OWN_PARAMETERS;
  for (const key of Object.keys(parameters)) {
    if (!key.startsWith(OWN_PREFIX) || known.includes(key)) continue;
    wrong(`there is no parameter ${key}, only ${known.join(', ')}`);
  }
  const rows = parameters['shoal.max_queue_rows']?.string_value;
  if (rows !== undefined && !/^[1-9]\d{0,8}$/.test(rows)) {
    wrong(`parameter shoal.max_queue_rows is '${rows}', expected a whole number from 1`);
  }
  const given = parameters['shoal.batching_check']?.string_value;
  const batchingCheck = BATCHING_CHECKS.find((one) => one === given);
  if (given !== undefined && batchingCheck === undefined) {
    wrong(`parameter shoal.batching_check is '${given}', expected ${BATCHING_CHECKS.join(', ')}`);
  }
  return { maxQueueRows: rows === undefined ? undefined : Number(rows), batchingCheck };
}
