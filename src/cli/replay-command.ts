import { type Command, Option as Flag } from 'commander';
import { ConfigError } from '../config-error.ts';
import { describeAllowed, parseValue } from '../config-values.ts';
import type { ReplayJob } from './replay.ts';
import { SETTING_NAMES } from './replay-settings.ts';

const EXAMPLES = `
Examples:
  shoal replay trace.ndjson --setting instances=2 --setting batch-window=2ms
  shoal replay --curve 8+0.5 --rate 100 --setting scheduling=take-all
  curl -s localhost:8000/v2/models/m/profile > m.json
  shoal replay --curve m.json --pattern clients --clients 64

Serves recorded or made-up requests on a virtual clock, by the code that serves
real ones, and prints what callers would have seen. Record with
shoal serve --trace-file trace.ndjson.`;

/** Adds the command `replay`; `act` is called with what it is to do. */
export function addReplay(program: Command, act: (job: ReplayJob) => Promise<void>): Command {
  const command = program
    .command('replay')
    .summary('show what other settings would do to recorded or made-up requests')
    .description('Shows what settings would do to recorded or made-up requests, on a virtual clock.')
    .argument('[trace]', 'file recorded with shoal serve --trace-file (default: requests are made up)');
  const add = (group: string, flags: string, text: string, parse?: (given: string) => unknown): void => {
    const flag = new Flag(flags, text).helpGroup(`${group}:`);
    command.addOption(parse === undefined ? flag : flag.argParser(parse));
  };
  const settings: string[] = [];
  add('Settings', '--base <list>', `settings of all: name=value,… with ${SETTING_NAMES.join(', ')}`);
  add('Settings', '--setting <list>', 'what to compare with them; may be given several times', (text) => {
    settings.push(text);
    return settings;
  });
  add('Runs', '--curve <file|a+b>', 'what a run takes: a profile as JSON, or ms of a run + ms of each row');
  add('Requests', '--model <name>', 'model of the trace, or name:version (default: the one with most requests)');
  command.addOption(
    new Flag('--pattern <pattern>', 'how requests come that are made up')
      .choices(['poisson', 'bursts', 'on-off', 'clients'])
      .default('poisson')
      .helpGroup('Requests:'),
  );
  add('Requests', '--rate <n>', 'requests per second (default 100)', (text) => positive('--rate', text));
  add('Requests', '--requests <n>', 'how many (default 100000)', (text) => count('--requests', text, 1e8));
  add('Requests', '--burst-size <n>', 'bursts: requests of one, on average (default 4)', (text) =>
    positive('--burst-size', text),
  );
  add('Requests', '--burst-spread <duration>', 'bursts: time between first and last (default 1.5ms)', (text) =>
    duration('--burst-spread', text),
  );
  add('Requests', '--on <duration>', 'on-off: mean time with requests (default 100ms)', (text) =>
    duration('--on', text),
  );
  add('Requests', '--off <duration>', 'on-off: mean time without (default 100ms)', (text) => duration('--off', text));
  add('Requests', '--clients <n>', 'clients: each sends its next when it has an answer (default 64)', (text) =>
    count('--clients', text, 65_536),
  );
  add('Requests', '--think <duration>', 'clients: mean time before the next (default 0.2ms)', (text) =>
    duration('--think', text),
  );
  add('Requests', '--seed <n>', 'of what is random (default 1)', (text) => count('--seed', text, 2 ** 31));
  add('Process', '--json', 'print everything as JSON');
  command.addHelpText('after', EXAMPLES);
  command.action((trace: string | undefined, flags: ReplayFlags) =>
    act({
      trace,
      model: flags.model,
      pattern: flags.pattern,
      rate: flags.rate ?? 100,
      requests: flags.requests ?? 100_000,
      burstSize: flags.burstSize ?? 4,
      burstSpreadMs: flags.burstSpread ?? 1.5,
      onMs: flags.on ?? 100,
      offMs: flags.off ?? 100,
      clients: flags.clients ?? 64,
      thinkMs: flags.think ?? 0.2,
      seed: flags.seed ?? 1,
      curve: flags.curve,
      base: flags.base,
      settings: flags.setting ?? [],
      json: flags.json === true,
    }),
  );
  return command;
}

interface ReplayFlags {
  readonly base?: string;
  readonly setting?: readonly string[];
  readonly curve?: string;
  readonly model?: string;
  readonly pattern: string;
  readonly rate?: number;
  readonly requests?: number;
  readonly burstSize?: number;
  readonly burstSpread?: number;
  readonly on?: number;
  readonly off?: number;
  readonly clients?: number;
  readonly think?: number;
  readonly seed?: number;
  readonly json?: boolean;
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new ConfigError(flag, text, 'a number above 0');
}

function count(flag: string, text: string, most: number): number {
  const kind = { kind: 'count', min: 1, max: most } as const;
  const value = parseValue(kind, text);
  if (typeof value === 'number') return value;
  throw new ConfigError(flag, text, describeAllowed(kind));
}

function duration(flag: string, text: string): number {
  const kind = { kind: 'duration', min: '0ms', max: '1h', bareUnit: 'ms' } as const;
  const value = parseValue(kind, text);
  if (typeof value === 'number') return value;
  throw new ConfigError(flag, text, describeAllowed(kind));
}
