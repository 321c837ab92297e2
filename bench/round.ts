import { setTimeout as sleep } from 'node:timers/promises';
import type { Encoding } from './cases.ts';
import type { LoadGenerator, LoadRequest } from './load.ts';
import { cpuSeconds, machineBusySeconds, machineCores, treeCpu } from './proc.ts';
import { difference, type Histogram, readHistogram, scrape } from './scrape.ts';

/** One measurement of one server. */

/** A server that takes part. */
export interface Contender {
  readonly name: 'shoal' | 'naive' | 'echo';
  readonly pid: number;
  readonly urls: Readonly<Record<Encoding, string>>;
  /** Where its metrics are, when it has any. */
  readonly metricsUrl?: string;
}

/** What one server did under load for a second or two. */
export interface ServerRun {
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU time per request of the whole process tree, in microseconds. */
  readonly serverCpuUs: number;
  /** The part of it that the first process used: all of it, but for Shoal's executors. */
  readonly frontCpuUs: number;
  /** CPU time per request of the load generator, in microseconds. */
  readonly loadCpuUs: number;
  /** Cores the load generator kept busy. */
  readonly loadCores: number;
  /** Share of the machine's cores that processes outside of the benchmark kept busy. */
  readonly foreignShare: number;
  readonly loopDelay: Histogram | undefined;
  readonly batchRows: Histogram | undefined;
}

/** Puts load on a server and measures what both sides used. @throws {Error} when any request failed. */
export async function runServer(
  contender: Contender,
  load: LoadGenerator,
  request: Omit<LoadRequest, 'url'>,
  encoding: Encoding,
): Promise<ServerRun> {
  const { name, pid, metricsUrl, urls } = contender;
  const metricsBefore = metricsUrl === undefined ? undefined : await scrape(metricsUrl);
  const busyBefore = machineBusySeconds();
  const ownBefore = cpuSeconds(process.pid);
  const cpuBefore = treeCpu(pid);
  const startMs = performance.now();
  const result = await load.run({ ...request, url: urls[encoding] });
  const elapsed = (performance.now() - startMs) / 1e3;
  const cpuAfter = treeCpu(pid);
  const busy = machineBusySeconds() - busyBefore;
  const own = cpuSeconds(process.pid) - ownBefore;
  const metricsAfter = metricsUrl === undefined ? undefined : await scrape(metricsUrl);
  await untilIdle(pid);

  const { requests, failures, seconds, p50Ms, p99Ms } = result;
  if (failures > 0) throw new Error(`${name} failed ${failures} of ${requests + failures} requests`);
  if (requests === 0) throw new Error(`${name} answered nothing within ${seconds} s`);
  const serverCpu = cpuAfter.tree - cpuBefore.tree;
  const between = (metric: string): Histogram | undefined =>
    metricsBefore === undefined || metricsAfter === undefined
      ? undefined
      : difference(readHistogram(metricsBefore, metric), readHistogram(metricsAfter, metric));
  return {
    requestsPerSecond: requests / seconds,
    p50Ms,
    p99Ms,
    serverCpuUs: (serverCpu * 1e6) / requests,
    frontCpuUs: ((cpuAfter.root - cpuBefore.root) * 1e6) / requests,
    loadCpuUs: (result.cpuSeconds * 1e6) / requests,
    loadCores: result.cpuSeconds / seconds,
    foreignShare: Math.max(0, busy - serverCpu - result.cpuSeconds - own) / (elapsed * machineCores()),
    loopDelay: between('shoal_event_loop_delay_seconds'),
    batchRows: between('shoal_batch_rows'),
  };
}

const IDLE = { checkMs: 50, coreShare: 0.1, limitMs: 5000 } as const;

/**
 * Waits until a server has ended what it was asked before the load generator left: a naive handler goes on with
 * everything that is queued, at the cost of whoever is measured next.
 */
async function untilIdle(pid: number): Promise<void> {
  let before = treeCpu(pid).tree;
  for (let waitedMs = 0; waitedMs < IDLE.limitMs; waitedMs += IDLE.checkMs) {
    await sleep(IDLE.checkMs);
    const now = treeCpu(pid).tree;
    if ((now - before) * 1e3 < IDLE.coreShare * IDLE.checkMs) return;
    before = now;
  }
}
