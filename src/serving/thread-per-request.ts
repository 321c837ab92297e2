import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { childEnvironment } from '../child-environment.ts';
import type { ThreadsJob, ThreadsReport } from '../executor/threads/messages.ts';

export type { ThreadsJob, ThreadsReport } from '../executor/threads/messages.ts';

type Answer = { readonly report: ThreadsReport } | { readonly failure: string };

/**
 * Measures a model served with one thread per caller, in a process of its own, which is gone when this resolves.
 *
 * @param timeoutMs after which the process is ended.
 * @throws {Error} when the process failed or took too long.
 */
export async function measureThreads(job: ThreadsJob, timeoutMs: number): Promise<ThreadsReport> {
  const entry = fileURLToPath(new URL('../executor/threads/main.js', import.meta.url));
  const child = fork(entry, [], {
    env: childEnvironment(),
    execArgv: [],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  try {
    const answer = await new Promise<Answer>((resolve, reject) => {
      child.once('message', (message) => resolve(message as Answer));
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        reject(new Error(`the process with ${job.threads} threads ended by ${signal ?? `code ${code}`}`));
      });
      child.send(job);
    });
    if ('failure' in answer) throw new Error(`with ${job.threads} threads: ${answer.failure}`);
    return answer.report;
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
    await gone;
  }
}
