#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { letHeapGrow } from './cli/heap.ts';
import type { Host } from './cli/host.ts';
import { EXIT } from './cli/host.ts';
import { type Actions, runProgram } from './cli/program.ts';

// ONNX Runtime reports usage on its own unless it is told not to; executors inherit this.
Object.assign(process.env, { ORT_DISABLE_TELEMETRY: '1' });

// The reader of a pipe may leave first: `shoal --help | head -1`.
process.stdout.on('error', () => {});

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const host: Host = {
  env: process.env,
  cwd: process.cwd(),
  isTerminal: process.stdout.isTTY === true,
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
};

// As process 1 of a container, a program without a handler does not hear a signal at all; loading the server takes a while.
const leaveEarly = (signal: NodeJS.Signals): never => process.exit(128 + constants.signals[signal]);
process.on('SIGTERM', leaveEarly).on('SIGINT', leaveEarly);

// Each command loads what it needs and nothing else.
const actions: Actions = {
  async serve(config) {
    letHeapGrow();
    const [{ serve }, { createServer }] = await Promise.all([import('./cli/serve.ts'), import('./server.ts')]);
    // `serve` puts its own in place before it waits for anything.
    process.off('SIGTERM', leaveEarly).off('SIGINT', leaveEarly);
    return serve(config, host, { version, createServer, process, exit: (code) => process.exit(code) });
  },
  async inspect(path, config, options) {
    const [{ inspect }, { inspectModels }] = await Promise.all([
      import('./cli/inspect.ts'),
      import('./serving/inspect.ts'),
    ]);
    return inspect(path, config, options, inspectModels, host);
  },
  async types(path, config, options) {
    const [{ types }, { inspectModels }] = await Promise.all([
      import('./cli/types.ts'),
      import('./serving/inspect.ts'),
    ]);
    return types(path, config, options, inspectModels, host);
  },
  async profile(job, config) {
    const { profile } = await import('./cli/profile.ts');
    return profile(job, config, host);
  },
  async replay(job) {
    const { replayJob } = await import('./cli/replay.ts');
    return replayJob(job, host);
  },
  async batch(job, config) {
    letHeapGrow();
    const [{ batch }, { createServer }] = await Promise.all([import('./cli/batch.ts'), import('./server.ts')]);
    process.off('SIGTERM', leaveEarly).off('SIGINT', leaveEarly);
    return batch(job, config, host, { createServer, process, showsProgress: process.stderr.isTTY === true });
  },
  async bench(job, config) {
    letHeapGrow();
    const { bench } = await import('./cli/bench.ts');
    process.off('SIGTERM', leaveEarly).off('SIGINT', leaveEarly);
    return bench(job, config, host, process);
  },
  async health(url, config) {
    const { checkHealth } = await import('./cli/health.ts');
    return checkHealth(url, config, host);
  },
};

let code: number;
try {
  code = await runProgram(process.argv.slice(2), version, actions, host);
} catch (error) {
  host.err(`shoal: unexpected failure: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  code = EXIT.failed;
}
process.exitCode = code;
// Whatever is still open must not keep the process; what was written must get out first.
process.stdout.write('', () => process.exit());
