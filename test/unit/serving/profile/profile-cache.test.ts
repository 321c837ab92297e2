import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { Profile } from '../../../../src/serving/profile/profile.ts';
import { defaultProfileFolder, openProfileCache, ProfileCache } from '../../../../src/serving/profile/profile-cache.ts';
import { keyOf } from '../../../../src/serving/profile/profile-key.ts';
import { findModels, type ModelSource } from '../../../../src/serving/repository.ts';

interface Setup {
  readonly folder: string;
  readonly cache: ProfileCache;
  readonly warned: string[];
  readonly source: ModelSource;
  /** Writes a profile; the file. */
  readonly store: () => Promise<string>;
}

async function setUp(t: TestContext): Promise<Setup> {
  const folder = mkdtempSync(path.join(tmpdir(), 'shoal-profiles-'));
  t.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(path.join(folder, 'models'));
  writeFileSync(path.join(folder, 'models', 'm.onnx'), 'weights');
  const [source] = await findModels(path.join(folder, 'models', 'm.onnx'));
  const warned: string[] = [];
  const cache = new ProfileCache(path.join(folder, 'cache'), (message) => warned.push(message));
  const store = async (): Promise<string> => cache.write(source!, profileOf(await keyOf(source!, 2, 'cpu')));
  return { folder, cache, warned, source: source!, store };
}

function profileOf(key: Profile['key']): Profile {
  const sizes = [{ rows: 1, runs: 10, ms: 2, highMs: 3, rowsPerSecond: 500 }];
  return {
    model: 'm',
    version: '1',
    key,
    measuredAt: '2026-01-01T00:00:00.000Z',
    batching: 'batched',
    maxRows: 128,
    rowBytes: 16,
    splits: [{ instances: 1, threads: 2, sizes, stop: 'flat' }],
    best: { instances: 1, threads: 2 },
    kneeRows: 1,
    gain: 1,
    sentence: 'It does not pay.',
  };
}

describe('the cache of profiles', () => {
  it('gives back what was stored, and leaves nothing else behind', async (t) => {
    const { cache, source, store, folder, warned } = await setUp(t);
    assert.equal(await cache.find(source, 2, 'cpu'), undefined);
    const file = await store();
    await store();
    assert.deepEqual(readdirSync(path.join(folder, 'cache')), [path.basename(file)]);
    assert.deepEqual(await cache.find(source, 2, 'cpu'), profileOf(await keyOf(source, 2, 'cpu')));
    assert.deepEqual(warned, []);
  });

  it('knows a model by its content, the provider, and the cores', async (t) => {
    const { cache, source, store } = await setUp(t);
    await store();
    assert.equal(await cache.find(source, 1, 'cpu'), undefined);
    assert.equal(await cache.find(source, 2, 'cuda'), undefined);
    writeFileSync(source.file, 'Weights');
    assert.equal(await cache.find(source, 2, 'cpu'), undefined);
    writeFileSync(source.file, 'weights');
    assert.notEqual(await cache.find(source, 2, 'cpu'), undefined);
  });

  it('counts the files beside a model in a version folder, which may hold its weights', async (t) => {
    const { folder } = await setUp(t);
    const version = path.join(folder, 'models', 'n', '1');
    mkdirSync(version, { recursive: true });
    writeFileSync(path.join(version, 'model.onnx'), 'graph');
    writeFileSync(path.join(version, 'model.bin'), 'weights');
    const digest = async (): Promise<string> => {
      const [source] = await findModels(path.join(folder, 'models', 'n'));
      return (await keyOf(source!, 2, 'cpu')).digest;
    };
    const before = await digest();
    assert.equal(await digest(), before);
    writeFileSync(path.join(version, 'model.bin'), 'Weights');
    assert.notEqual(await digest(), before);
  });

  const damage: [string, (text: string) => string, RegExp][] = [
    ['a file that was cut off', (text) => text.slice(0, 100), /is not used: it is not JSON$/],
    ['an empty file', () => '', /it is not JSON$/],
    [
      'another format',
      (text) => text.replace('"format": 1', '"format": 2'),
      /it is no profile of this version of Shoal$/,
    ],
    ['a wrong type', (text) => text.replace('"ms": 2', '"ms": "2"'), /no profile of this version/],
    ['a negative time', (text) => text.replace('"ms": 2', '"ms": -2'), /no profile of this version/],
    ['another machine', (text) => text.replace('"cores": 2', '"cores": 8'), /it holds for another model or machine$/],
  ];
  for (const [name, change, said] of damage) {
    it(`passes over ${name} with a line, and stores anew`, async (t) => {
      const { cache, source, store, warned } = await setUp(t);
      const file = await store();
      const text = readFileSync(file, 'utf8');
      assert.notEqual(change(text), text);
      writeFileSync(file, change(text));
      assert.equal(await cache.find(source, 2, 'cpu'), undefined);
      assert.equal(warned.length, 1);
      assert.match(warned[0]!, said);
      assert.ok(warned[0]!.includes(file));
      await store();
      assert.notEqual(await cache.find(source, 2, 'cpu'), undefined);
    });
  }

  it('lies in the cache folder of the XDG specification, in the one named, or nowhere', () => {
    assert.equal(defaultProfileFolder({ XDG_CACHE_HOME: '/c' }), '/c/shoal/profiles');
    assert.match(defaultProfileFolder({ XDG_CACHE_HOME: 'c' }), /\/\.cache\/shoal\/profiles$/);
    assert.match(defaultProfileFolder({}), /\/\.cache\/shoal\/profiles$/);
    assert.equal(openProfileCache({ profileCache: '/p' }, () => {})?.folder, '/p');
    assert.equal(
      openProfileCache({ profileCache: 'off' }, () => {}),
      undefined,
    );
  });
});
