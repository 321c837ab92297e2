import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { REPOSITORY_ROOT } from '../../support/root.ts';
import { useServer } from '../../support/server.ts';

/** The programs of the client's page: they compile under strict settings, and run against the bundled models. */

const page = readFileSync(path.join(REPOSITORY_ROOT, 'docs/client.md'), 'utf8');
const programs = [...page.matchAll(/```ts\n([\s\S]*?)```/g)]
  .map((match) => match[1]!)
  .filter((code) => code.startsWith('import '));

/** What each program prints, in order. */
const PRINTS: readonly RegExp[] = [
  /^\[ 2, 10 \] Float32Array\(20\) \[/,
  /^\d\n$/,
  /^\[ 'deu', 'eng' \] decode;dur=/,
  /^true\n$/,
];

describe("the client's page", () => {
  const running = useServer(() => path.join(REPOSITORY_ROOT, 'models'));
  let folder: string;
  before(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'shoal-docs-'));
    mkdirSync(path.join(folder, 'node_modules'));
    symlinkSync(REPOSITORY_ROOT, path.join(folder, 'node_modules/shoal'));
    writeFileSync(path.join(folder, 'package.json'), '{"type":"module"}');
    const main = path.join(REPOSITORY_ROOT, 'dist/src/main.js');
    const models = path.join(REPOSITORY_ROOT, 'models');
    const made = spawnSync(process.execPath, [main, 'types', models, '--out', 'models.ts'], {
      cwd: folder,
      encoding: 'utf8',
    });
    assert.equal(made.status, 0, made.stderr);
    for (const [i, code] of programs.entries()) {
      writeFileSync(path.join(folder, `program${i}.ts`), code.replaceAll('http://127.0.0.1:8000', running().url));
    }
    const compilerOptions = {
      target: 'ES2023',
      module: 'NodeNext',
      strict: true,
      noUncheckedIndexedAccess: true,
      exactOptionalPropertyTypes: true,
      rewriteRelativeImportExtensions: true,
      types: ['node'],
      typeRoots: [path.join(REPOSITORY_ROOT, 'node_modules/@types')],
    };
    writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions }));
  });
  after(() => rmSync(folder, { recursive: true }));

  it('compiles', () => {
    const tsc = path.join(REPOSITORY_ROOT, 'node_modules/.bin/tsc');
    const { status, stdout } = spawnSync(tsc, ['-p', folder, '--pretty', 'false'], { encoding: 'utf8' });
    assert.equal(status, 0, stdout);
    assert.equal(programs.length, PRINTS.length);
  });

  for (const [i, expected] of PRINTS.entries()) {
    it(`program ${i + 1} runs and ends`, async () => {
      // Not awaited synchronously: the server is in this process.
      const child = spawn(process.execPath, [path.join(folder, `program${i}.js`)], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let printed = '';
      let complained = '';
      child.stdout.on('data', (part) => {
        printed += part;
      });
      child.stderr.on('data', (part) => {
        complained += part;
      });
      const [code] = await once(child, 'close');
      assert.deepEqual([code, complained], [0, '']);
      assert.match(printed, expected);
    });
  }

  it('has the interface that the bundled models have', () => {
    const written = readFileSync(path.join(folder, 'models.ts'), 'utf8');
    const shown = /export interface Models \{\n([\s\S]*?)\n\}\n/.exec(page)![1]!;
    assert.ok(written.includes(shown), written);
  });
});
