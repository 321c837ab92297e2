import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type Config,
  ConfigError,
  type ConfigInput,
  OPTION_LIST,
  OPTIONS,
  resolveConfig,
  resolveSources,
} from '../../src/config.ts';
import { describeAllowed, parseValue } from '../../src/config-values.ts';

function refusal(act: () => unknown): ConfigError {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof ConfigError, `expected a ConfigError, got ${String(error)}`);
    return error;
  }
  assert.fail('expected a refusal');
}

// For values that the types refuse already but JavaScript and JSON do not.
function resolveUnchecked(input: Record<string, unknown>): Config {
  return resolveConfig(input as ConfigInput);
}

describe('resolveConfig', () => {
  it('fills in the documented defaults', () => {
    const { cores, ...rest } = resolveConfig();
    assert.ok(Number.isInteger(cores) && cores >= 1);
    assert.deepEqual(rest, {
      models: './models',
      strictReadiness: true,
      modelControlMode: 'none',
      loadModel: [],
      loadTimeoutMs: 120_000,
      pipelines: 'auto',
      host: '127.0.0.1',
      port: 8000,
      metricsPort: undefined,
      grpcPort: undefined,
      trainingDir: undefined,
      tritonMetrics: false,
      bodyLimitBytes: 64 * 2 ** 20,
      httpCompression: 'explicit',
      requestTimeoutMs: 30_000,
      remoteHosts: [],
      remoteMaxBytes: 32 * 1024 * 1024,
      remoteTimeoutMs: 10_000,
      remoteConcurrency: 32,
      maxBatchSize: 128,
      batchWindowMs: 0,
      scheduling: 'take-all',
      batchingCheck: 'live',
      maxQueueRows: 16_384,
      maxQueueBytes: 256 * 2 ** 20,
      instances: 'auto',
      intraOpThreads: 'auto',
      provider: 'auto',
      profileCache: 'auto',
      traceFile: 'off',
      traceMaxBytes: 256 * 2 ** 20,
      drainDelayMs: 0,
      drainTimeoutMs: 30_000,
      logLevel: 'info',
    });
  });

  it('takes values as programs write them', () => {
    const config = resolveConfig({
      models: '/srv/models',
      port: 0,
      requestTimeout: '5s',
      drainDelay: 2,
      batchWindow: 3,
      bodyLimit: 4096,
      maxQueueBytes: '1.5GB',
      cores: 4,
      intraOpThreads: 4,
      strictReadiness: false,
      provider: 'cuda:1',
      logLevel: undefined,
    });
    assert.equal(config.models, '/srv/models');
    assert.equal(config.port, 0);
    assert.equal(config.requestTimeoutMs, 5000);
    assert.equal(config.drainDelayMs, 2000);
    assert.equal(config.batchWindowMs, 3);
    assert.equal(config.bodyLimitBytes, 4096);
    assert.equal(config.maxQueueBytes, 1_500_000_000);
    assert.equal(config.cores, 4);
    assert.equal(config.intraOpThreads, 4);
    assert.equal(config.strictReadiness, false);
    assert.equal(config.provider, 'cuda:1');
    assert.equal(config.logLevel, 'info');
  });

  it('takes lists as arrays and as one text, and refuses names that cannot be', () => {
    const loaded = (loadModel: unknown): readonly string[] =>
      resolveUnchecked({ modelControlMode: 'explicit', loadModel }).loadModel;
    assert.deepEqual(loaded(['a,b', 'c', 'c']), ['a,b', 'c']);
    assert.deepEqual(loaded('a, b,*'), ['a', 'b', '*']);
    assert.deepEqual(loaded([]), []);
    for (const wrong of ['', 'a,,b', ['a', ''], ['a/b'], [1], 5, {}]) {
      assert.match(
        refusal(() => loaded(wrong)).message,
        /^option 'loadModel' is .*, expected names of models, or '\*' for all$/,
      );
    }
  });

  it('names models to load only with explicit model control', () => {
    const { message } = refusal(() => resolveConfig({ loadModel: ['a'] }));
    assert.equal(message, "option 'loadModel' needs --model-control-mode explicit; without it all models are loaded");
  });

  it('gives plain frozen data', () => {
    const config = resolveConfig({ port: 1 });
    assert.ok(Object.isFrozen(config));
    assert.equal(Object.getPrototypeOf(config), Object.prototype);
    for (const [key, value] of Object.entries(config)) assert.ok(Object.isFrozen(value), key);
  });

  it('hands back a Config it made, and reads a copy of one as unknown options', () => {
    const config = resolveConfig({ port: 1234, requestTimeout: '7s' });
    assert.equal(resolveConfig(config), config);
    assert.match(refusal(() => resolveConfig({ ...config })).message, /'\w+Ms' is not known/);
  });

  it('leaves its input alone', () => {
    const input = Object.freeze({ port: 9, maxQueueBytes: '1MiB' });
    assert.equal(resolveConfig(input).maxQueueBytes, 2 ** 20);
  });

  it('refuses unknown options and names the nearest', () => {
    const error = refusal(() => resolveUnchecked({ maxBatchsize: 8 }));
    assert.equal(error.message, "option 'maxBatchsize' is not known, did you mean 'maxBatchSize'?");
    assert.equal(error.option, "option 'maxBatchsize'");
    assert.match(error.allowed, /maxBatchSize/);
    assert.equal(refusal(() => resolveUnchecked({ zzzzzz: 8 })).message, "option 'zzzzzz' is not known");
    assert.equal(
      refusal(() => resolveUnchecked(JSON.parse('{"__proto__": 1}'))).message,
      "option '__proto__' is not known",
    );
  });

  it('says option, value and what is allowed', () => {
    const error = refusal(() => resolveConfig({ port: 70_000 }));
    assert.equal(error.message, "option 'port' is 70000, expected a whole number from 0 to 65535");
    assert.equal(error.name, 'ConfigError');
    assert.equal(error.code, 'CONFIG_INVALID');
    assert.equal(error.option, "option 'port'");
    assert.equal(error.value, 70_000);
    assert.equal(error.allowed, 'a whole number from 0 to 65535');
  });

  it('keeps a hostile value on one short line', () => {
    const { message } = refusal(() => resolveConfig({ host: `a\n\u001b[31m${'x'.repeat(500)}` }));
    assert.match(message, /^\P{Cc}+$/u);
    assert.ok(message.length < 300);
  });

  it('refuses more threads than cores, since such a run could never start', () => {
    assert.equal(
      refusal(() => resolveConfig({ cores: 2, intraOpThreads: 3 })).message,
      "option 'intraOpThreads' is 3, expected 'auto' or at most 2, the cores given as option 'cores'",
    );
    const granted = refusal(() =>
      resolveSources([{ values: { intraOpThreads: '3' }, nameOf: (option) => option.flag }], 2),
    );
    assert.equal(
      granted.message,
      "--intra-op-threads is 3, expected 'auto' or at most 2, the cores granted to this process",
    );
  });

  it('leaves gRPC off unless a port is given, which must be its own', () => {
    assert.equal(resolveConfig({ grpcPort: 'off' }).grpcPort, undefined);
    assert.equal(resolveConfig({ grpcPort: 8001 }).grpcPort, 8001);
    assert.equal(resolveConfig({ port: 0, grpcPort: 0 }).grpcPort, 0, 'two free ports are two ports');
    assert.throws(
      () => resolveConfig({ grpcPort: 8000 }),
      /^ConfigError: option 'grpcPort' is 8000, expected another port than that of port$/,
    );
    assert.throws(
      () => resolveConfig({ metricsPort: 8001, grpcPort: 8001 }),
      /^ConfigError: option 'grpcPort' is 8001, expected another port than that of option 'metricsPort'$/,
    );
  });

  it('takes the metrics port as one of its own only when it differs', () => {
    assert.equal(resolveConfig({ port: 9000, metricsPort: 9000 }).metricsPort, undefined);
    assert.equal(resolveConfig({ metricsPort: 'same' }).metricsPort, undefined);
    assert.equal(resolveConfig({ port: 9000, metricsPort: 9001 }).metricsPort, 9001);
    assert.equal(resolveConfig({ port: 0, metricsPort: 0 }).metricsPort, 0, 'two free ports are two ports');
  });
});

describe('resolveSources', () => {
  it('takes each option from the strongest source that has it', () => {
    const names = ['flag', 'variable', 'file'];
    for (let present = 0; present < 8; present++) {
      const sources = names.map((name, i) => ({
        values: (present >> i) & 1 ? { port: 1000 + i, host: undefined } : {},
        nameOf: () => name,
      }));
      const strongest = [0, 1, 2].find((i) => (present >> i) & 1);
      assert.equal(resolveSources(sources).port, strongest === undefined ? 8000 : 1000 + strongest, `case ${present}`);
    }
  });

  it('refuses a wrong value that a stronger source overrides', () => {
    const error = refusal(() =>
      resolveSources([
        { values: { port: 1 }, nameOf: () => 'strong' },
        { values: { port: 'x' }, nameOf: () => 'weak' },
      ]),
    );
    assert.equal(error.option, 'weak');
  });
});

describe('values', () => {
  const good: [keyof typeof OPTIONS, unknown, unknown][] = [
    ['port', '0', 0],
    ['port', '65535', 65535],
    ['port', ' 80 ', 80],
    ['instances', 'auto', 'auto'],
    ['instances', '3', 3],
    ['bodyLimit', '1024', 1024],
    ['bodyLimit', 2048, 2048],
    ['bodyLimit', '64MiB', 64 * 2 ** 20],
    ['bodyLimit', '64mib', 64 * 2 ** 20],
    ['bodyLimit', '2 KiB', 2048],
    ['bodyLimit', '1GB', 1e9],
    ['bodyLimit', '2048B', 2048],
    ['maxQueueBytes', '0.5GiB', 2 ** 29],
    ['maxQueueBytes', '1TiB', 2 ** 40],
    ['requestTimeout', '500ms', 500],
    ['requestTimeout', '30s', 30_000],
    ['requestTimeout', '2m', 120_000],
    ['requestTimeout', '1h', 3_600_000],
    ['requestTimeout', '1.5', 1500],
    ['requestTimeout', 0.25, 250],
    ['batchWindow', '5', 5],
    ['batchWindow', '0', 0],
    ['batchWindow', 0.5, 0.5],
    ['host', '::1', '::1'],
    ['host', 'fe80::1%eth0', 'fe80::1%eth0'],
    ['host', 'my-host.example', 'my-host.example'],
    ['provider', 'cuda', 'cuda'],
    ['provider', 'cuda:0', 'cuda:0'],
    ['logLevel', 'silent', 'silent'],
    ['strictReadiness', true, true],
    ['strictReadiness', 'false', false],
    ['strictReadiness', 'ON', true],
    ['strictReadiness', '0', false],
  ];
  for (const [key, raw, expected] of good) {
    it(`${key} takes ${JSON.stringify(raw)}`, () => assert.equal(parseValue(OPTIONS[key], raw), expected));
  }

  const bad: [keyof typeof OPTIONS, unknown][] = [
    ['port', '65536'],
    ['port', -1],
    ['port', '-1'],
    ['port', '80.5'],
    ['port', 80.5],
    ['port', ''],
    ['port', '0x50'],
    ['port', '1e3'],
    ['port', 'auto'],
    ['port', null],
    ['port', true],
    ['port', [80]],
    ['port', Number.NaN],
    ['cores', 0],
    ['instances', 'Auto'],
    ['maxBatchSize', 0],
    ['bodyLimit', '64 MiBs'],
    ['bodyLimit', '64Mi'],
    ['bodyLimit', '1.5'],
    ['bodyLimit', '1023'],
    ['bodyLimit', '2GiB'],
    ['bodyLimit', '-1'],
    ['bodyLimit', Number.POSITIVE_INFINITY],
    ['requestTimeout', '0'],
    ['requestTimeout', '30 sec'],
    ['requestTimeout', '30S'],
    ['requestTimeout', '-5s'],
    ['requestTimeout', '2h'],
    ['requestTimeout', 'forever'],
    ['requestTimeout', Number.POSITIVE_INFINITY],
    ['batchWindow', '11s'],
    ['host', ''],
    ['host', 'a b'],
    ['host', '--port'],
    ['host', 'http://localhost'],
    ['host', 127],
    ['provider', 'gpu'],
    ['provider', 'cuda:'],
    ['provider', 'cuda:x'],
    ['provider', 'CPU'],
    ['logLevel', 'warning'],
    ['logLevel', 'toString'],
    ['strictReadiness', 'maybe'],
    ['strictReadiness', 0],
    ['models', ''],
    ['models', 'a\0b'],
  ];
  for (const [key, raw] of bad) {
    it(`${key} refuses ${JSON.stringify(raw) ?? String(raw)}`, () =>
      assert.equal(parseValue(OPTIONS[key], raw), undefined));
  }
});

describe('the table of options', () => {
  it('has a default within its own range for each option, a help line and unique names', () => {
    for (const option of OPTION_LIST) {
      assert.notEqual(parseValue(option, option.default), undefined, `${option.key}: ${describeAllowed(option)}`);
      assert.match(option.help, /^\S.*[^.]$/, option.key);
    }
    for (const name of ['key', 'flag', 'variable'] as const) {
      assert.equal(new Set(OPTION_LIST.map((option) => option[name])).size, OPTION_LIST.length);
    }
  });

  it('derives flag and variable from the key', () => {
    const names = new Map(OPTION_LIST.map(({ key, flag, variable }) => [key, [flag, variable]]));
    assert.deepEqual(names.get('maxBatchSize'), ['--max-batch-size', 'SHOAL_MAX_BATCH_SIZE']);
    assert.deepEqual(names.get('strictReadiness'), ['--no-strict-readiness', 'SHOAL_STRICT_READINESS']);
    assert.deepEqual(names.get('models'), ['[models]', 'SHOAL_MODELS']);
  });
});
