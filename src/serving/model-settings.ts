import type { ModelConfigMessage } from './model-config-message.ts';
import type { Sample } from './samples.ts';

/** What a model's configuration says of one of its tensors. */
export interface TensorSettings {
  readonly name: string;
  /** Triton's name, such as `TYPE_FP32`; undefined: as in the file. */
  readonly dataType: string | undefined;
  /** The shape that callers send, without the batch axis where the model has one; −1 is free. Empty: as in the file. */
  readonly dims: readonly number[];
  /** The shape that the model file has instead, also without the batch axis; undefined: the same. */
  readonly reshape: readonly number[] | undefined;
}

/** Which versions in the folder are served. */
export type VersionPolicy =
  | { readonly kind: 'all' }
  /** The `count` highest. */
  | { readonly kind: 'latest'; readonly count: number }
  | { readonly kind: 'specific'; readonly versions: readonly string[] };

/** Limits of a queue: of all requests of a model, or of those of one priority level. */
export interface QueueSettings {
  /** The most requests that wait; undefined: no limit of its own. */
  readonly maxRequests: number | undefined;
  /** How long a request may wait in the queue, in milliseconds; a request may ask for less, not for more. */
  readonly timeoutMs: number | undefined;
}

/** How requests are queued and share runs. */
export interface BatchingSettings {
  /** Row counts that a run should have; ascending. Empty: as many as wait. */
  readonly preferredRows: readonly number[];
  /** How long an oldest request is held back for others, in milliseconds; undefined: the server's setting. */
  readonly windowMs: number | undefined;
  /** Whether answers come in the order in which their requests were accepted. */
  readonly preservesOrder: boolean;
  /** Levels of priority, 1 being the most urgent; 0: requests have none. */
  readonly priorityLevels: number;
  /** The level of requests that name none; 0 where there are none. */
  readonly defaultPriority: number;
  /** What holds for requests of levels that have no settings of their own, and where there are no levels. */
  readonly queue: QueueSettings;
  /** By level. */
  readonly queueByPriority: ReadonlyMap<number, QueueSettings>;
}

/**
 * How it is seen to that rows keep their answers when they share runs: *load*: by the probe at load; *live*: and by
 * real rows, where the probe could not tell and in a few of the shared runs; *strict*: and only runs of sizes that have
 * been seen to give bit for bit the answers of rows alone are used.
 */
export type BatchingCheck = 'live' | 'load' | 'strict';

/** How ONNX Runtime is asked to run a model. */
export interface SessionSettings {
  /** Threads of a run; undefined: the server's setting. */
  readonly intraOpThreads: number | undefined;
  readonly graphOptimization: 'all' | 'extended' | 'basic' | 'disabled';
}

/** Where a model runs and how many executors it may have. */
export interface InstanceSettings {
  /** The most executors; undefined: the server's setting. */
  readonly count: number | undefined;
  /** undefined: where the server runs its models. */
  readonly provider: 'cpu' | 'cuda' | undefined;
  /** The CUDA device; undefined: the server's. */
  readonly device: number | undefined;
}

/**
 * What the server honours of a model's configuration: plain data, the same with and without a file. What is undefined
 * follows from the model file, the probe and the server's options.
 */
export interface ModelSettings {
  /** `config.pbtxt` or `config.json`; undefined: the model has none. */
  readonly file: string | undefined;
  /** The most rows of a request and of a run; 0: rows are not stacked along the first axis; undefined: as probed. */
  readonly maxBatchSize: number | undefined;
  /** Whether requests are to share runs although the probe could not show that it is safe. */
  readonly insistsOnBatching: boolean;
  readonly inputs: readonly TensorSettings[];
  /** When there are any, only these are served. */
  readonly outputs: readonly TensorSettings[];
  /** Labels of classes by output. */
  readonly labels: ReadonlyMap<string, readonly string[]>;
  readonly versions: VersionPolicy;
  readonly batching: BatchingSettings;
  readonly instances: InstanceSettings;
  readonly session: SessionSettings;
  /** Name of the model file in a version's folder. */
  readonly modelFile: string;
  /** The most rows that wait; undefined: the server's setting. */
  readonly maxQueueRows: number | undefined;
  /** undefined: the server's setting. */
  readonly batchingCheck: BatchingCheck | undefined;
  /** Requests to probe the model with, which `shoal.samples` names; empty: it is probed with made-up ones. */
  readonly samples: readonly Sample[];
  /** The file's content, for replies that show it. */
  readonly message: ModelConfigMessage;
}

/** What holds for a model without a configuration. */
export const DEFAULT_SETTINGS: ModelSettings = {
  file: undefined,
  maxBatchSize: undefined,
  insistsOnBatching: false,
  inputs: [],
  outputs: [],
  labels: new Map(),
  versions: { kind: 'all' },
  batching: {
    preferredRows: [],
    windowMs: undefined,
    preservesOrder: false,
    priorityLevels: 0,
    defaultPriority: 0,
    queue: { maxRequests: undefined, timeoutMs: undefined },
    queueByPriority: new Map(),
  },
  instances: { count: undefined, provider: undefined, device: undefined },
  session: { intraOpThreads: undefined, graphOptimization: 'all' },
  modelFile: 'model.onnx',
  maxQueueRows: undefined,
  batchingCheck: undefined,
  samples: [],
  message: {},
};
