import { grantedCores } from '../src/granted.ts';
import type { CaseResult, ModelResult, Round } from './measure.ts';
import { add, type Histogram, quantileBound } from './scrape.ts';
import type { StartRun } from './start-up.ts';
import { type Estimate, estimateMedian, pairwise, pairwiseRatio } from './statistics.ts';

/** What must be reached, as ratios within one run, so that they mean the same on every machine. */

/** One line of the table of floors. */
export interface Floor {
  readonly name: string;
  readonly unit: '' | 'ms' | 'MB';
  readonly direction: 'at least' | 'at most';
  readonly floor: number;
  readonly goal: number;
  /** Whether missing it fails the benchmark; otherwise it is only reported. */
  readonly isMust: boolean;
  /** Undefined when its case was not measured. */
  readonly measured: Estimate | undefined;
}

/** Everything a run has measured. */
export interface Measured {
  readonly models: readonly ModelResult[];
  readonly starts: readonly StartRun[];
}

/** Clients from which on the event loop counts as fully loaded. */
const FULL_LOAD_CLIENTS = 64;

/** Whether a floor is reached; undefined when it was not measured. Judged by the median. */
export function isReached({ measured, direction, floor }: Floor): boolean | undefined {
  if (measured === undefined) return undefined;
  return direction === 'at least' ? measured.median >= floor : measured.median <= floor;
}

/** The table of floors with what was measured. */
export function floorsOf(measured: Measured): Floor[] {
  const big = findCase(measured, 'big-binary-64');
  const tiny = findCase(measured, 'tiny-json-64');
  const atLeast = { unit: '', direction: 'at least', isMust: true } as const;
  const atMost = { direction: 'at most', isMust: true } as const;
  return [
    {
      ...atLeast,
      name: 'memory-bound MLP, binary, 64 clients: requests/s ÷ best rows/s in-process',
      floor: 0.7,
      goal: 0.9,
      measured: ratioOf(big, rate('shoal'), (round) => round.inProcess!.rowsPerSecond),
    },
    {
      ...atLeast,
      name: 'the same ÷ naive handler',
      floor: 7.5,
      goal: 9.5,
      measured: ratioOf(big, rate('shoal'), rate('naive')),
    },
    {
      ...atLeast,
      name: 'tiny model, JSON, 64 clients: requests/s ÷ raw echo',
      floor: 0.85,
      goal: 0.95,
      measured: ratioOf(tiny, rate('shoal'), rate('echo')),
    },
    ...(['mnist-cnn', 'mlp'] as const).map((model) => ({
      ...atLeast,
      isMust: false,
      name: `${model}, binary, 64 clients: requests/s ÷ what the costs of echo, load generator and runs allow`,
      floor: 0.8,
      goal: 0.92,
      measured: ratioOf(findCase(measured, `${model}-binary-64`), rate('shoal'), leftRate),
    })),
    ...[
      { id: 'tiny-json-1', title: 'tiny, JSON' },
      { id: 'mlp-binary-1', title: 'mlp, binary' },
    ].map(({ id, title }) => ({
      ...atMost,
      name: `lone client, ${title}: p50 above the naive handler’s`,
      unit: 'ms' as const,
      floor: 0.3,
      goal: 0.1,
      measured: addedLatency(findCase(measured, id)),
    })),
    {
      ...atMost,
      name: `event-loop delay at ${FULL_LOAD_CLIENTS} clients and more: upper bound of the p99, worst case`,
      unit: 'ms',
      floor: 5,
      goal: 2,
      measured: worstLoopDelay(measured),
    },
    {
      ...atMost,
      name: 'bundled models: start of the process to ready',
      unit: 'ms',
      floor: 1000,
      goal: 500,
      measured: estimateOf(measured.starts.map(({ readyMs }) => readyMs)),
    },
    {
      ...atMost,
      name: 'bundled models: memory then (PSS of all processes)',
      unit: 'MB',
      floor: 150,
      goal: 110,
      measured: estimateOf(measured.starts.map(({ pssBytes }) => pssBytes / 1e6)),
    },
  ];
}

/**
 * Requests per second that would be left if a request cost no more than the raw echo's CPU time, the load generator's,
 * and its share of a batch in-process, with all cores busy.
 */
function leftRate({ echo, inProcess }: Round): number {
  const cores = grantedCores();
  return cores / ((echo.serverCpuUs + echo.loadCpuUs) / 1e6 + cores / inProcess!.rowsPerSecond);
}

function rate(name: 'shoal' | 'naive' | 'echo'): (round: Round) => number {
  return (round) => round[name].requestsPerSecond;
}

function findCase({ models }: Measured, id: string): CaseResult | undefined {
  return models.flatMap(({ cases }) => cases).find((result) => result.case.id === id);
}

function ratioOf(
  result: CaseResult | undefined,
  above: (round: Round) => number,
  below: (round: Round) => number,
): Estimate | undefined {
  return result && estimateMedian(pairwiseRatio(result.rounds.map(above), result.rounds.map(below)));
}

function addedLatency(result: CaseResult | undefined): Estimate | undefined {
  if (result === undefined) return undefined;
  const { rounds } = result;
  return estimateMedian(
    pairwise(
      rounds.map(({ shoal }) => shoal.p50Ms),
      rounds.map(({ naive }) => naive.p50Ms),
      (shoal, naive) => shoal - naive,
    ),
  );
}

/** The delays of all rounds of a case together, case by case; then the worst. */
function worstLoopDelay({ models }: Measured): Estimate | undefined {
  const bounds = models
    .flatMap(({ cases }) => cases)
    .filter((result) => result.case.clients >= FULL_LOAD_CLIENTS)
    .map((result) => loopDelayBoundMs(result));
  return bounds.length === 0 ? undefined : estimateOf([Math.max(...bounds)]);
}

/** The bound that 99 % of Shoal's event-loop delays in a case did not exceed, in milliseconds. */
export function loopDelayBoundMs({ rounds }: CaseResult): number {
  return quantileBound(together(rounds.map(({ shoal }) => shoal.loopDelay)), 0.99) * 1e3;
}

/** All of these observations in one histogram. */
export function together(histograms: readonly (Histogram | undefined)[]): Histogram {
  const empty: Histogram = { cumulative: new Map(), sum: 0 };
  return histograms.reduce<Histogram>((sum, one) => (one === undefined ? sum : add(sum, one)), empty);
}

function estimateOf(values: readonly number[]): Estimate | undefined {
  return values.length === 0 ? undefined : estimateMedian(values);
}
