import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { REPOSITORY_ROOT } from '../test/support/root.ts';
import { chooseCases, MODELS } from './cases.ts';
import { killAll } from './children.ts';
import { floorsOf, isReached } from './floors.ts';
import { openLoadGenerator } from './load.ts';
import { describeMachine } from './machine.ts';
import { type ModelResult, measureModel } from './measure.ts';
import { type BenchOptions, HELP, parseOptions } from './options.ts';
import { type Run, renderReport } from './report.ts';
import { measureStart } from './start-up.ts';

/** `npm run bench`: exit code 0, or 1 when a floor that is a must was missed, or 2 when it could not be measured. */

const STARTS = 5;
const EXIT = { missed: 1, failed: 2, interrupted: 130 } as const;

const folder = mkdtempSync(join(tmpdir(), 'shoal-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    killAll();
    process.exit(EXIT.interrupted);
  });
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) process.stdout.write(HELP);
  else process.exitCode = await bench(options);
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = EXIT.failed;
} finally {
  killAll();
}

async function bench(options: BenchOptions): Promise<number> {
  if (process.platform !== 'linux') throw new Error('CPU time and memory are read from /proc, which only Linux has');
  const { isFull, only, pairs, seconds } = options;
  const { cases, measuresStart } = chooseCases(isFull, only);
  if (cases.length === 0 && !measuresStart) throw new Error(`no case has '${only.join("' or '")}' in its id`);
  const load = await openLoadGenerator(options.load, folder);
  log(`load generator: ${load.name}; cases: ${cases.length}, rounds of each: ${pairs}`);

  const starts = measuresStart ? await measureStart(STARTS) : [];
  const models: ModelResult[] = [];
  for (const model of MODELS) {
    const own = cases.filter((one) => one.model === model);
    if (own.length > 0) models.push(await measureModel(model, own, { folder, load, pairs, seconds, log }));
  }
  await load.stop();

  const run: Run = {
    command: `npm run bench${process.argv.length > 2 ? ` -- ${process.argv.slice(2).join(' ')}` : ''}`,
    date: new Date().toISOString().slice(0, 10),
    machine: describeMachine(),
    load: load.name,
    pairs,
    seconds,
    models,
    starts,
    floors: floorsOf({ models, starts }),
  };
  const report = renderReport(run);
  process.stdout.write(`\n${report}`);
  save(run, report, options);
  const missed = run.floors.filter((floor) => floor.isMust && isReached(floor) === false);
  for (const { name } of missed) log(`missed: ${name}`);
  return missed.length > 0 && options.enforcesFloors ? EXIT.missed : 0;
}

/** A whole run becomes the files of its kind; a part of one is only printed, unless a file was named. */
function save(run: Run, report: string, { isFull, only, json }: BenchOptions): void {
  // JSON has no maps: histograms become objects.
  const text = JSON.stringify(
    run,
    (_, value: unknown) => (value instanceof Map ? Object.fromEntries(value) : value),
    1,
  );
  if (json !== undefined) writeFileSync(resolve(json), `${text}\n`);
  if (only.length > 0) return;
  const results = join(REPOSITORY_ROOT, 'bench', 'results');
  mkdirSync(results, { recursive: true });
  const name = isFull ? 'full' : 'short';
  writeFileSync(join(results, `${name}.md`), report);
  if (json === undefined) writeFileSync(join(results, `${name}.json`), `${text}\n`);
  log(`written: bench/results/${name}.md`);
}

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}
