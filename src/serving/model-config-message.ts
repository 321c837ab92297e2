import { readFileSync } from 'node:fs';
import type { Message, Type } from 'protobufjs';
import { messageOf } from '../errors.ts';

/**
 * Triton's message `ModelConfig` as plain data: names as in its `.proto`, enum values by name, 64-bit integers as
 * numbers. A key is there only when the file has it. Only what is looked at by name is listed.
 */
export interface ModelConfigMessage {
  readonly name?: string;
  readonly platform?: string;
  readonly backend?: string;
  readonly runtime?: string;
  readonly version_policy?: {
    readonly latest?: { readonly num_versions?: number };
    readonly all?: object;
    readonly specific?: { readonly versions?: readonly number[] };
  };
  readonly max_batch_size?: number;
  readonly input?: readonly TensorMessage[];
  readonly output?: readonly TensorMessage[];
  readonly batch_input?: readonly object[];
  readonly batch_output?: readonly object[];
  readonly optimization?: OptimizationMessage;
  readonly dynamic_batching?: DynamicBatchingMessage;
  readonly sequence_batching?: object;
  readonly ensemble_scheduling?: object;
  readonly instance_group?: readonly InstanceGroupMessage[];
  readonly default_model_filename?: string;
  readonly cc_model_filenames?: Readonly<Record<string, string>>;
  readonly metric_tags?: Readonly<Record<string, string>>;
  readonly parameters?: Readonly<Record<string, { readonly string_value?: string }>>;
  readonly model_warmup?: readonly object[];
  readonly model_operations?: { readonly op_library_filename?: readonly string[] };
  readonly model_transaction_policy?: { readonly decoupled?: boolean };
  readonly model_repository_agents?: { readonly agents?: readonly object[] };
  readonly response_cache?: { readonly enable?: boolean };
  readonly model_metrics?: { readonly metric_control?: readonly object[] };
}

/** `ModelInput` and `ModelOutput`. */
export interface TensorMessage {
  readonly name?: string;
  readonly data_type?: string | number;
  readonly format?: string | number;
  readonly dims?: readonly number[];
  readonly reshape?: { readonly shape?: readonly number[] };
  readonly label_filename?: string;
  readonly is_shape_tensor?: boolean;
  readonly allow_ragged_batch?: boolean;
  readonly optional?: boolean;
  readonly is_non_linear_format_io?: boolean;
}

export interface OptimizationMessage {
  readonly graph?: { readonly level?: number };
  readonly priority?: string | number;
  readonly cuda?: {
    readonly graphs?: boolean;
    readonly busy_wait_events?: boolean;
    readonly graph_spec?: readonly object[];
    readonly output_copy_stream?: boolean;
  };
  readonly execution_accelerators?: {
    readonly gpu_execution_accelerator?: readonly { readonly name?: string }[];
    readonly cpu_execution_accelerator?: readonly { readonly name?: string }[];
  };
  readonly gather_kernel_buffer_threshold?: number;
  readonly eager_batching?: boolean;
}

export interface QueuePolicyMessage {
  readonly timeout_action?: string | number;
  readonly default_timeout_microseconds?: number;
  readonly allow_timeout_override?: boolean;
  readonly max_queue_size?: number;
}

export interface DynamicBatchingMessage {
  readonly preferred_batch_size?: readonly number[];
  readonly max_queue_delay_microseconds?: number;
  readonly preserve_ordering?: boolean;
  readonly priority_levels?: number;
  readonly default_priority_level?: number;
  readonly default_queue_policy?: QueuePolicyMessage;
  readonly priority_queue_policy?: Readonly<Record<string, QueuePolicyMessage>>;
}

export interface InstanceGroupMessage {
  readonly name?: string;
  readonly kind?: string | number;
  readonly count?: number;
  readonly gpus?: readonly number[];
  readonly rate_limiter?: { readonly resources?: readonly object[]; readonly priority?: number };
  readonly secondary_devices?: readonly object[];
  readonly profile?: readonly string[];
  readonly passive?: boolean;
  readonly host_policy?: string;
}

interface Schema {
  readonly type: Type;
  readonly fromText: (text: string) => Message;
  readonly fromJson: (value: unknown) => Message;
}

const PROTO = new URL('../../../proto/model_config.proto', import.meta.url);

let schema: Promise<Schema> | undefined;

/** Read only when some model has a configuration: most servers start without it. */
function loadSchema(): Promise<Schema> {
  schema ??= (async () => {
    const [{ default: protobuf }, { default: textformat }, { default: protojson }] = await Promise.all([
      import('protobufjs'),
      import('protobufjs/ext/textformat.js'),
      import('protobufjs/ext/protojson.js'),
    ]);
    const { root } = protobuf.parse(readFileSync(PROTO, 'utf8'), { keepCase: true });
    const type = root.lookupType('inference.ModelConfig');
    return {
      type,
      fromText: (text) => textformat.fromText(type, text),
      fromJson: (value) => protojson.fromJson(type, value),
    };
  })();
  return schema;
}

/**
 * Reads `config.pbtxt`: a `ModelConfig` in protobuf's text format.
 *
 * @throws {Error} with the line, what is wrong there, and the line's text.
 */
export async function parseConfigText(text: string): Promise<ModelConfigMessage> {
  const { type, fromText } = await loadSchema();
  const source = withoutMark(text);
  try {
    return plain(type, fromText(source));
  } catch (thrown) {
    throw new Error(explainTextError(source, messageOf(thrown), fromText), { cause: thrown });
  }
}

/**
 * Reads `config.json`: a `ModelConfig` in protobuf's JSON form, such as a reply of `GET /v2/models/{model}/config`.
 *
 * @throws {Error} with the field and what is wrong with it.
 */
export async function parseConfigJson(text: string): Promise<ModelConfigMessage> {
  const { type, fromJson } = await loadSchema();
  const value: unknown = JSON.parse(withoutMark(text));
  try {
    const message = plain(type, fromJson(value));
    // The JSON form knows no difference between 0 and nothing; for this field there is one.
    const isZero = hasZero(value, 'max_batch_size') || hasZero(value, 'maxBatchSize');
    return isZero ? { ...message, max_batch_size: 0 } : message;
  } catch (thrown) {
    throw new Error(withoutPackage(messageOf(thrown)), { cause: thrown });
  }
}

/** The schema has made sure that the types are those of {@link ModelConfigMessage}. */
function plain(type: Type, message: Message): ModelConfigMessage {
  return type.toObject(message, { longs: Number, enums: String });
}

function hasZero(value: unknown, key: string): boolean {
  const given = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  return given.some(([name, one]) => name === key && Number(one) === 0 && one !== null);
}

function withoutMark(text: string): string {
  return text.replace(/^\uFEFF/, '');
}

/** `.inference.ModelInput.data_type` → `ModelInput.data_type`. */
function withoutPackage(message: string): string {
  return message.replaceAll(/\.inference\./g, '');
}

/**
 * Adds the line to a parser's message. Some come without it: then it is the first line up to which the text has that
 * very fault, instead of merely ending too early.
 */
function explainTextError(text: string, message: string, parse: (text: string) => unknown): string {
  const lines = text.split('\n');
  const told = / \(line (\d+)\)$/.exec(message);
  let line = told === null ? 0 : Number(told[1]);
  if (told === null) {
    let [low, high] = [1, lines.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (faultOf(lines.slice(0, middle).join('\n'), parse) === message) high = middle;
      else low = middle + 1;
    }
    line = low;
  }
  const what = withoutPackage(told === null ? message : message.slice(0, told.index));
  const shown = (lines[line - 1] ?? '').trim();
  return `line ${line}: ${what}${shown === '' ? '' : `, in '${shown.slice(0, 120)}'`}`;
}

function faultOf(text: string, parse: (text: string) => unknown): string | undefined {
  try {
    parse(text);
    return undefined;
  } catch (thrown) {
    return messageOf(thrown);
  }
}
