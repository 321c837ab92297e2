import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { readConfig } from '../../../src/cli/sources.ts';
import { CONFIG_FILE_OPTION, OPTION_LIST, type Option, resolveConfig } from '../../../src/config.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-sources-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function writeConfig(content: unknown, name = 'shoal.config.json'): void {
  writeFileSync(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
}

/** The working folder, with this as its configuration file. */
function withFile(content: unknown): string {
  writeConfig(content);
  return folder;
}

// Cores are given, so that what is compared does not depend on the machine.
const CORES = { cores: 8 } as const;

/** Values of an option for the file, the variable and the flag. */
function sampleValues(option: Option): [string, string, string] {
  switch (option.kind) {
    case 'count':
      return ['1', '2', '3'];
    case 'size':
      return ['2KiB', '3KiB', '4KiB'];
    case 'duration':
      return ['1001ms', '1002ms', '1003ms'];
    case 'list':
      return ['one', 'two', 'three'];
    case 'choice': {
      const [one, two] = option.choices.filter((choice) => choice !== option.default);
      return [one!, two ?? String(option.default), one!];
    }
    case 'switch':
      return ['false', 'true', 'false'];
    case 'text':
      if (option.key === 'provider') return ['cpu', 'cuda:3', 'cuda'];
      return option.key === 'host' ? ['one', 'two', 'three'] : ['/one', '/two', '/three'];
  }
}

describe('readConfig', () => {
  for (const option of OPTION_LIST.filter(({ key }) => key !== 'cores' && key !== 'loadModel')) {
    it(`${option.key}: flag over variable over file over default`, () => {
      const [a, b, c] = sampleValues(option);
      // The configuration with this option, as a program gives it, and all others at their defaults.
      const expect = (value: string): string => JSON.stringify(resolveConfig({ ...CORES, [option.key]: value }));
      const read = (flags: object, env: object): string =>
        JSON.stringify(readConfig({ cores: '8', ...flags }, { ...env }, folder));
      const variable = { [option.variable]: b };

      assert.equal(read({}, {}), JSON.stringify(resolveConfig(CORES)));
      writeConfig({ [option.key]: a });
      assert.equal(read({}, {}), expect(a));
      assert.equal(read({}, variable), expect(b));
      assert.equal(read({ [option.key]: c }, variable), expect(c));
      assert.equal(read({ [option.key]: c }, {}), expect(c));
    });
  }

  it('cores: flag over variable over file over what is granted', () => {
    writeConfig({ cores: 3 });
    assert.equal(readConfig({}, {}, folder).cores, 3);
    assert.equal(readConfig({}, { SHOAL_CORES: '4' }, folder).cores, 4);
    assert.equal(readConfig({ cores: '5' }, { SHOAL_CORES: '4' }, folder).cores, 5);
  });

  it('loadModel: flag over variable over file; lists are not added to each other', () => {
    const explicit = { SHOAL_MODEL_CONTROL_MODE: 'explicit' };
    writeConfig({ loadModel: ['a,1', 'b'] });
    const read = (flags: object, env: object): readonly string[] =>
      readConfig({ ...flags }, { ...explicit, ...env }, folder).loadModel;
    assert.deepEqual(read({}, {}), ['a,1', 'b']);
    assert.deepEqual(read({}, { SHOAL_LOAD_MODEL: 'c,d' }), ['c', 'd']);
    assert.deepEqual(read({ loadModel: ['e'] }, { SHOAL_LOAD_MODEL: 'c,d' }), ['e']);
  });

  it('takes an empty variable as not set and other variables as none of its business', () => {
    const config = readConfig({}, { SHOAL_PORT: '', PORT: '1', SHOALS: '2', shoal_port: '3' }, folder);
    assert.equal(config.port, 8000);
  });

  it('passes over the variables Kubernetes makes for a service called shoal', () => {
    const config = readConfig(
      {},
      {
        SHOAL_PORT: 'tcp://10.0.0.1:8000',
        SHOAL_SERVICE_HOST: '10.0.0.1',
        SHOAL_SERVICE_PORT: '8000',
        SHOAL_SERVICE_PORT_HTTP: '8000',
        SHOAL_PORT_8000_TCP: 'tcp://10.0.0.1:8000',
        SHOAL_PORT_8000_TCP_PROTO: 'tcp',
        SHOAL_PORT_8000_TCP_PORT: '8000',
        SHOAL_PORT_8000_TCP_ADDR: '10.0.0.1',
        SHOAL_METRICS_PORT: 'tcp://10.0.0.2:9000',
        SHOAL_METRICS_SERVICE_HOST: '10.0.0.2',
      },
      folder,
    );
    assert.equal(config.port, 8000);
    assert.equal(config.metricsPort, undefined);
  });

  it('resolves the models folder of a file against the file, that of a flag not at all', () => {
    mkdirSync(join(folder, 'etc'));
    writeConfig({ models: 'm' }, 'etc/shoal.json');
    assert.equal(readConfig({ config: 'etc/shoal.json' }, {}, folder).models, join(folder, 'etc/m'));
    assert.equal(readConfig({ config: 'etc/shoal.json', models: 'm' }, {}, folder).models, 'm');
  });

  it('takes the file from the flag, else the variable, else the working folder', () => {
    writeConfig({ port: 1 });
    writeConfig({ port: 2 }, 'two.json');
    writeConfig('\uFEFF{"port": 3}', 'three.json');
    assert.equal(readConfig({}, {}, folder).port, 1);
    assert.equal(readConfig({}, { [CONFIG_FILE_OPTION.variable]: 'two.json' }, folder).port, 2);
    assert.equal(readConfig({ config: 'three.json' }, { SHOAL_CONFIG: 'two.json' }, folder).port, 3);
  });

  const refusals: [string, () => unknown, RegExp][] = [
    ['a wrong flag', () => readConfig({ port: 'x' }, {}, folder), /^--port is 'x', expected a whole number/],
    ['a wrong variable', () => readConfig({}, { SHOAL_PORT: 'x' }, folder), /^SHOAL_PORT is 'x', expected/],
    [
      'an unknown variable',
      () => readConfig({}, { SHOAL_MAX_BATCHSIZE: '1' }, folder),
      /^variable SHOAL_MAX_BATCHSIZE is not known, did you mean SHOAL_MAX_BATCH_SIZE\?$/,
    ],
    [
      'a wrong value in the file',
      () => readConfig({}, {}, withFile({ port: null })),
      /^'port' in shoal\.config\.json is null, expected a whole number/,
    ],
    [
      'a wrong value in the file below a right flag',
      () => readConfig({ port: '1' }, {}, withFile({ port: -1 })),
      /^'port' in shoal\.config\.json is -1/,
    ],
    [
      'an unknown key in the file',
      () => readConfig({}, {}, withFile({ maxBatchsize: 1 })),
      /^'maxBatchsize' in shoal\.config\.json is not known, did you mean 'maxBatchSize'\?$/,
    ],
    ['the file naming a file', () => readConfig({}, {}, withFile({ config: 'x' })), /^'config' in .* is not known/],
    [
      'a flag that stands in the file',
      () => readConfig({}, {}, withFile({ '--port': 1 })),
      /^'--port' in .* is not known, did you mean 'port'\?/,
    ],
    ['an empty models folder in the file', () => readConfig({}, {}, withFile({ models: '' })), /^'models' in .* is ''/],
    [
      'a file that is no JSON',
      () => readConfig({}, {}, withFile('{"port": 1,}')),
      /^shoal\.config\.json is not valid JSON: /,
    ],
    ['a file that is no object', () => readConfig({}, {}, withFile([])), /is \[\], expected a JSON object/],
    [
      'a missing file from the flag',
      () => readConfig({ config: 'no.json' }, {}, folder),
      /^--config is 'no\.json', expected a readable JSON file \(there is no such file\)$/,
    ],
    [
      'a missing file from the variable',
      () => readConfig({}, { SHOAL_CONFIG: 'no.json' }, folder),
      /^SHOAL_CONFIG is 'no\.json', expected a readable JSON file/,
    ],
    [
      'a folder as file',
      () => readConfig({ config: '.' }, {}, folder),
      /^--config is '\.', expected a readable JSON file/,
    ],
  ];
  for (const [name, act, message] of refusals) {
    it(`refuses ${name}`, () => assert.throws(act, { name: 'ConfigError', message }));
  }
});
