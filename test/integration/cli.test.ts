import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { after, afterEach, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const build = resolve(fileURLToPath(import.meta.url), '../../..');
const root = resolve(build, '..');
const main = join(build, 'src/main.js');

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-cli-'));
});
after(() => rmSync(folder, { recursive: true }));

// The variables of whoever runs the tests must not configure what is tested; with NODE_TEST_CONTEXT a test runner
// inside a test reports to the outer one instead of printing.
const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(SHOAL_|NODE_TEST_CONTEXT$)/.test(name)),
);

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a script to its end. */
function run(script: string, args: readonly string[], variables: Record<string, string> = {}): Promise<Ended> {
  return new Promise((done) => {
    const child = execFile(
      process.execPath,
      [script, ...args],
      { cwd: folder, env: { ...env, ...variables }, timeout: 60_000 },
      (_, stdout, stderr) => done({ code: child.exitCode, stdout, stderr }),
    );
  });
}

const shoal = (args: string, variables?: Record<string, string>): Promise<Ended> =>
  run(main, args.split(' ').filter(Boolean), variables);

const running = new Set<ChildProcess>();
afterEach(() => {
  for (const child of running) child.kill('SIGKILL');
});

interface Served {
  readonly child: ChildProcess;
  readonly url: string;
  /** Lines of the log so far. */
  readonly lines: { readonly level: string; readonly msg: string; readonly url?: string }[];
  /** Resolves to the exit code once the process has ended and everything it wrote was read. */
  readonly ended: Promise<number | null>;
  /** Resolves when the log has a line with this message. */
  readonly saw: (msg: string) => Promise<void>;
}

async function startServer(...args: string[]): Promise<Served> {
  const child = spawn(process.execPath, [main, 'serve', '--port', '0', ...args], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  running.add(child);
  const ended = once(child, 'close').then(([code]) => {
    running.delete(child);
    return code as number | null;
  });
  const lines: Served['lines'] = [];
  const reader = createInterface({ input: child.stdout! });
  reader.on('line', (line) => lines.push(JSON.parse(line)));
  const saw = async (msg: string): Promise<void> => {
    while (!lines.some((line) => line.msg === msg)) {
      await Promise.race([
        once(reader, 'line'),
        ended.then(() => assert.fail(`ended before '${msg}': ${JSON.stringify(lines)}`)),
      ]);
    }
  };
  await saw('listening');
  return { child, url: lines.find((line) => line.msg === 'listening')!.url!, lines, ended, saw };
}

describe('shoal', () => {
  it('prints its help and version', async () => {
    const help = await shoal('');
    assert.deepEqual([help.code, help.stderr], [0, '']);
    assert.match(help.stdout, /^Usage: shoal /);
    const version = await shoal('--version');
    assert.match(version.stdout, /^\d+\.\d+\.\d+\S*\n$/);
  });

  it('refuses wrong options, variables and files with exit code 2, on one line', async () => {
    writeFileSync(join(folder, 'wrong.json'), '{"port": "many"}');
    const cases: [string, Record<string, string>, string][] = [
      ['serve --port 65536', {}, "--port is '65536', expected a whole number from 0 to 65535"],
      ['serve', { SHOAL_BODY_LIMIT: 'big' }, "SHOAL_BODY_LIMIT is 'big', expected a size from 1KiB to 1GiB"],
      ['serve', { SHOAL_WORKERS: '2' }, 'variable SHOAL_WORKERS is not known'],
      ['serve --config wrong.json', {}, "'port' in wrong.json is 'many', expected a whole number"],
      ['inspect nothing.onnx', {}, "argument <file|folder> is 'nothing.onnx', expected the path of an .onnx file"],
      ['health nonsense', {}, "argument [url] is 'nonsense', expected an address such as"],
    ];
    for (const [args, variables, message] of cases) {
      const { code, stdout, stderr } = await shoal(args, variables);
      assert.equal(code, 2, args);
      assert.equal(stdout, '');
      assert.ok(stderr.startsWith(`shoal: ${message}`), stderr);
      assert.equal(stderr.indexOf('\n'), stderr.length - 1, 'one line');
    }
  });

  it('says with exit code 3 that the models folder is missing, and what to do', async () => {
    const { code, stderr } = await shoal('serve --port 0 no-such-folder');
    assert.equal(code, 3);
    assert.match(stderr, /^shoal: .*no-such-folder.*; create it or name another one: shoal serve <folder>\n$/);
  });

  it('says with exit code 3 that a name is used twice', async () => {
    const twice = join(folder, 'twice');
    mkdirSync(join(twice, 'a/1'), { recursive: true });
    writeFileSync(join(twice, 'a.onnx'), '');
    writeFileSync(join(twice, 'a/1/model.onnx'), '');
    const { code, stderr } = await shoal(`serve --port 0 ${twice}`);
    assert.equal(code, 3);
    assert.match(stderr, /^shoal: .*\ba\b.*; rename or remove one of the two\n$/);
  });

  it('says with exit code 3 that the port is in use', async () => {
    mkdirSync(join(folder, 'empty'), { recursive: true });
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address();
    const port = typeof address === 'object' ? address!.port : 0;
    const { code, stderr } = await shoal(`serve --port ${port} empty`);
    other.close();
    assert.equal(code, 3);
    assert.match(stderr, new RegExp(`^shoal: .*\\b${port}\\b.*in use; stop the other program or .*--port`));
    assert.equal(stderr.indexOf('\n'), stderr.length - 1, 'one line');
  });

  it('serves an empty folder, answers health, says how to add a model, and drains on SIGTERM', async () => {
    mkdirSync(join(folder, 'empty'), { recursive: true });
    const server = await startServer('empty');
    await server.saw('loaded');
    assert.ok(server.lines.some(({ msg }) => /^No models in empty yet: add one as empty\/<name>\.onnx/.test(msg)));
    const health = await shoal(`health ${server.url}`);
    assert.deepEqual([health.code, health.stdout, health.stderr], [0, 'ready\n', '']);
    server.child.kill('SIGTERM');
    assert.equal(await server.ended, 0);
    assert.equal(server.lines.at(-1)?.msg, 'stopped');
    assert.equal((await shoal(`health ${server.url}`)).code, 1);
  });

  it('ends at once with 143 on a second SIGTERM while it drains', async () => {
    mkdirSync(join(folder, 'empty'), { recursive: true });
    const server = await startServer('--drain-delay', '5m', 'empty');
    server.child.kill('SIGTERM');
    await server.saw('draining');
    assert.equal((await shoal(`health ${server.url}`)).code, 1, 'not ready while draining');
    server.child.kill('SIGTERM');
    assert.equal(await server.ended, 143);
  });

  it('logs nothing per request at info', async () => {
    const server = await startServer(join(root, 'models'));
    await server.saw('loaded');
    const before = server.lines.length;
    for (const path of ['/v2', '/v2/models/nothing', '/metrics']) await (await fetch(server.url + path)).arrayBuffer();
    server.child.kill('SIGTERM');
    await server.ended;
    assert.deepEqual(
      server.lines.slice(before).map(({ msg }) => msg),
      ['draining', 'stopped'],
    );
  });

  it('inspects a file and a folder, and shows a curl that the server answers', async () => {
    const server = await startServer(join(root, 'models'));
    await server.saw('loaded');
    const port = new URL(server.url).port;
    const { code, stdout } = await shoal(`inspect ${join(root, 'models')} --json --port ${port}`);
    assert.equal(code, 0);
    const reports: { name: string; state: string; example: { command: string } }[] = JSON.parse(stdout);
    assert.ok(reports.length >= 2);
    for (const { name, state, example } of reports) {
      assert.equal(state, 'ready', name);
      const answer = await new Promise<string>((done) => {
        execFile('sh', ['-c', example.command], (_, out) => done(out));
      });
      assert.equal(JSON.parse(answer).model_name, name, answer);
    }
    server.child.kill('SIGTERM');
    assert.equal(await server.ended, 0);
  });

  it('fails to inspect a file that is no model, with its reason', async () => {
    writeFileSync(join(folder, 'broken.onnx'), 'not a model');
    const { code, stdout } = await shoal('inspect broken.onnx');
    assert.equal(code, 1);
    assert.match(stdout, /^broken version 1\n(.*\n)* {2}state +failed: \S/);
  });
});

describe('bin/run-tests.mjs', () => {
  it('runs the files below a folder in a fixed order, passes arguments on and the exit code back', async () => {
    const tests = join(folder, 'tests');
    mkdirSync(join(tests, 'deep'), { recursive: true });
    const script = join(root, 'bin/run-tests.mjs');
    writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
    const content = (name: string): string => `import { test } from 'node:test';\ntest('${name}', () => {});\n`;
    writeFileSync(join(tests, 'b.test.js'), content('test of b'));
    writeFileSync(join(tests, 'deep/a.test.js'), content('test of a'));
    writeFileSync(join(tests, 'helper.js'), 'throw new Error("not a test");\n');
    const fine = await run(script, [tests, '--test-reporter=tap']);
    assert.equal(fine.code, 0, fine.stdout);
    assert.match(fine.stdout, /test of b[\s\S]*test of a[\s\S]*# pass 2\n/);
    const some = await run(script, [tests, '--test-reporter=tap', '--test-name-pattern=of a']);
    assert.doesNotMatch(some.stdout, /ok \d+ - test of b\n/);
    writeFileSync(join(tests, 'c.test.js'), 'throw new Error("broken");\n');
    assert.equal((await run(script, [tests])).code, 1);
  });

  it('says what is missing', async () => {
    const script = join(root, 'bin/run-tests.mjs');
    assert.match((await run(script, [])).stderr, /expected a folder/);
    const missing = await run(script, ['nowhere']);
    assert.equal(missing.code, 2);
    assert.match(missing.stderr, /^run-tests: nowhere cannot be read \(ENOENT\), run npm run build first\n$/);
    mkdirSync(join(folder, 'bare'));
    assert.match((await run(script, ['bare'])).stderr, /no \*\.test\.js below bare/);
  });
});

describe('bin/readme-tables.mjs', () => {
  const script = join(root, 'bin/readme-tables.mjs');
  const readme = (...args: string[]): Promise<Ended> => run(script, ['--build', build, ...args]);

  it('writes the blocks, and checks that they are as the code says', async () => {
    const file = join(folder, 'README.md');
    writeFileSync(file, '# x\n\n<!-- options -->\n<!-- /options -->\n\n<!-- errors -->\n<!-- /errors -->\n');
    const stale = await readme('--check', file);
    assert.equal(stale.code, 1);
    assert.match(stale.stderr, /options and errors not as the code says, run node bin\/readme-tables\.mjs\n$/);
    assert.equal((await readme(file)).code, 0);
    assert.deepEqual(await readme('--check', file), { code: 0, stdout: `${file}: up to date\n`, stderr: '' });
  });

  it('says what is missing', async () => {
    const absent = await readme(join(folder, 'none.md'));
    assert.deepEqual([absent.code, absent.stderr], [1, `readme-tables: ${join(folder, 'none.md')} does not exist\n`]);
    const bare = join(folder, 'bare.md');
    writeFileSync(bare, '# nothing here\n');
    const unmarked = await readme(bare);
    assert.equal(unmarked.code, 1);
    assert.match(
      unmarked.stderr,
      /bare\.md: expected <!-- options --> and, after it, <!-- \/options -->, each once\n$/,
    );
    const unbuilt = await run(script, ['--build', folder, bare]);
    assert.match(unbuilt.stderr, /does not exist, run npm run build first/);
  });
});
