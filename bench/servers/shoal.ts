import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import { REPOSITORY_ROOT } from '../../test/support/root.ts';
import { cleanEnvironment, settles, track } from '../children.ts';

/** Shoal as anyone runs it: `node dist/src/main.js serve <models> --port 0`, every option at its default. */

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const READY_POLL_MS = 2;

/** A server that is ready. */
export interface RunningShoal {
  readonly child: ChildProcess;
  readonly url: string;
  /** From the start of the process until `/v2/health/ready` said 200. */
  readonly readyMs: number;
}

/** Starts Shoal on a folder of models. @throws {Error} when it is not ready within a minute. */
export async function startShoal(models: string): Promise<RunningShoal> {
  const startMs = performance.now();
  const child = track(
    spawn(process.execPath, [MAIN, 'serve', models, '--port', '0'], {
      cwd: REPOSITORY_ROOT,
      env: cleanEnvironment(),
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  const url = await settles(child, listeningUrl(child), 'Shoal did not listen');
  await settles(child, ready(url), 'Shoal was not ready');
  return { child, url, readyMs: performance.now() - startMs };
}

/** The URL in the log line that says where it listens. The log is read to its end, so that it never blocks. */
function listeningUrl(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const { msg, url, level } = JSON.parse(line) as { msg?: string; url?: string; level?: string };
      if (msg === 'listening' && url !== undefined) resolve(url);
      if (level === 'warn' || level === 'error' || level === 'fatal') process.stderr.write(`shoal: ${line}\n`);
    });
  });
}

async function ready(url: string): Promise<void> {
  for (;;) {
    const { statusCode, body } = await request(`${url}/v2/health/ready`);
    await body.dump();
    if (statusCode === 200) return;
    await sleep(READY_POLL_MS);
  }
}
