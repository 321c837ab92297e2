import { readFileSync } from 'node:fs';
import type { ConfigInput } from '../../src/index.ts';
import { ident, type RepositoryContent } from './models.ts';
import { type Answer, type InferRequest, type Metrics, type Scope, startServer, type TestServer } from './server.ts';

/** Servers that are busy for exactly as long as a test wants: their executors are stopped by a signal and go on by one. */

/** Process ids of this process's children, which are executors and nothing else while servers run in it. */
export function executorPids(): number[] {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8');
  return children.split(' ').filter(Boolean).map(Number);
}

/** Holds all executors of this process where they are; the function lets them go on. */
export function holdExecutors(): () => void {
  let held = executorPids();
  for (const pid of held) process.kill(pid, 'SIGSTOP');
  return () => {
    const alive = executorPids();
    for (const pid of held) if (alive.includes(pid)) process.kill(pid, 'SIGCONT');
    held = [];
  };
}

/** A server with one executor of one model, `ident`, which is in the middle of a run until it is released. */
export interface BusyServer {
  readonly running: TestServer;
  /** The request that runs: one row, 0. */
  readonly first: Promise<Answer>;
  readonly release: () => void;
  /** Resolves when so many requests are accepted and not answered, and so many rows wait. */
  readonly until: (inflight: number, queuedRows: number) => Promise<Metrics>;
}

/** The labels of the model. */
export const BUSY_LABELS = { model: 'ident', version: '1' } as const;

/** A request to the model, one row for each number; `y` gives them back. */
export function numbers(values: readonly number[], parameters: object = {}): InferRequest {
  return { parameters, inputs: [{ name: 'x', datatype: 'FP32', shape: [values.length, 1], data: values }] };
}

/** @param model `ident` itself, with a configuration for instance. */
export async function startBusyServer(
  scope: Scope,
  options: ConfigInput = {},
  model: RepositoryContent[string] = ident('FP32'),
): Promise<BusyServer> {
  let release = (): void => {};
  // Before the server's own end, which would wait for its executor.
  scope.after(async () => release());
  const running = await startServer(scope, { ident: model }, { instances: 1, ...options });
  release = holdExecutors();
  const first = running.infer('ident', numbers([0]));
  // A test that fails meanwhile fails for its own reason.
  first.catch(() => {});
  const until = async (inflight: number, queuedRows: number): Promise<Metrics> => {
    for (;;) {
      const metrics = await running.metrics();
      if (metrics.value('shoal_inflight_requests', BUSY_LABELS) !== inflight) continue;
      if (metrics.value('shoal_queue_rows', BUSY_LABELS) === queuedRows) return metrics;
    }
  };
  await until(1, 0);
  return { running, first, release: () => release(), until };
}
