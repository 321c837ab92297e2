import { parseArgs } from 'node:util';

/** What the command line asks for. */
export interface BenchOptions {
  readonly isFull: boolean;
  readonly only: readonly string[];
  readonly pairs: number;
  readonly seconds: number;
  readonly load: 'wrk' | 'autocannon' | undefined;
  readonly json: string | undefined;
  readonly enforcesFloors: boolean;
  readonly help: boolean;
}

export const HELP = `npm run bench -- [options]

Measures Shoal beside a naive handler, a raw echo and ONNX Runtime in-process, in one interleaved run.

  --full           every model, encoding and number of clients (about 20 minutes); default: what decides the floors
  --only <parts>   only cases whose id contains one of these, comma-separated: tiny, json-64, big-binary-64, start
  --pairs <n>      rounds per case, at least 3 (7)
  --seconds <s>    whole seconds of one measurement, 1 to 10 (1); doubled for the memory-bound model
  --load <name>    wrk or autocannon; default: wrk when it is installed
  --json <file>    where the figures go as JSON (a whole run: bench/results, else nowhere)
  --no-floors      report missed floors, but exit with 0
`;

/** @throws {Error} for an unknown option or a wrong value. */
export function parseOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      full: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      pairs: { type: 'string', default: '7' },
      seconds: { type: 'string', default: '1' },
      load: { type: 'string' },
      json: { type: 'string' },
      'no-floors': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  return {
    isFull: values.full,
    only: values.only.split(',').filter((part) => part !== ''),
    pairs: wholeNumber('--pairs', values.pairs, 3, 1000),
    seconds: wholeNumber('--seconds', values.seconds, 1, 10),
    load: loadName(values.load),
    json: values.json,
    enforcesFloors: !values['no-floors'],
    help: values.help,
  };
}

function wholeNumber(option: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new Error(`${option} is '${text}', a whole number from ${least} to ${most} is expected`);
}

function loadName(text: string | undefined): BenchOptions['load'] {
  if (text === undefined || text === 'wrk' || text === 'autocannon') return text;
  throw new Error(`--load is '${text}', wrk or autocannon is expected`);
}
