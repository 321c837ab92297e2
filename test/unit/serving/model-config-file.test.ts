import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readSettings } from '../../../src/serving/model-config-file.ts';
import { DEFAULT_SETTINGS } from '../../../src/serving/model-settings.ts';
import { findModels, scanModel, scanRepository } from '../../../src/serving/repository.ts';
import { type RepositoryContent, writeRepository } from '../../support/models.ts';

const MODEL = Buffer.from('not looked into here');

let root: string;
let folders = 0;
before(() => {
  root = mkdtempSync(path.join(os.tmpdir(), 'shoal-model-config-'));
});
after(() => rmSync(root, { recursive: true }));

/** A models folder with `content`, and further files in it by path. */
function folderOf(content: RepositoryContent, files: Readonly<Record<string, string | Uint8Array>> = {}): string {
  const folder = writeRepository(path.join(root, String(folders++)), content);
  for (const [file, text] of Object.entries(files)) writeFileSync(path.join(folder, file), text);
  return folder;
}

/** Names, versions and problems of what is found. */
async function found(folder: string): Promise<string[]> {
  return (await scanRepository(folder)).map(
    ({ name, version, problem }) => `${name}:${version}${problem === undefined ? '' : ` ! ${problem}`}`,
  );
}

describe('a configuration beside the versions', () => {
  it('is none where there is no file', async () => {
    const folder = folderOf({ m: { 1: MODEL } });
    assert.deepEqual(await readSettings(path.join(folder, 'm'), 'm'), {
      settings: DEFAULT_SETTINGS,
      problem: undefined,
    });
  });

  it('is read from config.pbtxt or config.json, and belongs to every version', async () => {
    const all = 'version_policy { all { } }';
    const folder = folderOf(
      { a: { 1: MODEL, 2: MODEL }, b: { 1: MODEL }, c: MODEL },
      { 'a/config.pbtxt': `max_batch_size: 4 ${all}`, 'b/config.json': '{"max_batch_size": 8}' },
    );
    const sources = await scanRepository(folder);
    assert.deepEqual(
      sources.map(({ name, version, settings }) => [name, version, settings.maxBatchSize, settings.file]),
      [
        ['a', '1', 4, 'config.pbtxt'],
        ['a', '2', 4, 'config.pbtxt'],
        ['b', '1', 8, 'config.json'],
        ['c', '1', undefined, undefined],
      ],
    );
  });

  it('is refused when there are two', async () => {
    const folder = folderOf({ m: { 1: MODEL, 2: MODEL } }, { 'm/config.pbtxt': '', 'm/config.json': '{}' });
    const problem = 'config.pbtxt: there is config.pbtxt and config.json in m/, expected one of them';
    assert.deepEqual(await found(folder), [`m:1 ! ${problem}`, `m:2 ! ${problem}`]);
  });

  it('says what is wrong with it for each version, and leaves other models alone', async () => {
    const folder = folderOf({ m: { 1: MODEL }, n: { 1: MODEL } }, { 'm/config.pbtxt': '\nmax_batch_sice: 4' });
    assert.deepEqual(await found(folder), [
      "m:1 ! config.pbtxt: line 2: ModelConfig: unknown field 'max_batch_sice', in 'max_batch_sice: 4'",
      'n:1',
    ]);
  });

  it('is not read when it is too large, no file, or no text', async () => {
    const folder = folderOf(
      { a: { 1: MODEL }, b: { 1: MODEL }, c: { 1: MODEL } },
      {
        'a/config.pbtxt': '',
        'b/config.json': Buffer.from([0x7b, 0xff, 0x7d]),
      },
    );
    truncateSync(path.join(folder, 'a/config.pbtxt'), (1 << 20) + 1);
    execFileSync('mkfifo', [path.join(folder, 'c/config.pbtxt')]);
    assert.deepEqual(await found(folder), [
      'a:1 ! config.pbtxt: config.pbtxt has 1048577 bytes, expected at most 1048576',
      'b:1 ! config.json: config.json is not UTF-8',
      'c:1 ! config.pbtxt: config.pbtxt is not a regular file',
    ]);
  });

  const policies: [policy: string, served: string[]][] = [
    ['', ['m:10']],
    ['version_policy { latest { num_versions: 2 } }', ['m:3', 'm:10']],
    ['version_policy { latest { num_versions: 9 } }', ['m:1', 'm:3', 'm:10']],
    ['version_policy { all { } }', ['m:1', 'm:3', 'm:10']],
    ['version_policy { specific { versions: [3, 1, 3] } }', ['m:1', 'm:3']],
    ['version_policy { specific { versions: [3, 4] } }', ['m:3', 'm:4 ! there is no folder m/4']],
  ];
  for (const [policy, served] of policies) {
    it(`serves ${served.join(', ')} with '${policy}'`, async () => {
      const folder = folderOf({ m: { 1: MODEL, 10: MODEL, 3: MODEL } }, { 'm/config.pbtxt': policy });
      assert.deepEqual(await found(folder), served);
    });
  }

  it('names the model file', async () => {
    const folder = folderOf(
      { m: { 1: { 'net.onnx': MODEL, 'weights.bin': Buffer.alloc(10) } }, n: { 1: MODEL } },
      {
        'm/config.pbtxt': 'default_model_filename: "net.onnx"',
        'n/config.pbtxt': 'default_model_filename: "net.onnx"',
      },
    );
    const [source] = await scanRepository(folder);
    assert.equal(source!.file, path.join(folder, 'm/1/net.onnx'));
    assert.equal(source!.bytes, MODEL.length + 10);
    assert.deepEqual(await found(folder), ['m:1', 'n:1 ! there is no file net.onnx']);
  });

  it('shows a model that has a configuration and no version', async () => {
    const folder = folderOf({ m: {} }, {});
    writeRepository(folder, { m: { x: MODEL } });
    writeFileSync(path.join(folder, 'm/config.pbtxt'), '');
    assert.deepEqual(await found(folder), ['m:1 ! m/ has a config.pbtxt and no version, expected m/1/model.onnx']);
  });

  it('is found from the file and from the folder of a model, too', async () => {
    const folder = folderOf(
      { m: { 1: MODEL, 2: { 'net.onnx': MODEL } } },
      {
        'm/config.pbtxt':
          'max_batch_size: 3 version_policy { specific { versions: 2 } } default_model_filename: "net.onnx"',
      },
    );
    for (const place of ['m', 'm/2/net.onnx']) {
      const sources = await findModels(path.join(folder, place));
      assert.deepEqual(
        sources.map(({ name, version, settings }) => [name, version, settings.maxBatchSize]),
        [['m', '2', 3]],
      );
    }
  });
});

describe('labels', () => {
  it('are the lines of the file that an output names', async () => {
    const folder = folderOf(
      { m: { 1: MODEL } },
      {
        'm/config.pbtxt':
          'output { name: "a" label_filename: "a.txt" } output { name: "b" label_filename: "b.txt" } output { name: "c" }',
        'm/a.txt': 'cat\ndog \n\nmouse\n',
        'm/b.txt': 'oui\r\nnön',
      },
    );
    const { settings } = await readSettings(path.join(folder, 'm'), 'm');
    assert.deepEqual(
      settings.labels,
      new Map([
        ['a', ['cat', 'dog ', '', 'mouse']],
        ['b', ['oui', 'nön']],
      ]),
    );
  });

  it('make the model fail when they cannot be read', async () => {
    for (const [file, why] of [
      ['none.txt', ': there is no file none.txt'],
      ['../m/a.txt', " is '../m/a.txt', expected the name of a file in the model's folder"],
      ['/etc/hostname', " is '/etc/hostname', expected the name of a file in the model's folder"],
      ['1', ': 1 is not a regular file'],
    ]) {
      const folder = folderOf(
        { m: { 1: MODEL } },
        {
          'm/config.pbtxt': `output { name: "y" label_filename: "${file}" }`,
          'm/a.txt': 'a',
        },
      );
      const { problem } = await readSettings(path.join(folder, 'm'), 'm');
      assert.equal(problem, `config.pbtxt: label_filename of output 'y'${why}`);
    }
  });
});

describe('one model read anew', () => {
  it('has what lies in its folder now', async () => {
    const folder = folderOf({ m: { 1: MODEL }, s: MODEL }, { 'm/config.pbtxt': 'max_batch_size: 2' });
    const read = async (name: string, override?: string): Promise<unknown[]> =>
      (await scanModel(folder, name, override)).map(({ version, settings, problem }) => [
        version,
        settings.maxBatchSize,
        problem,
      ]);
    assert.deepEqual(await read('m'), [['1', 2, undefined]]);
    writeFileSync(path.join(folder, 'm/config.pbtxt'), 'max_batch_size: 5');
    writeRepository(folder, { m: { 2: MODEL } });
    assert.deepEqual(await read('m'), [['2', 5, undefined]]);
    assert.deepEqual(await read('m', '{"max_batch_size": 7, "version_policy": {"all": {}}}'), [
      ['1', 7, undefined],
      ['2', 7, undefined],
    ]);
    assert.deepEqual(await read('s'), [['1', undefined, undefined]]);
    assert.deepEqual(await read('s', '{"max_batch_size": 7}'), [['1', 7, undefined]]);
    const [[, , problem]] = (await read('m', '{"max_batch": 7}')) as [[string, number, string]];
    assert.equal(problem, 'the configuration given: ModelConfig: unknown field: "max_batch"');
  });

  it('is nothing where there is none, or where the name is no name', async () => {
    const folder = folderOf({ m: { 1: MODEL } });
    for (const name of ['n', '', '..', '../m', '.m', 'm/1', 'stats'])
      assert.deepEqual(await scanModel(folder, name), []);
  });
});
