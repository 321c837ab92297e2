/**
 * Writes the tables of the README that are made from the code: node bin/readme-tables.mjs [--check] [README.md]
 *
 * With --check nothing is written, and the exit code is 1 when a table is not what the code says.
 * --build names the folder of the compiled sources; `npm run build` puts them into dist.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const root = resolve(import.meta.dirname, '..');
const { values, positionals } = parseArgs({
  options: { check: { type: 'boolean', default: false }, build: { type: 'string', default: join(root, 'dist') } },
  allowPositionals: true,
});
const file = positionals[0] ?? join(root, 'README.md');
const built = join(resolve(values.build), 'src/cli/readme-tables.js');

/** @param {string} message */
function fail(message) {
  process.stderr.write(`readme-tables: ${message}\n`);
  process.exit(1);
}

if (!existsSync(built)) fail(`${built} does not exist, run npm run build first`);
if (!existsSync(file)) fail(`${file} does not exist`);

const { README_BLOCKS, replaceBlock } = await import(pathToFileURL(built).href);
const before = readFileSync(file, 'utf8');
let after = before;
const stale = [];
for (const [name, makeBlock] of Object.entries(README_BLOCKS)) {
  const previous = after;
  try {
    after = replaceBlock(after, name, makeBlock());
  } catch (error) {
    fail(`${file}: ${error.message}`);
  }
  if (after !== previous) stale.push(name);
}
if (stale.length > 0 && values.check) {
  fail(`${file}: ${stale.join(' and ')} not as the code says, run node bin/readme-tables.mjs`);
}
if (stale.length > 0) writeFileSync(file, after);
process.stdout.write(stale.length > 0 ? `${file}: wrote ${stale.join(' and ')}\n` : `${file}: up to date\n`);
