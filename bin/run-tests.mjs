/**
 * Runs every *.test.js below a folder with node --test: node bin/run-tests.mjs dist/test [arguments of node]
 *
 * The files are listed one by one and in a fixed order, because `node --test` takes no quoted globs on Node 20 and no
 * folders on Node 24. Two files run at a time unless --test-concurrency says otherwise.
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';

const [folder, ...rest] = process.argv.slice(2);

/** @param {string} message */
function fail(message) {
  process.stderr.write(`run-tests: ${message}\n`);
  process.exit(2);
}

if (folder === undefined) fail('expected a folder: node bin/run-tests.mjs dist/test');
let files = [];
try {
  files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
} catch (error) {
  fail(`${folder} cannot be read (${error.code}), run npm run build first`);
}
files = files
  .filter((file) => file.endsWith('.test.js'))
  .sort()
  .map((file) => join(folder, file));
if (files.length === 0) fail(`no *.test.js below ${folder}`);

const concurrency = rest.some((arg) => arg.startsWith('--test-concurrency')) ? [] : ['--test-concurrency=2'];
const child = spawn(process.execPath, ['--test', ...concurrency, ...rest, ...files], { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => {
  process.exitCode = code ?? 128 + constants.signals[signal ?? 'SIGTERM'];
});
