// Runs every example on its data; each checks its own answers and fails when they are wrong.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('.', import.meta.url));
const examples = readdirSync(folder).filter((name) => name.endsWith('.mjs') && name !== 'run.mjs');
let passed = 0;
for (const name of examples) {
  console.log(`--- ${name}`);
  const { status, signal } = spawnSync(process.execPath, [name], { cwd: folder, stdio: 'inherit', timeout: 300_000 });
  if (status === 0) passed++;
  else console.log(`${name} failed: ${signal ?? `exit code ${status}`}`);
}
console.log(`examples: ${passed} of ${examples.length} passed`);
process.exitCode = passed === examples.length ? 0 : 1;
