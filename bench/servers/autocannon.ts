import { readFileSync } from 'node:fs';
import autocannon from 'autocannon';
import type { LoadRequest, LoadResult } from '../load.ts';
import { quantile } from '../statistics.ts';
import { announce } from './program.ts';

/** The load generator autocannon in a process of its own, which stays warm between runs. */

const TIMEOUT_SECONDS = 30;

process.on('message', (request: LoadRequest) => {
  void run(request).then(
    (result) => process.send?.(result),
    (error: Error) => process.send?.({ error: error.message }),
  );
});
announce({});

async function run({ url, bodyFile, headers, clients, seconds }: LoadRequest): Promise<LoadResult> {
  const body = readFileSync(bodyFile);
  const latenciesMs: number[] = [];
  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  const instance = autocannon({
    url,
    method: 'POST',
    body,
    headers,
    connections: clients,
    duration: seconds,
    timeout: TIMEOUT_SECONDS,
  });
  // Its own histogram counts whole milliseconds.
  instance.on('response', (_client: unknown, _status: number, _bytes: number, ms: number) => latenciesMs.push(ms));
  const { errors, timeouts, non2xx } = await instance;
  const elapsed = (performance.now() - startMs) / 1e3;
  const { user, system } = process.cpuUsage(cpuBefore);
  return {
    requests: latenciesMs.length,
    failures: errors + timeouts + non2xx,
    seconds: elapsed,
    p50Ms: quantile(latenciesMs, 0.5),
    p99Ms: quantile(latenciesMs, 0.99),
    cpuSeconds: (user + system) / 1e6,
  };
}
