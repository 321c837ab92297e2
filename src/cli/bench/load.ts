import { type Random, seededRandom } from '../../random.ts';
import { LatencyHistogram } from './latency-histogram.ts';
import { type RequestTimes, TimesTally } from './request-times.ts';

/** A request that was not answered as it should be. */
export class RequestFailure extends Error {
  override name = 'RequestFailure';
}

/** Sends a request; resolves when it has been answered, with what the server says of its time. */
export type Send = (index: number) => Promise<RequestTimes | undefined>;

/** Timers are late by up to so much; the rest of the time to a request is waited for turn by turn. */
const TIMER_MS = 2;

/** How requests are sent. */
export type Load =
  /** Each client sends its next request when it has the answer to its last. */
  | { readonly kind: 'closed'; readonly clients: number }
  /** Requests are sent when their time has come, so many a second, whatever has been answered. */
  | { readonly kind: 'open'; readonly rate: number; readonly arrivals: 'constant' | 'poisson'; readonly most: number };

/** What came of a load. */
export interface LoadResult {
  /** From the first request to the last answer, in milliseconds. */
  readonly elapsedMs: number;
  /** Of answered requests; with an open load from the moment a request was to be sent. */
  readonly latency: LatencyHistogram;
  readonly times: TimesTally;
  /** Requests that failed, by why. */
  readonly failures: ReadonlyMap<string, number>;
  /** With an open load: requests that were never sent, because too many were under way. */
  readonly unsent: number;
}

/** Runs a load for so long, then waits for what is under way; a signal ends it early. */
export async function runLoad(load: Load, durationMs: number, send: Send, signal?: AbortSignal): Promise<LoadResult> {
  const recorder = new Recorder(send);
  const startMs = performance.now();
  const endMs = startMs + durationMs;
  let unsent = 0;
  if (load.kind === 'closed') {
    const client = async (): Promise<void> => {
      while (performance.now() < endMs && signal?.aborted !== true) await recorder.request(performance.now());
    };
    await Promise.all(Array.from({ length: load.clients }, client));
  } else unsent = await runOpen(load, startMs, endMs, recorder, signal);
  return { elapsedMs: performance.now() - startMs, ...recorder.result(), unsent };
}

async function runOpen(
  { rate, arrivals, most }: Extract<Load, { kind: 'open' }>,
  startMs: number,
  endMs: number,
  recorder: Recorder,
  signal: AbortSignal | undefined,
): Promise<number> {
  const gap = gapsOf(rate, arrivals, seededRandom(1));
  let underWay = 0;
  let woken = (): void => {};
  const requests: Set<Promise<void>> = new Set();
  // Requests whose time has come, and which were not sent because so many are under way, keep their times.
  let dueMs = startMs;
  let sent = 0;
  while (dueMs < endMs && signal?.aborted !== true) {
    const nowMs = performance.now();
    if (nowMs >= endMs) break;
    const leftMs = dueMs - nowMs;
    if (leftMs > TIMER_MS) await new Promise((resolve) => setTimeout(resolve, leftMs - TIMER_MS));
    else if (leftMs > 0) await new Promise(setImmediate);
    else if (underWay >= most) {
      await new Promise<void>((resolve) => {
        woken = resolve;
      });
    } else {
      underWay++;
      const request: Promise<void> = recorder.request(dueMs).then(() => {
        underWay--;
        requests.delete(request);
        woken();
      });
      requests.add(request);
      dueMs += gap();
      // Answers have to be taken, too.
      if (++sent % 64 === 0) await new Promise(setImmediate);
    }
  }
  let unsent = 0;
  for (; signal?.aborted !== true && dueMs < endMs; dueMs += gap()) unsent++;
  await Promise.all(requests);
  return unsent;
}

/** Milliseconds from one request to the next. */
function gapsOf(rate: number, arrivals: 'constant' | 'poisson', random: Random): () => number {
  const meanMs = 1000 / rate;
  return arrivals === 'constant' ? () => meanMs : () => -Math.log(1 - random()) * meanMs;
}

/** Sends requests and notes what comes of them. */
class Recorder {
  readonly #send: Send;
  readonly #latency: LatencyHistogram = new LatencyHistogram();
  readonly #times: TimesTally = new TimesTally();
  readonly #failures: Map<string, number> = new Map();
  #sent = 0;

  constructor(send: Send) {
    this.#send = send;
  }

  /** Never rejects. */
  async request(fromMs: number): Promise<void> {
    try {
      const times = await this.#send(this.#sent++);
      this.#latency.add(performance.now() - fromMs);
      if (times !== undefined) this.#times.add(times);
    } catch (thrown) {
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      this.#failures.set(why, (this.#failures.get(why) ?? 0) + 1);
      // A server that refuses at once must not be asked as fast as a loop goes round.
      await new Promise(setImmediate);
    }
  }

  result(): Pick<LoadResult, 'latency' | 'times' | 'failures'> {
    return { latency: this.#latency, times: this.#times, failures: this.#failures };
  }
}
