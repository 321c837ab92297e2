import { performance as hooks } from 'node:perf_hooks';
import type { Config } from '../../config.ts';
import { grantedMemoryBytes } from '../../granted.ts';
import { childrenOf, countsBetween, processCounts, residentBytes, type ThreadCounts } from '../../process-counts.ts';
import { measureThreads } from '../../serving/thread-per-request.ts';
import { reshape } from '../../tensor/signature.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { InProcessTarget } from './in-process-target.ts';
import type { Inputs } from './inputs.ts';
import type { BenchJob } from './job.ts';
import { LatencyHistogram } from './latency-histogram.ts';
import { runLoad } from './load.ts';
import { type LoadReport, reportOf } from './report.ts';

/** How many callers there are at the same time, in turn. */
export interface Callers {
  /** Each a coroutine. */
  readonly coroutines: readonly number[];
  /** Each with a thread of its own. */
  readonly threads: readonly number[];
}

/** More threads are not tried: 64 show what each takes. */
const CALLERS: Callers = { coroutines: [1, 64, 10_000], threads: [1, 64] };

/** Threads take at most this share of the memory granted; then no more are started. */
const MEMORY_SHARE = 0.5;
const WARM_UP_MS = 500;
/** A thread that starts has to load the model. */
const START_LIMIT_MS = 60_000;

/** What the operating system and the event loop counted, per answered request. */
export interface Counted {
  /** Turns of the event loop; undefined where threads are measured, each of which has one. */
  readonly loopTurns: number | undefined;
  /** Of the process that callers are in: with threads the only one. */
  readonly front: ThreadCounts;
  /** Of all executor processes together. */
  readonly executors: ThreadCounts | undefined;
  /** Memory in RAM of these processes together while the callers were there, in bytes. */
  readonly residentBytes: number;
}

/** Callers as coroutines. */
export interface CoroutinesAccount extends Counted, LoadReport {
  readonly kind: 'coroutines';
  readonly callers: number;
}

/** Callers as threads. */
export interface ThreadsAccount extends Counted {
  readonly kind: 'threads';
  readonly callers: number;
  /** As many as memory allowed. */
  readonly threads: number;
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly latencyMs: Readonly<Record<string, number>>;
  /** What starting a thread with a session of its own takes, in milliseconds. */
  readonly startMs: number;
  /** What each thread after the first adds to the process's memory; NaN where there is one only. */
  readonly bytesPerThread: number;
}

/** Where the time goes. */
export interface Account {
  readonly model: string;
  readonly seconds: number;
  readonly cores: number;
  readonly node: string;
  readonly coroutines: readonly CoroutinesAccount[];
  readonly threads: readonly ThreadsAccount[];
}

/**
 * Measures one model in this process with 1, 64 and 10,000 callers at the same time, each a coroutine that waits for
 * its answer; then the same work with a thread for each caller, as far as that is sane.
 *
 * @throws {ServeError} and {ShoalError} when the model cannot be served.
 */
export async function takeAccount(
  { model, rows, seconds }: BenchJob,
  config: Config,
  given: Inputs | undefined,
  signal: AbortSignal,
  callers: Callers = CALLERS,
): Promise<Account> {
  const target = await InProcessTarget.start(config, model);
  let inputs: Inputs;
  const coroutines: CoroutinesAccount[] = [];
  let file: string;
  let ordered: Tensor[];
  try {
    inputs = given ?? (await target.makeInputs(rows));
    for (const count of callers.coroutines) {
      if (!signal.aborted) coroutines.push(await measureCoroutines(target, inputs, count, seconds * 1000, signal));
    }
    const { signature } = target.summary();
    file = target.summary().file;
    ordered = signature!.inputs.map(({ name, shape, modelShape }) => {
      const tensor = inputs[name]!;
      return modelShape === undefined ? tensor : reshape(tensor, shape, modelShape);
    });
  } finally {
    await target.close();
  }
  const threads: ThreadsAccount[] = [];
  // Only now, when the executors are gone, which would compete with them.
  for (const count of callers.threads) {
    if (!signal.aborted) threads.push(await measureCallerThreads(file, ordered, count, seconds * 1000));
  }
  return { model, seconds, cores: config.cores, node: process.versions.node, coroutines, threads };
}

async function measureCoroutines(
  target: InProcessTarget,
  inputs: Inputs,
  callers: number,
  durationMs: number,
  signal: AbortSignal,
): Promise<CoroutinesAccount> {
  const load = { kind: 'closed', clients: callers } as const;
  const send = () => target.send(inputs);
  await runLoad(load, WARM_UP_MS, send, signal);
  const front = [process.pid];
  const executors = childrenOf(process.pid);
  const all = [...front, ...executors];
  const before = { front: processCounts(front), executors: processCounts(executors), turns: loopCount() };
  // Halfway, while all of them wait.
  let bytes = 0;
  const timer = setTimeout(() => {
    bytes = all.reduce((sum, pid) => sum + residentBytes(pid), 0);
  }, durationMs / 2);
  const result = await runLoad(load, durationMs, send, signal);
  clearTimeout(timer);
  const requests = Math.max(1, result.latency.count);
  return {
    kind: 'coroutines',
    callers,
    ...reportOf(result),
    loopTurns: (loopCount() - before.turns) / requests,
    front: per(requests, countsBetween(before.front, processCounts(front))),
    executors: per(requests, countsBetween(before.executors, processCounts(executors))),
    residentBytes: bytes,
  };
}

async function measureCallerThreads(
  file: string,
  inputs: readonly Tensor[],
  callers: number,
  durationMs: number,
): Promise<ThreadsAccount> {
  const report = await measureThreads(
    {
      load: { file, provider: 'cpu', device: 0, intraOpThreads: 1 },
      inputs,
      threads: callers,
      durationMs,
      memoryLimitBytes: MEMORY_SHARE * grantedMemoryBytes(),
    },
    START_LIMIT_MS + 10 * durationMs,
  );
  const latency = new LatencyHistogram();
  for (const ms of report.latenciesMs) latency.add(ms);
  const { requests, elapsedMs, threads, startMs, bytesPerThread, voluntary, involuntary, cpuMs } = report;
  return {
    kind: 'threads',
    callers,
    threads,
    requests,
    requestsPerSecond: (1000 * requests) / elapsedMs,
    latencyMs: {
      mean: latency.meanMs,
      p50: latency.quantileMs(0.5),
      p99: latency.quantileMs(0.99),
      max: latency.maxMs,
    },
    startMs,
    bytesPerThread,
    loopTurns: undefined,
    front: per(Math.max(1, requests), { voluntary, involuntary, cpuMs }),
    executors: undefined,
    residentBytes: report.residentBytes,
  };
}

function per(requests: number, { voluntary, involuntary, cpuMs }: ThreadCounts): ThreadCounts {
  return { voluntary: voluntary / requests, involuntary: involuntary / requests, cpuMs: cpuMs / requests };
}

/** Turns that this process's event loop has made. */
function loopCount(): number {
  return hooks.nodeTiming.uvMetricsInfo.loopCount;
}
