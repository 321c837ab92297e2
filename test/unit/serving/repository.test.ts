import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ServeError } from '../../../src/errors.ts';
import { findModels, scanRepository } from '../../../src/serving/repository.ts';
import { kubernetesMount, type RepositoryContent, writeRepository } from '../../support/models.ts';

const MODEL = Buffer.from('not looked into here');

let root: string;
let folders = 0;
before(() => {
  root = mkdtempSync(path.join(os.tmpdir(), 'shoal-repository-'));
});
after(() => rmSync(root, { recursive: true }));

function folderOf(content: RepositoryContent = {}): string {
  return writeRepository(path.join(root, String(folders++)), content);
}

/** Names, versions and problems of what is found. */
async function found(folder: string): Promise<string[]> {
  return (await scanRepository(folder)).map(
    ({ name, version, problem }) => `${name}:${version}${problem === undefined ? '' : ' !'}`,
  );
}

async function errorOf(folder: string): Promise<ServeError> {
  const error = await scanRepository(folder).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof ServeError);
  return error;
}

describe('repository', () => {
  it('has single files and versions in folders, in order of name and number', async () => {
    const folder = folderOf({ b: MODEL, a: { 10: MODEL, 9: MODEL, 2: MODEL }, c: { 0: MODEL } });
    assert.deepEqual(await found(folder), ['a:2', 'a:9', 'a:10', 'b:1', 'c:0']);
    const [first] = await scanRepository(folder);
    assert.equal(first!.file, path.join(folder, 'a', '2', 'model.onnx'));
    assert.equal(first!.bytes, MODEL.length);
  });

  it('may be empty', async () => {
    assert.deepEqual(await found(folderOf()), []);
  });

  it('does not look at what starts with a dot, other files, and folders that are no versions', async () => {
    const folder = folderOf({ a: { 1: MODEL, v2: MODEL, '03': MODEL, '-4': MODEL, '1.5': MODEL }, '.hidden': MODEL });
    writeFileSync(path.join(folder, 'README.md'), 'text');
    writeFileSync(path.join(folder, 'a', '7'), 'a file, not a folder');
    mkdirSync(path.join(folder, 'empty'));
    mkdirSync(path.join(folder, '..2026_01_01'));
    assert.deepEqual(await found(folder), ['a:1']);
  });

  it('counts the weights that lie beside a model', async () => {
    const folder = folderOf({ a: { 1: { 'model.onnx': MODEL, 'model.bin': Buffer.alloc(1000) } } });
    assert.equal((await scanRepository(folder))[0]!.bytes, MODEL.length + 1000);
  });

  it('works as Kubernetes mounts it, before and after the content is swapped', async () => {
    const folder = path.join(root, String(folders++));
    kubernetesMount(folder, { a: { 1: { 'model.onnx': MODEL, 'model.bin': Buffer.alloc(10) } }, b: MODEL });
    assert.deepEqual(await found(folder), ['a:1', 'b:1']);
    assert.equal((await scanRepository(folder))[0]!.bytes, MODEL.length + 10);
    kubernetesMount(folder, { a: { 2: MODEL } });
    assert.deepEqual(await found(folder), ['a:2']);
  });

  it('follows links to files and folders, and says of broken ones what is missing', async () => {
    const target = folderOf({ real: MODEL, versions: { 3: MODEL } });
    const folder = folderOf();
    symlinkSync(path.join(target, 'real.onnx'), path.join(folder, 'linked.onnx'));
    symlinkSync(path.join(target, 'versions'), path.join(folder, 'folder'));
    symlinkSync(path.join(target, 'nothing'), path.join(folder, 'broken.onnx'));
    assert.deepEqual(await found(folder), ['broken:1 !', 'folder:3', 'linked:1']);
    const [broken] = await scanRepository(folder);
    assert.equal(broken!.problem, 'there is no file broken.onnx');
  });

  it('says of a version without a model what is missing', async () => {
    const folder = folderOf({ a: { 1: { 'other.txt': MODEL }, 2: MODEL } });
    assert.deepEqual(await found(folder), ['a:1 !', 'a:2']);
    const [first] = await scanRepository(folder);
    assert.equal(first!.problem, 'there is no file model.onnx');
  });

  it('never opens what is not a regular file', async () => {
    const folder = folderOf({ a: { 1: { 'x.txt': MODEL } } });
    execFileSync('mkfifo', [path.join(folder, 'pipe.onnx'), path.join(folder, 'a', '1', 'model.onnx')]);
    mkdirSync(path.join(folder, 'b', '1', 'model.onnx'), { recursive: true });
    const sources = await scanRepository(folder);
    assert.deepEqual(
      sources.map(({ name, file, problem }) => [name, problem === `${path.basename(file)} is not a regular file`]),
      [
        ['a', true],
        ['b', true],
        ['pipe', true],
      ],
    );
  });

  it('refuses a name that is there twice', async () => {
    const folder = folderOf({ a: MODEL });
    writeRepository(folder, { a: { 1: MODEL } });
    const error = await errorOf(folder);
    assert.equal(error.code, 'NAME_TWICE');
    assert.match(error.message, /^model 'a' is there twice in .*: as 'a\.onnx' and as folder 'a'$/);
  });

  it('refuses names that no path can carry or that the protocol uses itself', async () => {
    for (const [name, why] of [
      ['a\nb', 'has a control character or a slash'],
      ['a\u007fb', 'has a control character or a slash'],
      ['back\\slash', 'has a control character or a slash'],
      ['stats', 'is used by the protocol itself'],
    ] as const) {
      const error = await errorOf(folderOf({ [name]: MODEL }));
      assert.equal(error.code, 'NAME_INVALID');
      assert.ok(error.message.includes(why), error.message);
      assert.ok(!error.message.includes('\n'));
    }
    const unusual = ['grüß dich', 'a.b-c_d', '100%', 'ünïcode', 'with space', "it's", '{x}', 'a:b'];
    const folder = folderOf(Object.fromEntries(unusual.map((name) => [name, MODEL])));
    assert.deepEqual(
      (await scanRepository(folder)).map(({ name }) => name),
      unusual.toSorted(),
    );
  });

  it('that is not there, is a file, or is called nothing is an error', async () => {
    const folder = folderOf({ a: MODEL });
    const missing = await errorOf(path.join(folder, 'nowhere'));
    assert.equal(missing.code, 'MODELS_MISSING');
    assert.equal(missing.message, `the models folder ${path.join(folder, 'nowhere')} does not exist`);
    assert.match((await errorOf(path.join(folder, 'a.onnx'))).message, /is not a folder$/);
    writeFileSync(path.join(folder, '.onnx'), MODEL);
    // A file that is only an extension starts with a dot, too.
    assert.deepEqual(await found(folder), ['a:1']);
  });

  it('can be a model file, a model’s own folder, or a folder of models', async () => {
    const folder = folderOf({ digits: MODEL, words: { 2: MODEL, 10: MODEL } });
    const names = async (place: string) =>
      (await findModels(place)).map(({ name, version, file }) => [name, version, path.relative(folder, file)]);
    const words = [
      ['words', '2', 'words/2/model.onnx'],
      ['words', '10', 'words/10/model.onnx'],
    ];
    assert.deepEqual(await names(path.join(folder, 'digits.onnx')), [['digits', '1', 'digits.onnx']]);
    assert.deepEqual(await names(path.join(folder, 'words', '10', 'model.onnx')), words.slice(1));
    assert.deepEqual(await names(path.join(folder, 'words')), words);
    assert.deepEqual(await names(folder), [['digits', '1', 'digits.onnx'], ...words]);
    await assert.rejects(findModels(path.join(folder, 'nowhere')), { code: 'MODELS_MISSING' });
  });
});
