import { ConfigError, unknownOption } from './config-error.ts';
import { describeAllowed, parseValue, type ValueKind } from './config-values.ts';
import { grantedCores } from './granted.ts';

export { ConfigError };

/**
 * The one table of options. From it come the flags and their help, the `SHOAL_…` variables, the keys of
 * `shoal.config.json`, the types {@link ConfigInput} and {@link Config}, and the README's table.
 *
 * Flag and variable follow from the key: `maxBatchSize` is `--max-batch-size` and `SHOAL_MAX_BATCH_SIZE`.
 * `default` is written as a person would write it and is read like every other value; `group` orders the help.
 */
export const OPTIONS = {
  models: {
    group: 'Models',
    kind: 'text',
    pattern: '[^\\0]+',
    allowed: 'the path of a folder',
    default: './models',
    positional: true,
    help: 'folder with <name>.onnx or <name>/<version>/model.onnx',
  },
  strictReadiness: {
    group: 'Models',
    kind: 'switch',
    default: true,
    help: 'off: ready as soon as the server is up, not only while every model present has a ready version',
  },
  modelControlMode: {
    group: 'Models',
    kind: 'choice',
    choices: ['none', 'explicit'],
    default: 'none',
    placeholder: 'mode',
    help: 'which models are served: all in the folder (none), or those named by --load-model and by load requests (explicit)',
  },
  loadModel: {
    group: 'Models',
    kind: 'list',
    pattern: '[^\\0/]+',
    allowed: "names of models, or '*' for all",
    default: [],
    none: 'no model',
    placeholder: 'name',
    help: 'with --model-control-mode explicit, a model to load at the start; may be given several times; * for all',
  },
  loadTimeout: {
    group: 'Models',
    kind: 'duration',
    min: '100ms',
    max: '1h',
    bareUnit: 's',
    default: '120s',
    help: 'time limit for loading and probing one model',
  },
  pipelines: {
    group: 'Models',
    kind: 'text',
    pattern: '[^\\0]+',
    allowed: "the path of a folder, 'auto' or 'off'",
    default: 'auto',
    placeholder: 'folder',
    help: "folder with pipelines, *.js or *.mjs (*.ts where Node.js runs it); auto: 'pipelines' beside the models folder, if it is there; off: none",
  },
  host: {
    group: 'Network',
    kind: 'text',
    pattern: '[\\p{L}\\p{N}:][\\p{L}\\p{N}._:%-]*',
    allowed: 'an address or host name, such as 127.0.0.1, 0.0.0.0 (every interface), ::1 or localhost',
    default: '127.0.0.1',
    placeholder: 'address',
    help: 'address to listen on; 0.0.0.0 for every interface',
  },
  port: {
    group: 'Network',
    kind: 'count',
    min: 0,
    max: 65535,
    default: 8000,
    help: 'port to listen on; 0 for any free one',
  },
  metricsPort: {
    group: 'Network',
    kind: 'count',
    word: 'same',
    min: 0,
    max: 65535,
    default: 'same',
    help: 'port of GET /metrics, when it should have one of its own',
  },
  tritonMetrics: {
    group: 'Network',
    kind: 'switch',
    default: false,
    help: "Triton's nv_inference_… series in GET /metrics, beside Shoal's own",
  },
  grpcPort: {
    group: 'Network',
    kind: 'count',
    word: 'off',
    min: 0,
    max: 65535,
    default: 'off',
    help: 'port of the gRPC service, which Triton has on 8001; 0 for any free one',
  },
  bodyLimit: {
    group: 'Network',
    kind: 'size',
    min: '1KiB',
    max: '1GiB',
    default: '64MiB',
    help: 'largest request body, expanded where it is compressed',
  },
  httpCompression: {
    group: 'Network',
    kind: 'choice',
    choices: ['explicit', 'negotiate', 'off'],
    default: 'explicit',
    placeholder: 'when',
    help: 'inference replies are compressed for clients that ask for gzip or deflate alone (explicit), or in a list, too (negotiate)',
  },
  requestTimeout: {
    group: 'Network',
    kind: 'duration',
    min: '1ms',
    max: '1h',
    bareUnit: 's',
    default: '30s',
    help: 'longest time a request may take, waiting included',
  },
  trainingDir: {
    group: 'Models',
    kind: 'text',
    pattern: '[^\\0]+',
    allowed: 'off, or the path of a folder',
    default: 'off',
    placeholder: 'folder',
    help: 'folder for labelled examples that are sent over HTTP',
  },
  remoteHosts: {
    group: 'Remote inputs',
    kind: 'list',
    pattern: '(\\*\\.)?[\\p{L}\\p{N}_-]+(\\.[\\p{L}\\p{N}_-]+)*(:\\d{1,5})?',
    allowed: 'hosts such as data.example.org, *.example.org (all below it) or data.example.org:8443',
    default: [],
    none: 'nothing is fetched',
    placeholder: 'host',
    help: 'hosts from which inputs given as https:// addresses are fetched; may be given several times',
  },
  remoteMaxBytes: {
    group: 'Remote inputs',
    kind: 'size',
    min: '1B',
    max: '1GiB',
    default: '32MiB',
    help: 'most bytes that are fetched from one address',
  },
  remoteTimeout: {
    group: 'Remote inputs',
    kind: 'duration',
    min: '1ms',
    max: '10m',
    bareUnit: 's',
    default: '10s',
    help: 'time limit for fetching one address, redirects included',
  },
  remoteConcurrency: {
    group: 'Remote inputs',
    kind: 'count',
    min: 1,
    max: 1024,
    default: 32,
    help: 'addresses that are fetched at the same time; others wait for their turn',
  },
  maxBatchSize: {
    group: 'Batching',
    kind: 'count',
    min: 1,
    max: 65536,
    default: 128,
    help: 'most rows in one run and in one request; lowered for models whose rows need much memory',
  },
  batchWindow: {
    group: 'Batching',
    kind: 'duration',
    min: '0ms',
    max: '10s',
    bareUnit: 'ms',
    default: '0ms',
    help: 'time to wait for more rows before a run; 0 waits for nothing but what has already arrived',
  },
  scheduling: {
    group: 'Batching',
    kind: 'choice',
    choices: ['take-all', 'measured'],
    default: 'take-all',
    placeholder: 'how',
    help: 'how many of the rows that wait a run takes: all that fit, or what is best by its measured cost (measured)',
  },
  batchingCheck: {
    group: 'Batching',
    kind: 'choice',
    choices: ['live', 'load', 'strict'],
    default: 'live',
    placeholder: 'how',
    help: 'whether rows that share runs keep their answers is seen at load alone (load), and in real rows, too (live); strict: only sizes of runs proven bit for bit are used',
  },
  maxQueueRows: {
    group: 'Batching',
    kind: 'count',
    min: 1,
    max: 10_000_000,
    default: 16384,
    help: 'most rows that may wait, per model',
  },
  maxQueueBytes: {
    group: 'Batching',
    kind: 'size',
    min: '1KiB',
    max: '1TiB',
    default: '256MiB',
    help: 'most bytes of inputs that accepted requests may hold, all models together',
  },
  cores: {
    group: 'Execution',
    kind: 'count',
    word: 'auto',
    min: 1,
    max: 1024,
    default: 'auto',
    help: 'cores that runs may use together; auto: what affinity and cgroup quota grant',
  },
  instances: {
    group: 'Execution',
    kind: 'count',
    word: 'auto',
    min: 1,
    max: 1024,
    default: 'auto',
    help: 'executors per model; auto: one for a file over 16 MB, otherwise up to the cores',
  },
  intraOpThreads: {
    group: 'Execution',
    kind: 'count',
    word: 'auto',
    min: 1,
    max: 1024,
    default: 'auto',
    help: 'threads per executor, at most the cores; auto: all cores for a file over 16 MB, otherwise 1',
  },
  provider: {
    group: 'Execution',
    kind: 'text',
    pattern: 'auto|cpu|cuda(:\\d{1,2})?',
    allowed: 'auto, cpu, cuda or cuda:<device>, such as cuda:0',
    default: 'auto',
    placeholder: 'name',
    help: 'where models run: cpu, cuda[:device], or auto: a GPU when a session on it works, otherwise the CPU',
  },
  profileCache: {
    group: 'Execution',
    kind: 'text',
    pattern: '[^\\0]+',
    allowed: "the path of a folder, 'auto' or 'off'",
    default: 'auto',
    placeholder: 'folder',
    help: 'where shoal profile stores what it measured, for shoal serve; auto: shoal/profiles in the cache folder; off: nowhere',
  },
  traceFile: {
    group: 'Process',
    kind: 'text',
    pattern: '[^\\0]+',
    allowed: "the path of a file, or 'off'",
    default: 'off',
    placeholder: 'file',
    help: 'file to record requests and runs in, for shoal replay: when, how many rows, how they ended, never what they hold; off: none',
  },
  traceMaxBytes: {
    group: 'Process',
    kind: 'size',
    min: '1KiB',
    max: '1TiB',
    default: '256MiB',
    help: 'largest size of that file; then nothing more is recorded',
  },
  drainDelay: {
    group: 'Process',
    kind: 'duration',
    min: '0s',
    max: '10m',
    bareUnit: 's',
    default: '0s',
    help: 'on SIGTERM, time to answer "not ready" while still accepting, so that load balancers notice',
  },
  drainTimeout: {
    group: 'Process',
    kind: 'duration',
    min: '0s',
    max: '1h',
    bareUnit: 's',
    default: '30s',
    help: 'after that, longest time to finish what was accepted',
  },
  logLevel: {
    group: 'Process',
    kind: 'choice',
    choices: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    default: 'info',
    placeholder: 'level',
    help: 'least severe messages to log',
  },
} as const;

type Table = typeof OPTIONS;

/** The key of an option: its name in programs and in `shoal.config.json`. */
export type OptionKey = keyof Table;

type WordOf<O> = O extends { word: infer W } ? W : never;

type InputOf<O extends ValueKind> = O['kind'] extends 'count'
  ? number | WordOf<O>
  : O['kind'] extends 'size' | 'duration'
    ? number | string
    : O extends { choices: readonly (infer C)[] }
      ? C
      : O['kind'] extends 'switch'
        ? boolean
        : O['kind'] extends 'list'
          ? readonly string[] | string
          : string;

type ResolvedOf<O extends ValueKind> = O['kind'] extends 'size' | 'duration'
  ? number
  : O['kind'] extends 'list'
    ? readonly string[]
    : InputOf<O>;

type ResolvedKey<K extends OptionKey> = Table[K]['kind'] extends 'duration'
  ? `${K}Ms`
  : Table[K]['kind'] extends 'size'
    ? K extends `${string}Bytes`
      ? K
      : `${K}Bytes`
    : K;

type Resolved = { readonly [K in OptionKey as ResolvedKey<K>]: ResolvedOf<Table[K]> };

/**
 * Options as a program gives them; everything that is left out or undefined has its default.
 * Sizes are `'64MiB'` or bytes; durations are `'500ms'`, `'30s'`, `'2m'` or a number, which means milliseconds for
 * `batchWindow` and seconds for all others; lists are arrays, or one text with commas.
 */
export type ConfigInput = { readonly [K in OptionKey]?: InputOf<Table[K]> | undefined };

/**
 * Checked options, complete and frozen. Durations are `…Ms`, sizes `…Bytes`; `instances` and `intraOpThreads` stay
 * `'auto'` where each model decides.
 */
export type Config = Omit<Resolved, 'cores' | 'metricsPort' | 'grpcPort' | 'trainingDir'> & {
  /** Cores that runs may use together: as given, or as granted to this process. */
  readonly cores: number;
  /** Undefined: metrics are served on the same port as everything else. */
  readonly metricsPort: number | undefined;
  /** Undefined: no gRPC. */
  readonly grpcPort: number | undefined;
  /** Undefined: no training over HTTP. */
  readonly trainingDir: string | undefined;
};

/** One row of the table with the names that follow from its key. */
export type Option = ValueKind & {
  readonly key: string;
  /** `--max-batch-size`; `--no-…` for switches that are on by default; `[models]` where it is an argument. */
  readonly flag: string;
  readonly variable: string;
  /** Heading under which the help shows it. */
  readonly group: string;
  readonly default: number | string | boolean | readonly string[];
  /** What an empty list means. */
  readonly none?: string;
  /** What the help calls the value: `<address>`. */
  readonly placeholder?: string;
  /** An argument of the command line, not a flag. */
  readonly positional?: boolean;
  readonly help: string;
};

type Row = ValueKind & Pick<Option, 'group' | 'default' | 'none' | 'placeholder' | 'positional' | 'help'>;

// The annotation is the check that every row of the table is well-formed.
const ROWS: Readonly<Record<OptionKey, Row>> = OPTIONS;

/** All options in the order of the table. */
export const OPTION_LIST: readonly Option[] = Object.entries(ROWS).map(([key, row]) => describeOption(key, row));

/** The path of the configuration file: an option of the command line alone. */
export const CONFIG_FILE_OPTION: Option = describeOption('config', {
  group: 'Process',
  kind: 'text',
  pattern: '[^\\0]+',
  allowed: 'the path of a JSON file',
  default: './shoal.config.json when present',
  placeholder: 'file',
  help: 'JSON file with options, their names in camelCase; flags and variables win over it',
});

/** Options from one place. */
export interface ConfigSource {
  /** By key. Undefined values count as not given. */
  readonly values: Readonly<Record<string, unknown>>;
  /** What messages call an option that came from here. */
  readonly nameOf: (option: Option) => string;
}

/** The default of an option in words. */
export function formatDefault({ kind, default: value, none }: Option): string {
  if (kind === 'switch') return value === true ? 'on' : 'off';
  return kind === 'list' && Array.isArray(value) && value.length === 0 ? (none ?? 'none') : String(value);
}

// Lets a program hand a Config on where a ConfigInput is asked for, without reading it twice.
const resolved = new WeakSet<object>();

function isResolved(input: object): input is Config {
  return resolved.has(input);
}

/**
 * Checks the options of a program and fills in defaults. A Config made here before comes back as it is.
 *
 * @throws {ConfigError} for an unknown option, a wrong or an out-of-range value.
 */
export function resolveConfig(input: ConfigInput | Config = {}): Config {
  if (isResolved(input)) return input;
  const known = new Set<string>(Object.keys(OPTIONS));
  for (const key of Object.keys(input)) {
    if (!known.has(key)) throw unknownOption(`option '${key}'`, key, [...known], (other) => `'${other}'`);
  }
  return resolveSources([{ values: { ...input }, nameOf: (option) => `option '${option.key}'` }]);
}

/**
 * Checks every value of every source, those that are overridden too, and takes each option from the first source that
 * has it. Unknown keys are the caller's to refuse, since each kind of source has its own way to name them.
 *
 * @param sources strongest first.
 * @param coresGranted cores this process may use.
 * @throws {ConfigError} for a wrong or out-of-range value.
 */
export function resolveSources(sources: readonly ConfigSource[], coresGranted: number = grantedCores()): Config {
  const values = new Map<string, unknown>();
  const names = new Map<string, string>();
  for (const option of OPTION_LIST) {
    values.set(option.key, parseValue(option, option.default));
    for (const source of sources.toReversed()) {
      const raw = source.values[option.key];
      if (raw === undefined) continue;
      const name = source.nameOf(option);
      values.set(option.key, checkValue(option, raw, name));
      names.set(option.key, name);
    }
  }

  const given = values.get('cores');
  const cores = typeof given === 'number' ? given : coresGranted;
  const threads = values.get('intraOpThreads');
  if (typeof threads === 'number' && threads > cores) {
    // A run needs a core token per thread, so it could never start.
    const whose = typeof given === 'number' ? `given as ${names.get('cores')}` : 'granted to this process';
    throw new ConfigError(names.get('intraOpThreads')!, threads, `'auto' or at most ${cores}, the cores ${whose}`);
  }
  const loadModel = values.get('loadModel');
  if (Array.isArray(loadModel) && loadModel.length > 0 && values.get('modelControlMode') !== 'explicit') {
    const text = `${names.get('loadModel')} needs --model-control-mode explicit; without it all models are loaded`;
    throw new ConfigError(names.get('loadModel')!, loadModel, 'no value', text);
  }
  const port = values.get('port');
  const metricsPort = values.get('metricsPort');
  const grpcPort = values.get('grpcPort');
  if (grpcPort !== 0 && (grpcPort === port || grpcPort === metricsPort)) {
    const other = grpcPort === port ? 'port' : 'metricsPort';
    throw new ConfigError(names.get('grpcPort')!, grpcPort, `another port than that of ${names.get(other) ?? other}`);
  }
  const trainingDir = values.get('trainingDir');
  const samePort = metricsPort === 'same' || (metricsPort === port && port !== 0);

  const config: Record<string, unknown> = {};
  for (const option of OPTION_LIST) config[configKey(option)] = values.get(option.key);
  // The table fixes every key and kind, and each value was read by its row.
  const complete = Object.freeze({
    ...config,
    cores,
    metricsPort: samePort ? undefined : metricsPort,
    grpcPort: grpcPort === 'off' ? undefined : grpcPort,
    trainingDir: trainingDir === 'off' ? undefined : trainingDir,
  }) as Config;
  resolved.add(complete);
  return complete;
}

function checkValue(option: Option, raw: unknown, name: string): unknown {
  const value = parseValue(option, raw);
  if (value === undefined) throw new ConfigError(name, raw, describeAllowed(option));
  return value;
}

function describeOption(key: string, row: Row): Option {
  const kebab = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return Object.freeze({
    ...row,
    key,
    flag:
      row.positional === true
        ? `[${kebab}]`
        : row.kind === 'switch' && row.default === true
          ? `--no-${kebab}`
          : `--${kebab}`,
    variable: `SHOAL_${kebab.toUpperCase().replaceAll('-', '_')}`,
  });
}

function configKey(option: Option): string {
  if (option.kind === 'duration') return `${option.key}Ms`;
  return option.kind === 'size' && !option.key.endsWith('Bytes') ? `${option.key}Bytes` : option.key;
}
