import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { writeRepository } from '../support/models.ts';
import { REPOSITORY_ROOT } from '../support/root.ts';
import { ServeProcess } from '../support/serve-process.ts';
import { controlRepository, mainRepository } from './repository.ts';

/**
 * Lets unmodified clients speak to a running server, each in a process of its own, and says how many of their operations
 * passed:
 *
 *     node dist/test/clients/run.js [--client kserve_rest] [--only 'infer BYTES']
 */

/** The clients' programs, in this folder's sources. */
const PROGRAMS = ['triton_http', 'triton_grpc', 'kserve_rest', 'kserve_grpc', 'perf_analyzer'];

/** Our own client against another's server; it is no program of Python. */
const OWN_CLIENT = 'shoal_client';

const sources = path.join(REPOSITORY_ROOT, 'test/clients');

const { values } = parseArgs({
  options: { client: { type: 'string', multiple: true }, only: { type: 'string', default: '' } },
});

/** What one client did. */
interface Count {
  readonly client: string;
  readonly tried: number;
  readonly passed: number;
}

const cleanups: (() => Promise<void>)[] = [];
const scope = { after: (fn: () => Promise<void>): void => void cleanups.push(fn) };
const work = mkdtempSync(path.join(tmpdir(), 'shoal-clients-'));
try {
  process.exitCode = await runAll();
} finally {
  for (const cleanup of cleanups) await cleanup();
  rmSync(work, { recursive: true });
}

async function runAll(): Promise<number> {
  const environment = makeEnvironment();
  const main = writeRepository(path.join(work, 'main'), await mainRepository());
  const control = writeRepository(path.join(work, 'control'), controlRepository());
  const server = await ServeProcess.start(scope, main, '--triton-metrics', '--grpc-port', '0');
  const controlled = await ServeProcess.start(scope, control, '--model-control-mode', 'explicit', '--grpc-port', '0');
  const results = path.join(work, 'results');
  writeFileSync(results, '');
  const options = {
    http: new URL(server.url).host,
    grpc: String(server.grpcAddress),
    'control-grpc': String(controlled.grpcAddress),
    control: new URL(controlled.url).host,
    'perf-analyzer': path.join(environment, 'perf_analyzer/perf_analyzer'),
    results,
    only: values.only,
  };
  const failed: string[] = [];
  for (const program of values.client ?? [...PROGRAMS, OWN_CLIENT]) {
    const code = await runProgram(path.join(environment, 'bin/python'), program, options);
    // Operations that failed are counted already; a program that broke off has written no count.
    if (code !== 0) failed.push(`${program} ended with ${code}`);
  }
  return report(readCounts(results), failed);
}

/** Makes the environment where it is not there yet; its folder. */
function makeEnvironment(): string {
  const made = spawnSync('bash', [path.join(sources, 'environment.sh')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  assert.equal(made.status, 0, 'environment.sh failed');
  return made.stdout.trim();
}

async function runProgram(python: string, program: string, options: Record<string, string>): Promise<number | string> {
  const flags = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
  const [command, file] =
    program === OWN_CLIENT
      ? [process.execPath, path.join(import.meta.dirname, 'shoal-client.js')]
      : [python, path.join(sources, `${program}.py`)];
  if (program === OWN_CLIENT) flags.push(`--python=${python}`);
  const child = spawn(command, [file, ...flags], {
    // Compiled modules are kept in the environment, not beside the sources.
    env: { ...process.env, PYTHONPYCACHEPREFIX: path.resolve(path.dirname(python), '../compiled') },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const [code, signal] = await once(child, 'exit');
  return signal ?? code;
}

function readCounts(file: string): Count[] {
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line) as Count);
}

/** Prints the table and the totals; the exit code. */
function report(counts: readonly Count[], failed: readonly string[]): number {
  console.log('\n| client | tried | passed |\n| --- | --: | --: |');
  for (const { client, tried, passed } of counts) console.log(`| ${client} | ${tried} | ${passed} |`);
  const tried = counts.reduce((sum, count) => sum + count.tried, 0);
  const passed = counts.reduce((sum, count) => sum + count.passed, 0);
  for (const one of failed) console.log(`not ok - ${one}`);
  // A program that ended without a count is a failure of its own.
  const broken = Math.max(0, failed.length - counts.filter((count) => count.passed < count.tried).length);
  console.log(`# pass ${passed}\n# fail ${tried - passed + broken}`);
  return failed.length === 0 && passed > 0 && passed === tried ? 0 : 1;
}
