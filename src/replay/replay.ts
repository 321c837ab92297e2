import type { Batch } from '../batching/batch.ts';
import { Batcher, type Runner, type RunResult } from '../batching/batcher.ts';
import { byteBudget } from '../batching/byte-budget.ts';
import { CoreTokens } from '../batching/core-tokens.ts';
import { CostEstimate } from '../batching/cost.ts';
import type { PendingRequest, ReleaseReason } from '../batching/request.ts';
import { ShoalError } from '../errors.ts';
import { type Random, seededRandom } from '../random.ts';
import type { CheckedInputs, Signature } from '../tensor/signature.ts';
import { type Arrivals, exponential } from './arrivals.ts';
import type { Curve } from './curve.ts';
import { Tally } from './tally.ts';
import { VirtualClock } from './virtual-clock.ts';

/** How the model is served in a replay. */
export interface ReplaySettings {
  /** See the option `maxBatchSize`; 1 for a model that is not batched. */
  readonly maxBatchRows: number;
  readonly preferredRows: readonly number[];
  readonly windowMs: number;
  /** Whether the measured curve decides how many rows are taken, or all that wait are. */
  readonly splits: boolean;
  readonly executors: number;
  /** When each of them is there; undefined: all from the beginning. */
  readonly executorsFromMs?: readonly number[];
  readonly maxQueueRows: number;
}

/** What is replayed. */
export interface Workload {
  /** Requests that come whatever becomes of the others; */
  readonly arrivals?: Arrivals;
  /** or clients of which each sends its next request of one row some time after it was answered. */
  readonly clients?: { readonly count: number; readonly requests: number; readonly thinkMs: number };
  /** What a run takes. */
  readonly curve: Curve;
  /** What each run takes, where that differs from the curve; the server learns of the curve by it. */
  readonly runTimes?: RunTimes;
  /** Standard deviation of a run's time as a share of it; 0: always the same. */
  readonly noise?: number;
  readonly seed?: number;
  /** How long a turn of the server's event loop takes, in milliseconds. */
  readonly turnMs?: number;
  /** From queueing to answer a request takes so much longer than it waits and is run. */
  readonly overheadMs?: number;
  /** So many requests that end first are left out of the result: the curve is not known then. */
  readonly skip?: number;
}

/** What came of it. Times are from a request's arrival to its answer, in milliseconds. */
export interface ReplayResult {
  readonly requests: number;
  readonly answered: number;
  /** Requests that were not answered, by the error's code. */
  readonly errors: Readonly<Record<string, number>>;
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** From the first arrival to the last answer. */
  readonly spanMs: number;
  readonly batches: number;
  readonly meanRows: number;
  /** Runs by rows. */
  readonly sizes: Readonly<Record<number, number>>;
  readonly reasons: Readonly<Partial<Record<ReleaseReason, number>>>;
}

/** What one run of so many rows takes, in milliseconds, when it starts at that time. */
export type RunTimes = (rows: number, random: Random, nowMs: number) => number;

const SIGNATURE: Signature = {
  inputs: [{ name: 'x', datatype: 'FP32', shape: [-1], batchAxis: 0 }],
  outputs: [],
  batched: true,
};
const NO_OUTPUTS: RunResult['outputs'] = new Map();

/** Serves a workload on a virtual clock by the code that serves real ones: batcher, policy, cost estimate. */
export function replay(workload: Workload, settings: ReplaySettings): ReplayResult {
  const { arrivals, clients, curve, seed = 1 } = workload;
  const clock = new VirtualClock(workload.turnMs);
  const random = seededRandom(seed);
  const tally = new Tally(arrivals?.atMs.length ?? clients?.requests ?? 0, workload.overheadMs ?? 0, workload.skip);
  const cost = new CostEstimate();
  const { noise = 0, runTimes = (rows, from) => curve(rows) * noiseFactor(noise, from) } = workload;
  // The server knows as much from its probe.
  cost.assume([1, 2, 8].map((rows) => ({ rows, bytes: rows, ms: curve(rows) })));
  let settled: (request: PendingRequest) => void = () => {};
  const batcher = new Batcher({
    name: 'replay',
    signature: SIGNATURE,
    shares: true,
    maxBatchRows: settings.maxBatchRows,
    maxQueueRows: settings.maxQueueRows,
    maxQueueRequests: Number.POSITIVE_INFINITY,
    maxLevelRequests: undefined,
    preferredRows: settings.preferredRows,
    windowMs: settings.windowMs,
    splits: settings.splits,
    preservesOrder: false,
    budget: byteBudget(Number.POSITIVE_INFINITY),
    tokens: new CoreTokens(settings.executors, clock),
    cost,
    clock,
    events: {
      batchEnded: (info) => tally.ran(info),
      settled: (request, code) => {
        tally.settled(request, code);
        settled(request);
      },
      refused: (code) => tally.refused(code),
      unbatchable: () => {},
    },
  });
  for (let i = 0; i < settings.executors; i++) {
    const runner = new SimulatedRunner(clock, runTimes, seededRandom(seed + 1 + i));
    const fromMs = settings.executorsFromMs?.[i] ?? 0;
    if (fromMs > 0) clock.setTimer(fromMs, () => batcher.addRunner(runner));
    else batcher.addRunner(runner);
  }
  const inputs = new InputsCache();
  const send = (rows: number, lane: number, timeoutMs: number): void => {
    const nowMs = clock.now();
    try {
      batcher.submit({
        inputs: inputs.of(rows, lane),
        outputs: undefined,
        priority: 0,
        receivedMs: nowMs,
        deadlineMs: nowMs + timeoutMs,
        queueDeadlineMs: Number.POSITIVE_INFINITY,
      });
    } catch (thrown) {
      if (!(thrown instanceof ShoalError)) throw thrown;
    }
  };
  if (arrivals !== undefined) {
    const { atMs, rows, lanes, timeoutMs } = arrivals;
    for (let i = 0; i < atMs.length; i++) {
      clock.advanceTo(atMs[i]!);
      send(rows[i]!, lanes?.[i] ?? 0, timeoutMs?.[i] ?? Number.POSITIVE_INFINITY);
    }
  } else if (clients !== undefined) {
    let left = clients.requests;
    const next = (): void => {
      if (left-- <= 0) return;
      clock.setTimer(exponential(random, clients.thinkMs), () => send(1, 0, Number.POSITIVE_INFINITY));
    };
    settled = next;
    for (let i = 0; i < clients.count; i++) next();
  }
  while (clock.advance());
  return tally.result(clock.now());
}

/** Runs nothing, and takes its time. */
class SimulatedRunner implements Runner {
  readonly threads = 1;
  readonly #clock: VirtualClock;
  readonly #runTimes: RunTimes;
  readonly #random: Random;

  constructor(clock: VirtualClock, runTimes: RunTimes, random: Random) {
    this.#clock = clock;
    this.#runTimes = runTimes;
    this.#random = random;
  }

  run(batch: Batch): PromiseLike<RunResult> {
    const computeStartMs = this.#clock.now();
    const ms = this.#runTimes(batch.rows, this.#random, computeStartMs);
    const computeEndMs = computeStartMs + ms;
    const result = { outputs: NO_OUTPUTS, computeStartMs, computeEndMs };
    return {
      // biome-ignore lint/suspicious/noThenProperty: told on the clock, with no promise in between, so that a replay is one synchronous piece of work
      then: (done) => {
        this.#clock.setTimer(ms, () => void done?.(result));
        return new Promise(() => {});
      },
    };
  }
}

/** A factor of mean 1 that is never negative: a gamma distribution would fit no better than this lognormal one. */
function noiseFactor(noise: number, random: Random): number {
  if (noise === 0) return 1;
  const sigma = Math.sqrt(Math.log(1 + noise * noise));
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Math.exp(sigma * normal - (sigma * sigma) / 2);
}

/** Requests of one size and lane may share their inputs: nobody looks at the values. */
class InputsCache {
  readonly #known: Map<number, CheckedInputs>[] = [];

  of(rows: number, lane: number): CheckedInputs {
    this.#known[lane] ??= new Map();
    const ofLane = this.#known[lane];
    let inputs = ofLane.get(rows);
    if (inputs === undefined) {
      inputs = { tensors: [], rows, bytes: rows, laneKey: `${lane}`, batched: true };
      ofLane.set(rows, inputs);
    }
    return inputs;
  }
}
