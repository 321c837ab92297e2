import type { Arrivals } from './arrivals.ts';
import { type Curve, type CurvePoint, curveThrough, sizeClass } from './curve.ts';
import type { RunTimes, Workload } from './replay.ts';
import type { Trace, TraceModel, TraceRequest, TraceRun } from './trace-format.ts';

/** So many recorded runs before and after an instant tell how fast the machine was then. */
const RUNS_AROUND = 8;
/** A turn of the event loop is not taken for longer. */
const MOST_TURN_MS = 5;

/** What a trace tells of one model version. */
export interface Recorded {
  readonly model: TraceModel;
  /** To be replayed: the same requests, and runs that take as long as those recorded. */
  readonly workload: Workload;
  /** When each executor was first needed beside those before it: they start when there is work for them. */
  readonly executorsFromMs: readonly number[];
  /** What runs took on average, by size. */
  readonly points: readonly CurvePoint[];
  /** What callers saw, answered requests alone: in milliseconds, ascending. */
  readonly latenciesMs: Float64Array;
}

/**
 * Takes one model version out of a trace.
 *
 * @param name of the model, or `name:version`; undefined: the one with most requests.
 * @throws {Error} when there is none, or nothing of it was run.
 */
export function recorded(trace: Trace, name?: string): Recorded {
  const model = pickModel(trace, name);
  const requests = trace.requests.filter(({ id }) => id === model.id).sort((a, b) => a.atMs - b.atMs);
  const runs = trace.runs.filter(({ id }) => id === model.id).sort((a, b) => a.startMs - b.startMs);
  if (runs.length === 0) throw new Error(`nothing of model '${model.model}' was run`);
  const latencies = requests.filter(({ outcome }) => outcome === 'ok').map(({ ms }) => ms);
  const points = meanPoints(runs);
  return {
    model,
    workload: {
      arrivals: arrivalsOf(requests),
      curve: curveThrough(points),
      runTimes: runTimesOf(runs, curveThrough(points)),
      turnMs: turnMsOf(requests, runs),
    },
    executorsFromMs: executorsFrom(runs),
    points,
    latenciesMs: Float64Array.from(latencies).sort(),
  };
}

function pickModel(trace: Trace, name: string | undefined): TraceModel {
  const known = trace.models.map(({ model, version }) => `${model}:${version}`).join(', ') || 'none';
  if (name !== undefined) {
    const found = trace.models.findLast(({ model, version }) => name === model || name === `${model}:${version}`);
    if (found === undefined) throw new Error(`there is no model '${name}' in it, only ${known}`);
    return found;
  }
  const counts = new Map<number, number>();
  for (const { id } of trace.requests) counts.set(id, (counts.get(id) ?? 0) + 1);
  const most = trace.models.toSorted((a, b) => (counts.get(b.id) ?? 0) - (counts.get(a.id) ?? 0))[0];
  if (most === undefined) throw new Error('no request is in it');
  return most;
}

function arrivalsOf(requests: readonly TraceRequest[]): Arrivals {
  const gaveUp = new Set(['CANCELLED', 'DEADLINE_EXCEEDED']);
  return {
    atMs: Float64Array.from(requests, ({ atMs }) => atMs),
    rows: Uint32Array.from(requests, ({ rows }) => rows),
    lanes: Uint32Array.from(requests, ({ lane }) => lane),
    // Who left or was too late would wait no longer the next time; how long the others would have waited is not known.
    timeoutMs: Float64Array.from(requests, ({ outcome, ms }) =>
      gaveUp.has(outcome) ? Math.max(ms, 1e-3) : Number.POSITIVE_INFINITY,
    ),
  };
}

function byClass(runs: readonly TraceRun[]): TraceRun[][] {
  const classes: TraceRun[][] = [];
  for (const run of runs) {
    const index = sizeClass(run.rows);
    classes[index] ??= [];
    classes[index].push(run);
  }
  return classes.filter((some) => some !== undefined);
}

function meanPoints(runs: readonly TraceRun[]): CurvePoint[] {
  return byClass(runs).map((some) => ({
    rows: some.reduce((sum, { rows }) => sum + rows, 0) / some.length,
    ms: some.reduce((sum, { ms }) => sum + ms, 0) / some.length,
  }));
}

/**
 * As long as recorded runs were about that time: machines are slower at some times than at others, and what waits then
 * waits for all of them. Of the nearest ones it is one of the most similar size, and as much off the curve as that was.
 *
 * @param runs by their start.
 */
function runTimesOf(runs: readonly TraceRun[], curve: Curve): RunTimes {
  return (rows, random, nowMs) => {
    const at = indexAt(runs, nowMs);
    const wanted = sizeClass(rows);
    const first = Math.max(0, at - RUNS_AROUND);
    const last = Math.min(runs.length, at + RUNS_AROUND);
    // From a random one on, so that the first of equals is not always the same.
    const shift = Math.floor(random() * (last - first));
    let best = runs[first]!;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < last - first; i++) {
      const run = runs[first + ((i + shift) % (last - first))]!;
      const distance = Math.abs(sizeClass(run.rows) - wanted);
      if (distance < least) {
        least = distance;
        best = run;
      }
    }
    return (best.ms * curve(rows)) / curve(best.rows);
  };
}

/** The index of the first run that starts at an instant or after it. */
function indexAt(runs: readonly TraceRun[], nowMs: number): number {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (runs[middle]!.startMs < nowMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

function executorsFrom(runs: readonly TraceRun[]): number[] {
  const ends: [atMs: number, change: number][] = [];
  for (const { startMs, ms } of runs) ends.push([startMs, 1], [startMs + ms, -1]);
  // Who ends when another starts makes room for it.
  ends.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const fromMs: number[] = [0];
  let now = 0;
  for (const [atMs, change] of ends) {
    now += change;
    if (now > fromMs.length) fromMs.push(atMs);
  }
  return fromMs;
}

/** A turn of the event loop is what the first of a run waited that an idle executor took up. */
function turnMsOf(requests: readonly TraceRequest[], runs: readonly TraceRun[]): number {
  const idle = new Set(runs.filter(({ reason }) => reason === 'idle').map(({ startMs }) => Math.round(startMs * 100)));
  const longest = new Map<number, number>();
  for (const { atMs, queueMs } of requests) {
    const start = Math.round((atMs + queueMs) * 100);
    if (queueMs > 0 && idle.has(start)) longest.set(start, Math.max(longest.get(start) ?? 0, queueMs));
  }
  const waits = [...longest.values()].sort((a, b) => a - b);
  return Math.min(MOST_TURN_MS, waits[waits.length >> 1] ?? 0);
}
