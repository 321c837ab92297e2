import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { add2, idents, writeRepository } from '../../support/models.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';
import { ServeProcess } from '../../support/serve-process.ts';

const MAIN = fileURLToPath(new URL('../../../src/main.js', import.meta.url));
const BUNDLED = path.join(REPOSITORY_ROOT, 'models');

const folder = mkdtempSync(path.join(tmpdir(), 'shoal-batch-'));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => path.join(folder, name);
const models = writeRepository(at('models'), { add2: add2(), ints: idents()['ident_INT64']! });

function write(name: string, text: string | Uint8Array): string {
  writeFileSync(at(name), text);
  return at(name);
}

function start(...args: string[]): { child: ChildProcess; ended: Promise<{ code: number | null; stderr: string }> } {
  const child = spawn(process.execPath, [MAIN, 'batch', ...args], {
    cwd: folder,
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  let stderr = '';
  child.stderr!.on('data', (chunk) => {
    stderr += String(chunk);
  });
  return { child, ended: once(child, 'close').then(([code]) => ({ code, stderr })) };
}

const batch = (...args: string[]) => start(...args).ended;
const lines = (file: string): string[] => readFileSync(at(file), 'utf8').trimEnd().split('\n');
const results = (file: string): Record<string, unknown>[] => lines(file).map((line) => JSON.parse(line));

describe('shoal batch', () => {
  it('runs comma-separated rows through a bundled model', async () => {
    const csv = write('texts.csv', 'id,text\n1,"Guten Morgen, wie geht es dir?"\n2,Where is the train station?\n');
    const { code, stderr } = await batch('language-id', csv, '-o', 'texts.ndjson', '--models', BUNDLED);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^2 rows, [\d,]+\/s, 0 failed$/m);
    const languages = results('texts.ndjson').map(({ row, output }) => [
      row,
      (output as { language: string }).language,
    ]);
    assert.deepEqual(languages, [
      [0, 'deu'],
      [1, 'eng'],
    ]);
  });

  it('keeps every digit of lines of JSON, notes the rows that fail, and says so by its exit code', async () => {
    const input = write('ints.ndjson', '[9007199254740993]\n["x"]\n\n[-9223372036854775808, 1]\n');
    const { code, stderr } = await batch('ints', input, '-o', 'ints.out', '--models', models);
    assert.equal(code, 1, stderr);
    const [first, second, third] = lines('ints.out');
    assert.equal(first, '{"row":0,"output":[9007199254740993]}');
    assert.match(second!, /^\{"row":1,"error":"element 0 of input 'x' is .*"\}$/);
    assert.equal(third, '{"row":2,"output":[-9223372036854775808,1]}');
  });

  it('runs a NumPy array against a running server, by address', async (t) => {
    const served = await ServeProcess.start(t, BUNDLED);
    const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1, 28, 28), }`.padEnd(117);
    const head = Buffer.concat([Buffer.from('\x93NUMPY\x01\x00\x76\x00', 'latin1'), Buffer.from(`${header}\n`)]);
    const input = write('digits.npy', Buffer.concat([head, Buffer.alloc(3 * 784 * 4)]));
    const { code, stderr } = await batch('mnist-cnn', input, '-o', 'digits.out', '--url', served.url);
    assert.equal(code, 0, stderr);
    assert.deepEqual(
      results('digits.out').map(({ output }) => (output as number[]).length),
      [10, 10, 10],
    );
  });

  it('goes on where a killed run has ended: no row is lost, and none is there twice', async () => {
    const count = 20_000;
    const input = write('long.ndjson', Array.from({ length: count }, (_, i) => `[${i}]\n`).join(''));
    const args = ['ints', input, '-o', 'long.out', '--models', models];
    let kills = 0;
    for (let written = 0; written < count * 0.6; ) {
      const { child, ended } = start(...args);
      const before = written;
      while (written < before + count / 8 && child.exitCode === null) {
        await sleep(10);
        written = existsSync(at('long.out')) ? lines('long.out').length : 0;
      }
      child.kill('SIGKILL');
      await ended;
      kills++;
      // As a machine that lost its power would leave it.
      if (kills === 1) appendFileSync(at('long.out'), '{"row":');
    }
    assert.ok(kills >= 2);
    const { code, stderr } = await batch(...args);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /has [\d,]+ rows, going on after them/);
    for (const [i, line] of lines('long.out').entries()) assert.equal(line, `{"row":${i},"output":[${i}]}`);
    assert.equal(lines('long.out').length, count);
    const again = await batch(...args);
    assert.equal(again.code, 0);
    assert.match(again.stderr, /^0 rows/m);
  });

  it('stops when told to, and says that it can go on', async () => {
    const input = write('stop.ndjson', Array.from({ length: 100_000 }, (_, i) => `[${i}]\n`).join(''));
    const { child, ended } = start('ints', input, '-o', 'stop.out', '--models', models);
    while (!existsSync(at('stop.out')) || readFileSync(at('stop.out')).length === 0) await sleep(10);
    child.kill('SIGINT');
    const { code, stderr } = await ended;
    assert.equal(code, 130, stderr);
    assert.match(stderr, /the same command goes on from here/);
    const got = results('stop.out');
    assert.deepEqual(got.at(-1)!['row'], got.length - 1);
  });

  it('runs the files of a folder', async () => {
    mkdirSync(at('files'));
    writeFileSync(at('files/a.txt'), 'Bonjour, comment allez-vous ce matin ?');
    const { code, stderr } = await batch('language-id', 'files', '-o', 'files.out', '--models', BUNDLED);
    assert.equal(code, 0, stderr);
    assert.equal((results('files.out')[0]!['output'] as { language: string }).language, 'fra');
  });

  it('refuses what it cannot do, and touches nothing', async () => {
    const other = write('other.txt', 'not an output\n');
    const precious = write('precious.txt', 'without an end of line');
    const half = write('half.txt', '{"row":0,"output":[1]}\nand something else');
    const input = write('one.ndjson', '[1]\n');
    const wrong: [string[], RegExp][] = [
      [['ints', input, '-o', other, '--models', models], /other\.txt does not end with row 0/],
      [['ints', input, '-o', precious, '--models', models], /precious\.txt holds something else/],
      [['ints', input, '-o', half, '--models', models], /half\.txt does not end with row 0/],
      [['ints', at('gone.csv'), '-o', 'x.out', '--models', models], /gone\.csv' cannot be read/],
      [['ints', input, '-o', at('no/such/folder'), '--models', models], /cannot be written/],
      [['ints', write('bad.ndjson', '[1]\n{\n'), '-o', 'bad.out', '--models', models], /bad\.ndjson:2 is not JSON/],
      [['ints', input, '-o', 'y.out', '--url', 'http://127.0.0.1:9'], /127\.0\.0\.1:9|ECONNREFUSED|connect/],
    ];
    for (const [args, text] of wrong) {
      const { code, stderr } = await batch(...args);
      assert.equal(code, 1, stderr);
      assert.match(stderr, text);
    }
    assert.equal(readFileSync(other, 'utf8'), 'not an output\n');
    assert.equal(readFileSync(precious, 'utf8'), 'without an end of line');
    assert.match(readFileSync(half, 'utf8'), /and something else$/);
    assert.deepEqual(lines('bad.out'), ['{"row":0,"output":[1]}']);
    const unknown = await batch('nobody', input, '-o', 'z.out', '--models', models);
    assert.equal(unknown.code, 2);
    assert.match(unknown.stderr, /nobody/);
  });
});
