import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { types } from '../../../src/cli/types.ts';
import type { ModelSummary } from '../../../src/server.ts';
import { config, type RecordedHost, recordHost, summary } from './support.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'shoal-types-'));
after(() => rmSync(folder, { recursive: true }));

async function run(models: readonly ModelSummary[], out?: string): Promise<{ code: number; host: RecordedHost }> {
  const host = recordHost({ cwd: folder });
  const code = await types('.', config(), { out, forPipelines: false }, async () => models, host);
  return { code, host };
}

const failed = { state: 'failed', reason: 'not an ONNX file', signature: undefined } as const;

describe('types', () => {
  it('prints an interface', async () => {
    const { code, host } = await run([summary()]);
    assert.equal(code, 0);
    assert.match(host.stdout, /^\/\/ Made by `shoal types \.`.*\n\n.*\nexport interface Models \{\n/);
    assert.match(host.stdout, /readonly tiny: \{/);
    assert.equal(host.stderr, '');
  });

  it('writes a file where it is told to, relative to the working directory', async () => {
    const printed = (await run([summary()])).host.stdout;
    const { code, host } = await run([summary()], 'models.ts');
    assert.deepEqual([code, host.stdout, host.stderr], [0, '', '']);
    assert.equal(readFileSync(path.join(folder, 'models.ts'), 'utf8'), printed);
    const missing = await run([summary()], 'nowhere/models.ts');
    assert.equal(missing.code, 1);
    assert.match(missing.host.stderr, /^shoal: nowhere\/models\.ts cannot be written: ENOENT/);
  });

  it('takes the highest version of a model, by number', async () => {
    const { host } = await run(['9', '10', '2'].map((version) => summary({ version })));
    assert.equal(host.stdout.match(/readonly tiny/g)!.length, 1);
    assert.match(host.stdout, /version 10/);
  });

  it('writes nothing when a model failed, and says which', async () => {
    const { code, host } = await run([summary(), summary({ name: 'bad', ...failed })], 'failed.ts');
    assert.equal(code, 1);
    assert.equal(host.stderr, "shoal: model 'bad' version 1 failed: not an ONNX file\n");
    assert.throws(() => readFileSync(path.join(folder, 'failed.ts')), /ENOENT/);
    assert.equal((await run([summary({ version: '2' }), summary(failed)])).code, 0, 'an older version does not matter');
  });

  it('fails when there are no models or nothing is there', async () => {
    const { code, host } = await run([]);
    assert.equal(code, 1);
    assert.match(host.stderr, /^shoal: no models in \./);
    const nothing = types(
      'nowhere',
      config(),
      { out: undefined, forPipelines: false },
      async () => [],
      recordHost({ cwd: folder }),
    );
    await assert.rejects(nothing, /nothing is there/);
  });
});
