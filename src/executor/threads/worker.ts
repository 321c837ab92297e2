import { parentPort, workerData } from 'node:worker_threads';
import { Session } from '../session.ts';
import type { ThreadStart } from './messages.ts';

/** A thread with a session of its own, which answers one caller: each of its runs blocks it. */

const { load, inputs } = workerData as ThreadStart;
const port = parentPort!;
const session = await Session.create(load);
await session.run(inputs);

port.once('message', (durationMs: number) => {
  work(durationMs).then(
    (latencies) => port.postMessage(latencies),
    (thrown: unknown) => port.emit('error', thrown),
  );
  // Until then the counts of this thread can be read.
  port.once('message', () => port.close());
});
port.postMessage('ready');

async function work(durationMs: number): Promise<Float64Array> {
  const latencies: number[] = [];
  const endMs = performance.now() + durationMs;
  for (let nowMs = performance.now(); nowMs < endMs; ) {
    await session.run(inputs);
    const doneMs = performance.now();
    latencies.push(doneMs - nowMs);
    nowMs = doneMs;
  }
  return Float64Array.from(latencies);
}
