import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BenchJob } from '../../../src/cli/bench/job.ts';
import { EXIT } from '../../../src/cli/host.ts';
import { type Actions, runProgram } from '../../../src/cli/program.ts';
import { CONFIG_FILE_OPTION, type Config, OPTION_LIST } from '../../../src/config.ts';
import { type RecordedHost, recordHost } from './support.ts';

interface Outcome {
  readonly code: number;
  readonly host: RecordedHost;
  /** Command and what it was called with. */
  readonly calls: unknown[][];
}

async function run(args: string, env: Record<string, string> = {}): Promise<Outcome> {
  const host = recordHost({ env, cwd: import.meta.dirname });
  const calls: unknown[][] = [];
  const record =
    (name: string) =>
    async (...given: unknown[]): Promise<number> => {
      calls.push([name, ...given]);
      return 7;
    };
  const actions: Actions = {
    serve: record('serve'),
    inspect: record('inspect'),
    types: record('types'),
    profile: record('profile'),
    replay: record('replay'),
    batch: record('batch'),
    bench: record('bench'),
    health: record('health'),
  };
  const code = await runProgram(args === '' ? [] : args.split(' '), '1.2.3', actions, host);
  return { code, host, calls };
}

function configOf({ calls }: Outcome): Config {
  const [call] = calls;
  return call!.find((given) => typeof given === 'object' && given !== null && 'port' in given) as Config;
}

describe('the command line', () => {
  it('without arguments prints the help and is fine', async () => {
    const { code, host } = await run('');
    assert.equal(code, 0);
    assert.match(host.stdout, /^Usage: shoal /);
    for (const command of ['serve', 'inspect', 'types', 'profile', 'replay', 'batch', 'bench', 'health'])
      assert.match(host.stdout, new RegExp(`^  ${command} `, 'm'));
    assert.equal(host.stderr, '');
  });

  it('reads what shoal bench is to do', async () => {
    const plain = await run('bench http://h:1 --model m');
    assert.deepEqual(plain.calls[0]![1], {
      model: 'm',
      url: 'http://h:1',
      clients: 1,
      rate: undefined,
      arrivals: 'poisson',
      seconds: 10,
      rows: 1,
      input: undefined,
      account: false,
      json: false,
    });
    const { calls } = await run('bench --model m --rate 50 --arrivals constant --duration 3 --port 9000 --json');
    const { url, rate, arrivals, seconds, clients, json } = calls[0]![1] as BenchJob;
    assert.deepEqual(
      { url, rate, arrivals, seconds, clients, json },
      { url: 'http://127.0.0.1:9000', rate: 50, arrivals: 'constant', seconds: 3, clients: 1024, json: true },
    );
    for (const flag of ['--in-process', '--account']) {
      const inProcess = await run(`bench --model m ${flag}`);
      assert.equal((inProcess.calls[0]![1] as BenchJob).url, undefined);
      const { loadModel, grpcPort } = configOf({ ...inProcess, calls: [inProcess.calls[0]!.slice(2)] });
      assert.deepEqual([loadModel, grpcPort], [['m'], undefined]);
    }
    for (const [args, text] of [
      ['bench', /--model/],
      ['bench --model m --clients 0', /--clients is '0', expected an integer from 1 to 16384/],
      ['bench --model m --arrivals never', /--arrivals/],
      ['bench http://h:1 --model m --in-process', /--in-process is 'http:\/\/h:1', expected no address beside it/],
    ] as const) {
      const { code, host } = await run(args);
      assert.equal(code, 2, args);
      assert.match(host.stderr, text);
    }
  });

  it('prints its version', async () => {
    const { code, host } = await run('--version');
    assert.deepEqual([code, host.stdout], [0, '1.2.3\n']);
  });

  it('shows every option with its variable and default in the help of serve', async () => {
    const { code, host } = await run('serve --help');
    assert.equal(code, 0);
    const text = host.stdout.replace(/\s+/g, ' ');
    for (const option of [...OPTION_LIST, CONFIG_FILE_OPTION]) {
      if (option.positional !== true) assert.ok(text.includes(` ${option.flag}`), option.flag);
      assert.ok(text.includes(`${option.variable})`), option.variable);
      assert.ok(text.includes(option.help), option.help);
      if (option.kind !== 'switch') assert.ok(text.includes(`(default ${option.default}`), `default of ${option.key}`);
    }
    assert.match(text, /--request-timeout <duration>.*?bare number: seconds/);
    assert.match(text, /--batch-window <duration>.*?bare number: milliseconds/);
    assert.doesNotMatch(text, / --strict-readiness/);
    assert.match(text, /Examples: shoal serve/);
  });

  it('keeps every help within 80 columns', async () => {
    for (const args of ['', 'serve --help', 'inspect --help', 'profile --help', 'batch --help', 'health --help']) {
      const { host } = await run(args);
      assert.deepEqual(
        host.stdout.split('\n').filter((line) => line.length > 80),
        [],
      );
    }
  });

  it('collects what is given several times', async () => {
    const outcome = await run('serve --model-control-mode explicit --load-model a --load-model b,c --load-model *');
    assert.deepEqual(configOf(outcome).loadModel, ['a', 'b,c', '*']);
  });

  it('hands the configuration to the command and its exit code back', async () => {
    const outcome = await run('serve some/models --port 9000 --request-timeout=5s');
    assert.equal(outcome.code, 7);
    assert.equal(configOf(outcome).models, 'some/models');
    assert.equal(configOf(outcome).port, 9000);
    assert.equal(configOf(outcome).requestTimeoutMs, 5000);
    assert.equal(configOf(await run('serve')).models, './models');
    assert.equal(configOf(await run('serve', { SHOAL_MODELS: '/m' })).models, '/m');
    assert.equal(configOf(await run('serve x', { SHOAL_MODELS: '/m' })).models, 'x');
  });

  it('turns strict readiness off and, over a variable, on', async () => {
    assert.equal(configOf(await run('serve')).strictReadiness, true);
    assert.equal(configOf(await run('serve --no-strict-readiness')).strictReadiness, false);
    const off = { SHOAL_STRICT_READINESS: 'off' };
    assert.equal(configOf(await run('serve', off)).strictReadiness, false);
    assert.equal(configOf(await run('serve --strict-readiness', off)).strictReadiness, true);
  });

  it('takes the last of a repeated flag', async () => {
    assert.equal(configOf(await run('serve --port 1 --port 2')).port, 2);
  });

  it('passes on what batch is to do', async () => {
    const args = 'batch m in.csv -o out.ndjson --concurrency 8 --model-version 2 --models elsewhere --cores 1';
    const outcome = await run(args);
    const config = configOf(outcome);
    assert.deepEqual(outcome.calls[0]!.slice(0, 2), [
      'batch',
      {
        model: 'm',
        version: '2',
        input: 'in.csv',
        output: 'out.ndjson',
        url: undefined,
        format: undefined,
        concurrency: 8,
        overwrite: false,
      },
    ]);
    assert.equal(config.cores, 1);
    assert.match(config.models, /elsewhere$/);
    for (const [wrong, text] of [
      ['batch m -o out', 'missing argument <input>'],
      ['batch m in.csv', "required option '-o, --output <file>' not specified"],
      ['batch m in.csv -o out --concurrency 0', '--concurrency'],
      ['batch m in.csv -o out --format xml', 'xml'],
      ['batch m in.csv -o out --url nonsense', '--url'],
    ] as const) {
      const { code, host } = await run(wrong);
      assert.equal(code, EXIT.usage, wrong);
      assert.ok(host.stderr.includes(text), host.stderr);
    }
  });

  it('passes on what profile is to do', async () => {
    const outcome = await run('profile m --seconds 3 --input in.json --json --models elsewhere --profile-cache off');
    assert.deepEqual(outcome.calls[0]!.slice(0, 2), [
      'profile',
      { model: 'm', seconds: 3, input: 'in.json', json: true },
    ]);
    assert.equal(configOf(outcome).profileCache, 'off');
    assert.match(configOf(outcome).models, /elsewhere$/);
    const plain = { model: 'm', seconds: 20, input: undefined, json: false };
    assert.deepEqual((await run('profile m')).calls[0]![1], plain);
    for (const seconds of ['0', '-1', 'x', '3601']) {
      const { code, host } = await run(`profile m --seconds ${seconds}`);
      assert.equal(code, EXIT.usage, seconds);
      assert.match(host.stderr, /--seconds is '.*', expected an integer from 1 to 3600/);
    }
  });

  it('passes on the path of inspect and the address of health', async () => {
    const [inspect] = (await run('inspect a.onnx --json --provider cpu')).calls;
    assert.equal(inspect?.[1], 'a.onnx');
    assert.deepEqual(inspect?.[3], { json: true });
    const [health] = (await run('health http://localhost:1')).calls;
    assert.equal(health?.[1], 'http://localhost:1');
    const unnamed = await run('health', { SHOAL_PORT: '9001' });
    assert.equal(unnamed.calls[0]?.[1], undefined);
    assert.equal(configOf(unnamed).port, 9001);
  });

  const refusals: [string, string][] = [
    ['servr', "unknown command 'servr', did you mean serve?"],
    [
      'nonsense --help',
      "unknown command 'nonsense', expected serve, inspect, types, profile, replay, batch, bench, health, help",
    ],
    [
      'help nonsense',
      "unknown command 'nonsense', expected serve, inspect, types, profile, replay, batch, bench, health, help",
    ],
    ['./program.test.js', "unknown command './program.test.js', did you mean shoal serve ./program.test.js?"],
    ['--port 9000', "unknown option '--port', did you mean shoal serve --port 9000?"],
    ['--bogus', "unknown option '--bogus'"],
    ['serve --prot 1', "unknown option '--prot', did you mean --port?"],
    ['serve -p 1', "unknown option '-p'"],
    ['serve --port', "option '--port <n>' needs a value"],
    ['serve a b', 'too many arguments, expected 1 argument but got 2'],
    ['inspect', 'missing argument <file|folder>'],
    ['inspect a b', 'too many arguments, expected 1 argument but got 2'],
    ['inspect a --batch-window 1', "unknown option '--batch-window'"],
    ['health a b', 'too many arguments, expected 1 argument but got 2'],
    ['serve --port 99999', "--port is '99999', expected a whole number from 0 to 65535"],
    ['serve --port -1', "--port is '-1', expected a whole number from 0 to 65535"],
    ['serve --port=', "--port is '', expected a whole number from 0 to 65535"],
    ['serve --log-level loud', "--log-level is 'loud', expected one of trace, debug, info, warn, error, fatal, silent"],
  ];
  for (const [args, message] of refusals) {
    it(`refuses shoal ${args}`, async () => {
      const { code, host, calls } = await run(args);
      assert.equal(host.stderr.split('\n')[0], `shoal: ${message}`);
      assert.equal(code, 2);
      assert.equal(host.stdout, '');
      assert.deepEqual(calls, []);
    });
  }
});
