import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, type CommanderError, Option as Flag } from 'commander';
import { CONFIG_FILE_OPTION, type Config, formatDefault, OPTION_LIST, type Option, type OptionKey } from '../config.ts';
import { ConfigError, nearest } from '../config-error.ts';
import { unitName, type ValueKind } from '../config-values.ts';
import type { RowFormat } from '../loading/rows.ts';
import type { BatchJob } from './batch.ts';
import type { BenchJob } from './bench/job.ts';
import { EXIT, type Host } from './host.ts';
import type { ProfileJob } from './profile.ts';
import type { ReplayJob } from './replay.ts';
import { addReplay } from './replay-command.ts';
import { type FlagValues, readConfig } from './sources.ts';
import { baseUrlOf, reachableUrl } from './text.ts';
import type { TypesOptions } from './types.ts';

/** What the commands do; each answers with the exit code. */
export interface Actions {
  readonly serve: (config: Config) => Promise<number>;
  readonly inspect: (path: string, config: Config, options: { readonly json: boolean }) => Promise<number>;
  /** @param options `out`: the file to write; undefined: stdout. */
  readonly types: (path: string, config: Config, options: TypesOptions) => Promise<number>;
  readonly profile: (job: ProfileJob, config: Config) => Promise<number>;
  readonly replay: (job: ReplayJob) => Promise<number>;
  readonly batch: (job: BatchJob, config: Config) => Promise<number>;
  readonly bench: (job: BenchJob, config: Config) => Promise<number>;
  /** @param url base address; undefined: host and port of the configuration. */
  readonly health: (url: string | undefined, config: Config) => Promise<number>;
}

const INSPECT_KEYS: readonly OptionKey[] = [
  'host',
  'port',
  'maxBatchSize',
  'loadTimeout',
  'cores',
  'intraOpThreads',
  'provider',
];

const PROFILE_KEYS: readonly OptionKey[] = [
  'maxBatchSize',
  'loadTimeout',
  'cores',
  'instances',
  'intraOpThreads',
  'provider',
  'profileCache',
];

const BATCH_KEYS: readonly OptionKey[] = [
  'maxBatchSize',
  'requestTimeout',
  'loadTimeout',
  'cores',
  'instances',
  'intraOpThreads',
  'provider',
];

const BENCH_KEYS: readonly OptionKey[] = [
  'host',
  'port',
  'maxBatchSize',
  'maxQueueRows',
  'requestTimeout',
  'loadTimeout',
  'cores',
  'instances',
  'intraOpThreads',
  'provider',
];

const BATCH_FORMATS: readonly RowFormat[] = ['ndjson', 'csv', 'npy', 'files'];

const HEALTH_KEYS: readonly OptionKey[] = ['host', 'port'];

const SERVE_EXAMPLES = `
Examples:
  shoal serve                           ./models on http://127.0.0.1:8000
  shoal serve ~/models --port 9000
  shoal serve --host 0.0.0.0 --drain-delay 5s --log-level warn
  SHOAL_MAX_BATCH_SIZE=32 shoal serve

Each option is also a key of shoal.config.json: --max-batch-size 32 is
"maxBatchSize": 32. A flag wins over its variable, the variable over the file,
the file over the default.`;

const INSPECT_EXAMPLES = `
Examples:
  shoal inspect models/mnist-cnn
  shoal inspect models --json

Loads and probes each model as the server would. Exit code 1 when one failed.`;

const TYPES_EXAMPLES = `
Examples:
  shoal types models --out src/models.ts
  shoal types models --for-pipelines --out pipelines/models.d.ts
  shoal types models/mnist-cnn

Loads and probes each model as the server would, and writes an interface for
ShoalClient<Models> of shoal/client. Exit code 1, and nothing written, when a
model failed.`;

const PROFILE_EXAMPLES = `
Examples:
  shoal profile mnist-cnn               a model of ./models
  shoal profile big.onnx --seconds 60 --max-batch-size 512
  shoal profile ~/models --json

Runs 1, 2, 4 ... rows at a time with each way worth trying to spread the model
over the cores, until more rows do not give more rows per second. Says whether
batching pays, and stores what was measured for shoal serve. Nothing else
should run meanwhile. Exit code 1 when a model could not be measured.`;

const BATCH_EXAMPLES = `
Examples:
  shoal batch language-id sentences.csv -o languages.ndjson
  shoal batch mnist-cnn digits.npy -o digits.ndjson --models ~/models
  shoal batch mnist-cnn digits.npy -o digits.ndjson --url http://10.0.0.7:8000

Input: lines of JSON, each a row as an instance of a predict request (.ndjson,
.jsonl); comma-separated values, the columns named like the model's inputs
(.csv); a NumPy array whose first dimension counts the rows (.npy); a folder of
files, whose bytes are the rows.
Output: a line of JSON for each row, in their order: {"row":0,"output":...} or
{"row":0,"error":"..."}. A run that was interrupted goes on where its output
ends. Exit code 1 when a row failed.`;

const BENCH_EXAMPLES = `
Examples:
  shoal bench http://127.0.0.1:8000 --model mnist-cnn --clients 64
  shoal bench http://127.0.0.1:8000 --model mnist-cnn --rate 500 --duration 30
  shoal bench --in-process --model mnist-cnn --clients 256
  shoal bench --account --model mnist-cnn

Without --rate each client sends its next request when it has its answer. With
--rate requests are sent when their time has come, and latencies count from
then on. --account shows where the time goes with 1, 64 and 10,000 callers as
coroutines, and with a thread for each caller. Exit code 1 when no request was
answered.`;

const HEALTH_EXAMPLES = `
Examples:
  shoal health                          http://127.0.0.1:8000/v2/health/ready
  shoal health http://10.0.0.7:9000

Exit code 0 when the server is ready, 1 when it is not or does not answer.`;

const ROOT_EXAMPLES = `
Examples:
  shoal serve                           ./models on http://127.0.0.1:8000
  shoal inspect models/mnist-cnn        what it takes and gives, and a curl
  shoal serve --help                    every option

Exit codes: 0 fine, 1 failed, 2 wrong option or value, 3 cannot serve (models
folder missing, a name used twice, port in use), 128 + n when a second signal n
ended the drain.`;

/**
 * Reads the command line, runs the command it names and answers with the exit code. Wrong usage is explained on
 * `host.err` and answered with {@link EXIT}.usage.
 *
 * @param args the arguments after the program's name.
 */
export async function runProgram(
  args: readonly string[],
  version: string,
  actions: Actions,
  host: Host,
): Promise<number> {
  let code: number = EXIT.ok;
  const run = async (
    command: Command,
    act: (config: Config) => Promise<number>,
    values: FlagValues = {},
  ): Promise<void> => {
    code = await act(readConfig({ ...flagsOf(command), ...values }, host.env, host.cwd));
  };

  const program = new Command('shoal')
    .description('Serves a folder of ONNX models over HTTP; requests that arrive together share ONNX Runtime calls.')
    .version(version, '--version', 'print the version')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', ROOT_EXAMPLES);

  const models = OPTION_LIST.find((option) => option.positional === true)!;
  const serve = addOptions(program.command('serve'), OPTION_LIST)
    .summary('serve the models of a folder')
    .description('Serves the models of a folder.')
    .argument('[models]', describe(models))
    .addHelpText('after', SERVE_EXAMPLES);
  serve.action((path: string | undefined) => run(serve, actions.serve, { models: path }));

  const inspect = addOptions(program.command('inspect'), pick(INSPECT_KEYS))
    .summary('show what models take and give, and a curl for each')
    .description('Shows signature, batch axes and batching of each model, and a curl that works for it.')
    .argument('<file|folder>', 'an .onnx file or a folder of models')
    .addOption(new Flag('--json', 'print the report as JSON').helpGroup('Process:'))
    .addHelpText('after', INSPECT_EXAMPLES);
  inspect.action((path: string, flags: { json?: boolean }) =>
    run(inspect, (config) => actions.inspect(path, config, { json: flags.json === true })),
  );

  const types = addOptions(
    program.command('types'),
    pick(INSPECT_KEYS.filter((key) => key !== 'host' && key !== 'port')),
  )
    .summary('write TypeScript types of what models take and give')
    .description('Writes TypeScript types of what each model takes and gives.')
    .argument('<file|folder>', 'an .onnx file or a folder of models')
    .addOption(new Flag('--out <file>', 'write to this file (default: stdout)').helpGroup('Process:'))
    .addOption(new Flag('--for-pipelines', 'have pipelines checked by them, too').helpGroup('Process:'))
    .addHelpText('after', TYPES_EXAMPLES);
  types.action((path: string, flags: { out?: string; forPipelines?: boolean }) =>
    run(types, (config) => actions.types(path, config, { out: flags.out, forPipelines: flags.forPipelines === true })),
  );

  const profile = addOptions(program.command('profile'), pick(PROFILE_KEYS))
    .summary('measure whether batching pays for a model')
    .description('Measures whether batching pays for a model on this machine, and how many rows a run should have.')
    .argument('<model>', 'an .onnx file, a folder of models, or the name of a model')
    .addOption(
      new Flag('--seconds <n>', 'time for each model, loading not counted')
        .argParser((text: string) => bounded('--seconds', text, 3600))
        .default(20)
        .helpGroup('Process:'),
    )
    .addOption(
      new Flag('--input <file>', 'JSON body of an infer request with rows to run (default: made up)').helpGroup(
        'Process:',
      ),
    )
    .addOption(new Flag('--json', 'print what was measured as JSON').helpGroup('Process:'))
    .addOption(new Flag('--models <folder>', `${models.help} (default ${formatDefault(models)})`).helpGroup('Models:'))
    .addHelpText('after', PROFILE_EXAMPLES);
  profile.action((model: string, flags: ProfileFlags) => {
    const { seconds, input, json = false, models: folder } = flags;
    return run(profile, (config) => actions.profile({ model, seconds, input, json }, config), { models: folder });
  });

  const replay = addReplay(program, async (job) => {
    code = await actions.replay(job);
  });

  const batch = addOptions(program.command('batch'), pick(BATCH_KEYS))
    .summary('run a data set through a model')
    .description('Runs a data set through a model, of a running server or of a folder.')
    .argument('<model>', 'name of the model')
    .argument('<input>', 'file or folder with the rows')
    .addOption(new Flag('-o, --output <file>', 'file for the results').makeOptionMandatory().helpGroup('Data:'))
    .addOption(
      new Flag('--format <format>', 'how the rows lie in the input (default: by its name)')
        .choices(BATCH_FORMATS)
        .helpGroup('Data:'),
    )
    .addOption(new Flag('--overwrite', 'start anew, whatever the output holds').helpGroup('Data:'))
    .addOption(new Flag('--model-version <version>', 'version of the model (default: the highest)').helpGroup('Data:'))
    .addOption(
      new Flag('--concurrency <n>', 'rows under way at the same time')
        .argParser((text: string) => bounded('--concurrency', text, 1024))
        .default(64)
        .helpGroup('Data:'),
    )
    .addOption(new Flag('--url <url>', 'address of a running server (default: one is started)').helpGroup('Models:'))
    .addOption(new Flag('--models <folder>', `${models.help} (default ${formatDefault(models)})`).helpGroup('Models:'))
    .addHelpText('after', BATCH_EXAMPLES);
  batch.action((model: string, input: string, flags: BatchFlags) => {
    const { output, format, overwrite = false, modelVersion: version, concurrency, url, models: folder } = flags;
    if (url !== undefined && !URL.canParse(url))
      throw new ConfigError('--url', url, 'an address such as http://host:8000');
    const job = { model, version, input, output, url, format, concurrency, overwrite };
    return run(batch, (config) => actions.batch(job, config), { ...serverFor(model), models: folder });
  });

  const bench = addOptions(program.command('bench'), pick(BENCH_KEYS))
    .summary('measure how fast a model answers')
    .description('Sends requests to a model, of a running server or in this process, and measures how it answers.')
    .argument('[url]', 'address of the server (default: host and port as for serve)')
    .addOption(new Flag('--model <name>', 'name of the model').makeOptionMandatory().helpGroup('Load:'))
    .addOption(new Flag('--in-process', 'load the model into this process, without HTTP').helpGroup('Load:'))
    .addOption(
      new Flag('--clients <n>', 'callers at the same time (default: 1); with --rate the most under way (default: 1024)')
        .argParser((text: string) => bounded('--clients', text, 16_384))
        .helpGroup('Load:'),
    )
    .addOption(
      new Flag('--rate <n>', 'requests a second, whatever has been answered')
        .argParser((text: string) => bounded('--rate', text, 1_000_000))
        .helpGroup('Load:'),
    )
    .addOption(
      new Flag('--arrivals <kind>', 'how requests come at that rate')
        .choices(['poisson', 'constant'])
        .default('poisson')
        .helpGroup('Load:'),
    )
    .addOption(
      new Flag('--duration <seconds>', 'how long (default: 10); with --account for each number of callers (default: 5)')
        .argParser((text: string) => bounded('--duration', text, 3600))
        .helpGroup('Load:'),
    )
    .addOption(
      new Flag('--rows <n>', 'rows of a made-up request')
        .argParser((text: string) => bounded('--rows', text, 1_000_000))
        .default(1)
        .helpGroup('Load:'),
    )
    .addOption(
      new Flag('--input <file>', 'JSON body of an infer request to send (default: made up)').helpGroup('Load:'),
    )
    .addOption(new Flag('--account', 'show where the time goes, with coroutines and with threads').helpGroup('Load:'))
    .addOption(new Flag('--json', 'print the result as JSON').helpGroup('Process:'))
    .addOption(new Flag('--models <folder>', `${models.help} (default ${formatDefault(models)})`).helpGroup('Models:'))
    .addHelpText('after', BENCH_EXAMPLES);
  bench.action((url: string | undefined, flags: BenchFlags) => {
    const { model, inProcess = false, rate, arrivals, rows, input, account = false, json = false } = flags;
    if (url !== undefined && inProcess) throw new ConfigError('--in-process', url, 'no address beside it');
    const clients = flags.clients ?? (rate === undefined ? 1 : 1024);
    const seconds = flags.duration ?? (account ? 5 : 10);
    const job = { model, clients, rate, arrivals, seconds, rows, input, account, json };
    const values = { ...(account ? { requestTimeout: '10m' } : {}), ...serverFor(model), models: flags.models };
    if (inProcess || account) return run(bench, (config) => actions.bench({ ...job, url }, config), values);
    return run(bench, (config) =>
      actions.bench({ ...job, url: url ?? reachableUrl(baseUrlOf(config.host, config.port)) }, config),
    );
  });

  const health = addOptions(program.command('health'), pick(HEALTH_KEYS))
    .summary('ask a running server whether it is ready')
    .description('Asks a running server whether it is ready.')
    .argument('[url]', 'address of the server (default: host and port as for serve)')
    .addHelpText('after', HEALTH_EXAMPLES);
  health.action((url: string | undefined) => run(health, (config) => actions.health(url, config)));

  const commands = [serve, inspect, types, profile, replay, batch, bench, health];
  for (const command of [program, ...commands]) {
    command
      .addHelpOption(new Flag('--help', 'print this help').helpGroup(command === program ? 'Options:' : 'Process:'))
      .configureOutput({ writeOut: host.out, writeErr: host.err, outputError: () => {} });
    command.exitOverride((error) => {
      throw new UsageError(command, error);
    });
  }

  const wrong = checkCommand(args, [...commands.map((command) => command.name()), 'help'], host);
  if (wrong !== undefined) return refuse(wrong, program, host);
  try {
    await program.parseAsync(args.length === 0 ? ['--help'] : [...args], { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof UsageError) return explainUsage(error, args, host);
    if (error instanceof ConfigError) {
      host.err(`shoal: ${error.message}\n`);
      return EXIT.usage;
    }
    throw error;
  }
}

interface ProfileFlags {
  readonly seconds: number;
  readonly input?: string;
  readonly json?: boolean;
  readonly models?: string;
}

interface BatchFlags {
  readonly output: string;
  readonly format?: RowFormat;
  readonly overwrite?: boolean;
  readonly modelVersion?: string;
  readonly concurrency: number;
  readonly url?: string;
  readonly models?: string;
}

interface BenchFlags {
  readonly model: string;
  readonly inProcess?: boolean;
  readonly clients?: number;
  readonly rate?: number;
  readonly arrivals: 'poisson' | 'constant';
  readonly duration?: number;
  readonly rows: number;
  readonly input?: string;
  readonly account?: boolean;
  readonly json?: boolean;
  readonly models?: string;
}

/** A server for one job: of its model alone, for this machine alone, and silent unless something is wrong. */
function serverFor(model: string): FlagValues {
  return {
    host: '127.0.0.1',
    port: '0',
    metricsPort: 'same',
    grpcPort: 'off',
    trainingDir: 'off',
    modelControlMode: 'explicit',
    loadModel: [model],
    logLevel: 'error',
  };
}

function bounded(flag: string, text: string, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw new ConfigError(flag, text, `an integer from 1 to ${most}`);
}

class UsageError extends Error {
  readonly command: Command;
  override readonly cause: CommanderError;

  constructor(command: Command, cause: CommanderError) {
    super(cause.message);
    this.command = command;
    this.cause = cause;
  }
}

function explainUsage(error: UsageError, args: readonly string[], host: Host): number {
  if (error.cause.exitCode === 0) return EXIT.ok;
  const text = error.message
    .replace(/^error: /, '')
    .replace(/\n\(Did you mean (.*)\?\)$/s, ', did you mean $1?')
    .replace(
      /^too many arguments for '.*'\. Expected (.*) but got (\d+)\.$/,
      'too many arguments, expected $1 but got $2',
    )
    .replace(/^missing required argument '(.*)'$/, 'missing argument <$1>')
    .replace(/^option '(.*)' argument missing$/, "option '$1' needs a value");
  // An option of `serve` before or without it.
  const flag = args[0]?.split('=')[0];
  const isMisplaced =
    error.command.parent === null && [...OPTION_LIST, CONFIG_FILE_OPTION].some((option) => option.flag === flag);
  return refuse(isMisplaced ? `${text}, did you mean shoal serve ${args.join(' ')}?` : text, error.command, host);
}

function refuse(text: string, command: Command, host: Host): number {
  host.err(`shoal: ${text}\nSee shoal ${command.parent === null ? '' : `${command.name()} `}--help\n`);
  return EXIT.usage;
}

/** What is wrong with the command's name, if anything; commander itself lets `shoal nonsense --help` pass. */
function checkCommand(args: readonly string[], names: readonly string[], host: Host): string | undefined {
  const name = args[0] === 'help' ? args[1] : args[0];
  if (name === undefined || name.startsWith('-') || names.includes(name)) return undefined;
  const near = nearest(name, names);
  if (near !== undefined) return `unknown command '${name}', did you mean ${near}?`;
  const isPath = existsSync(resolve(host.cwd, name));
  return `unknown command '${name}'${isPath ? `, did you mean shoal serve ${name}?` : `, expected ${names.join(', ')}`}`;
}

function addOptions(command: Command, options: readonly Option[]): Command {
  for (const option of [...options, CONFIG_FILE_OPTION]) {
    if (option.positional === true) continue;
    const value = option.kind === 'switch' ? '' : ` <${option.placeholder ?? placeholderOf(option)}>`;
    const flag = new Flag(`${option.flag}${value}`, describe(option)).helpGroup(`${option.group}:`);
    // Commander collects what is given several times only with a parser of one's own.
    if (option.kind === 'list') flag.argParser((item, before: string[] | undefined) => [...(before ?? []), item]);
    command.addOption(flag);
    // Lets a flag win over a variable that turns the switch off.
    if (option.flag.startsWith('--no-')) command.addOption(new Flag(option.flag.replace('--no-', '--')).hideHelp());
  }
  return command;
}

function pick(keys: readonly OptionKey[]): Option[] {
  const wanted: readonly string[] = keys;
  return OPTION_LIST.filter((option) => wanted.includes(option.key));
}

function describe(option: Option): string {
  const bare = option.kind === 'duration' ? `; bare number: ${unitName(option.bareUnit)}` : '';
  const choices = option.kind === 'choice' ? `: ${option.choices.join(', ')}` : '';
  return `${option.help}${choices} (default ${formatDefault(option)}${bare}; ${option.variable})`;
}

function placeholderOf(kind: ValueKind): string {
  switch (kind.kind) {
    case 'count':
      return kind.word === undefined ? 'n' : `n|${kind.word}`;
    case 'size':
    case 'duration':
      return kind.kind;
    default:
      return 'value';
  }
}

function flagsOf(command: Command): FlagValues {
  const flags: Record<string, string | boolean | readonly string[] | undefined> = {};
  for (const [key, value] of Object.entries(command.opts<Record<string, unknown>>())) {
    const isGiven = command.getOptionValueSource(key) === 'cli';
    if (isGiven && (typeof value === 'string' || typeof value === 'boolean' || Array.isArray(value)))
      flags[key] = value;
  }
  return flags;
}
