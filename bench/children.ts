import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

/** Processes of the benchmark: none outlives it. */

const alive = new Set<ChildProcess>();

/** Counts a process among those that end with this one. */
export function track<T extends ChildProcess>(child: T): T {
  alive.add(child);
  child.once('exit', () => alive.delete(child));
  return child;
}

/** Ends every tracked process at once. Executors of Shoal end with it, because their pipe closes. */
export function killAll(): void {
  for (const child of alive) child.kill('SIGKILL');
}

process.on('exit', killAll);

/** How long a process may take to become ready or to end. */
const LIFE_LIMIT_MS = 60_000;

/** A program of `bench/servers`, started and ready. */
export interface Program<Ready> {
  readonly child: ChildProcess;
  /** What it said when it was ready. */
  readonly ready: Ready;
}

/** What programs get as environment: nothing that configures Shoal, Node or ONNX Runtime from outside. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(SHOAL_|NODE_OPTIONS$|NODE_TEST_CONTEXT$)/.test(name));
  return { ...Object.fromEntries(kept), ORT_DISABLE_TELEMETRY: '1' };
}

/**
 * Starts a program that reads its settings from its first argument and sends one message when it is ready.
 *
 * @throws {Error} when it ends before, or is not ready within a minute.
 */
export async function startProgram<Ready>(entry: URL, settings: unknown): Promise<Program<Ready>> {
  const child = track(
    fork(entry, [JSON.stringify(settings)], {
      env: cleanEnvironment(),
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    }),
  );
  const [ready] = (await settles(child, once(child, 'message'), `${entry.pathname} was not ready`)) as [Ready];
  return { child, ready };
}

/** Waits for `event`, but not when the process ends first or a minute has passed. */
export async function settles<T>(child: ChildProcess, event: Promise<T>, what: string): Promise<T> {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), LIFE_LIMIT_MS);
  const ended = once(child, 'exit', { signal: limit.signal }).then(
    ([code, signal]) => {
      throw new Error(`${what}: it ended with ${signal ?? code}`);
    },
    () => {
      throw new Error(`${what} within ${LIFE_LIMIT_MS / 1000} s`);
    },
  );
  try {
    return await Promise.race([event, ended]);
  } finally {
    clearTimeout(timer);
    // Stops listening for the end of the process, which is no failure any more.
    ended.catch(() => {});
    limit.abort();
  }
}

/** Asks a process to end, and waits until it has. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), LIFE_LIMIT_MS);
  await ended;
  clearTimeout(timer);
}
