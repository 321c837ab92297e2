import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, release, totalmem } from 'node:os';
import { grantedCores } from '../src/granted.ts';
import { REPOSITORY_ROOT } from '../test/support/root.ts';

/** What was measured where. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly kernel: string;
  readonly node: string;
  readonly onnxruntime: string;
  readonly fastify: string;
  /** The commit, with `+` when files differ from it; empty outside of a checkout. */
  readonly commit: string;
}

/** Looks at the machine and at the installed packages. */
export function describeMachine(): Machine {
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: grantedCores(),
    memoryGb: Math.round(totalmem() / 1e9),
    kernel: release(),
    node: process.versions.node,
    onnxruntime: versionOf('onnxruntime-node'),
    fastify: versionOf('fastify'),
    commit: commit(),
  };
}

function versionOf(name: string): string {
  const require = createRequire(import.meta.url);
  for (const folder of require.resolve.paths(name) ?? []) {
    try {
      const { version } = JSON.parse(readFileSync(`${folder}/${name}/package.json`, 'utf8')) as { version: string };
      return version;
    } catch {
      // Not in this folder; the next one up.
    }
  }
  return 'unknown';
}

function commit(): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: REPOSITORY_ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no', '--', 'src', 'bench');
    return git('rev-parse', '--short', 'HEAD') + (changed === '' ? '' : '+');
  } catch {
    return '';
  }
}
