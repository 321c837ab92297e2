// Measures what docs/coroutines.md shows, and writes it there: `npm run build && node bin/coroutines-figures.mjs`.
// Four minutes at most, on a machine that does nothing else. Seconds of a column and rounds may be given, to try it.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { accountNotes, accountTable } from '../dist/src/cli/bench/account-report.js';

const [seconds = '5', rounds = '5'] = process.argv.slice(2);
const MODELS = ['language-id', 'mnist-cnn'];
const PAGE = fileURLToPath(new URL('../docs/coroutines.md', import.meta.url));
const ROOT = fileURLToPath(new URL('..', import.meta.url));

const run = (...args) => {
  const options = { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], timeout: 200_000 };
  return execFileSync(process.execPath, args, options);
};

const parts = [];
for (const model of MODELS) {
  const account = JSON.parse(
    run('dist/src/main.js', 'bench', '--account', '--model', model, '--duration', seconds, '--json'),
  );
  const [head, ...lines] = accountTable(account);
  const cells = [head, head.map((_, i) => (i === 0 ? '---' : '---:')), ...lines];
  const table = cells.map((row) => `| ${row.map((cell) => cell.trim()).join(' | ')} |`).join('\n');
  parts.push(`### ${model}\n\n${table}\n\n${accountNotes(account).join('\n\n')}`);
}
parts.push(
  `### Steps of a training\n\n${run('dist/bench/training/data-parallel.js', '--seconds', '100', '--rounds', rounds).trim()}`,
);

const page = readFileSync(PAGE, 'utf8');
const [begin, end] = ['<!-- figures -->\n', '<!-- /figures -->'];
const from = page.indexOf(begin) + begin.length;
const to = page.indexOf(end);
if (from < begin.length || to < from) throw new Error(`${PAGE} has no block of figures`);
writeFileSync(PAGE, `${page.slice(0, from)}\n## Figures\n\n${parts.join('\n\n')}\n\n${page.slice(to)}`);
