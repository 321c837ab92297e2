import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { messageOf } from '../../errors.ts';
import { countsBetween, processCounts, residentBytes } from '../../process-counts.ts';
import type { ThreadStart, ThreadsJob, ThreadsReport } from './messages.ts';

/**
 * A process that serves as servers with one thread per request do, to compare with: each caller has a thread, and each
 * thread a session. It is a process of its own so that its memory is its own, and because a process in which a thread
 * is inside ONNX Runtime cannot be ended but by a signal.
 */

/** Nobody waits for an answer any more. */
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));

process.once('message', (job: ThreadsJob) => {
  measure(job).then(
    (report) => process.send!({ report }),
    (thrown: unknown) => process.send!({ failure: messageOf(thrown) }),
  );
});

async function measure(job: ThreadsJob): Promise<ThreadsReport> {
  const { load, threads, durationMs, memoryLimitBytes } = job;
  // They have come at any offset of a message; ONNX Runtime wants them aligned.
  const inputs = job.inputs.map((tensor) => ({ ...tensor, bytes: new Uint8Array(tensor.bytes) }));
  const workers: Worker[] = [];
  const starts: number[] = [];
  let firstBytes = 0;
  while (workers.length < threads && residentBytes(process.pid) < memoryLimitBytes) {
    const startMs = performance.now();
    const data: ThreadStart = { load, inputs };
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: data });
    // Rejects when the thread fails instead.
    await once(worker, 'message');
    starts.push(performance.now() - startMs);
    workers.push(worker);
    if (workers.length === 1) firstBytes = residentBytes(process.pid);
  }
  const loadedBytes = residentBytes(process.pid);
  const before = processCounts([process.pid]);
  const startMs = performance.now();
  const answers = workers.map((worker) => once(worker, 'message'));
  for (const worker of workers) worker.postMessage(durationMs);
  const latencies = (await Promise.all(answers)).map(([found]) => found as Float64Array);
  const elapsedMs = performance.now() - startMs;
  const counts = countsBetween(before, processCounts([process.pid]));
  const ends = workers.map((worker) => once(worker, 'exit'));
  for (const worker of workers) worker.postMessage('end');
  await Promise.all(ends);

  const requests = latencies.reduce((sum, { length }) => sum + length, 0);
  const latenciesMs = new Float64Array(requests);
  let at = 0;
  for (const some of latencies) {
    latenciesMs.set(some, at);
    at += some.length;
  }
  const more = workers.length - 1;
  return {
    threads: workers.length,
    startMs: medianOf(more > 0 ? starts.slice(1) : starts),
    bytesPerThread: more > 0 ? (loadedBytes - firstBytes) / more : Number.NaN,
    residentBytes: loadedBytes,
    requests,
    elapsedMs,
    latenciesMs,
    ...counts,
  };
}

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}
