/**
 * Compiles on every change and restarts the server: node bin/dev.mjs [arguments of shoal serve]
 *
 * `tsc --watch` and `node --watch` run side by side; when one of them ends or this process is told to stop, both end.
 */
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const tsc = resolve(root, 'node_modules/typescript/bin/tsc');
const main = resolve(root, 'dist/src/main.js');

// One whole compilation first, so that there is something to start. Type errors do not keep it from emitting.
const first = spawn(process.execPath, [tsc, '-p', root], { stdio: 'inherit' });
await new Promise((done) => first.on('exit', done));

const children = [
  spawn(process.execPath, [tsc, '-p', root, '--watch', '--preserveWatchOutput'], { stdio: 'inherit' }),
  spawn(process.execPath, ['--watch', main, 'serve', ...process.argv.slice(2)], { stdio: 'inherit' }),
];

let isStopping = false;
/** @param {number} code */
function stop(code) {
  if (isStopping) return;
  isStopping = true;
  process.exitCode = code;
  for (const child of children) child.kill('SIGTERM');
}

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => stop(0));
for (const child of children) child.on('exit', (code) => stop(code ?? 0));
