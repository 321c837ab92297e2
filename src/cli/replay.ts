import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { ConfigError } from '../config-error.ts';
import { messageOf } from '../errors.ts';
import { makeArrivals, type Pattern } from '../replay/arrivals.ts';
import { recorded } from '../replay/recorded.ts';
import { type ReplayResult, type ReplaySettings, replay, type Workload } from '../replay/replay.ts';
import { quantile } from '../replay/tally.ts';
import { parseTrace } from '../replay/trace-format.ts';
import { EXIT, type Host } from './host.ts';
import { readCurve } from './replay-curve.ts';
import { DEFAULTS, withSettings } from './replay-settings.ts';
import { alignColumns } from './text.ts';

/** A turn of a server's event loop in which some clients are answered and send their next requests. */
const TURN_MS = 0.25;

/** What `shoal replay` is to do. */
export interface ReplayJob {
  /** A recorded trace; undefined: requests are made up by `pattern`. */
  readonly trace: string | undefined;
  /** Which model of the trace: `name` or `name:version`; undefined: the one with most requests. */
  readonly model: string | undefined;
  /** `poisson`, `bursts`, `on-off`, `clients`. */
  readonly pattern: string;
  /** Requests per second. */
  readonly rate: number;
  readonly requests: number;
  readonly burstSize: number;
  readonly burstSpreadMs: number;
  readonly onMs: number;
  readonly offMs: number;
  readonly clients: number;
  readonly thinkMs: number;
  readonly seed: number;
  /** See {@link readCurve}; undefined: as recorded. */
  readonly curve: string | undefined;
  /** Settings of all that are compared; undefined: defaults. */
  readonly base: string | undefined;
  /** Further settings to compare with those. */
  readonly settings: readonly string[];
  readonly json: boolean;
}

/** Settings, and what they would do. */
interface Row {
  readonly name: string;
  readonly settings: ReplaySettings;
  readonly result: ReplayResult;
}

/**
 * Replays a workload with each of the settings and prints what becomes of it.
 *
 * @throws {ConfigError} for a trace, a curve or settings that cannot be read.
 */
export function replayJob(job: ReplayJob, host: Host): number {
  const { workload, settings, live } = job.trace === undefined ? madeUp(job, host) : fromTrace(job, job.trace, host);
  const base = job.base === undefined ? settings : withSettings(settings, job.base, '--base');
  const named: [string, ReplaySettings][] = [[job.base ?? (live === undefined ? 'defaults' : 'as recorded'), base]];
  for (const text of job.settings) named.push([text, withSettings(base, text, '--setting')]);
  const rows = named.map(([name, one]) => ({ name, settings: one, result: replay(workload, one) }));
  host.out(job.json ? `${JSON.stringify({ recorded: live, replays: rows }, null, 2)}\n` : formatRows(rows, live));
  return EXIT.ok;
}

interface Prepared {
  readonly workload: Workload;
  readonly settings: ReplaySettings;
  /** What callers of the recorded server saw. */
  readonly live: Live | undefined;
}

type Live = Pick<ReplayResult, 'requests' | 'answered' | 'meanMs' | 'p50Ms' | 'p99Ms'>;

function fromTrace(job: ReplayJob, file: string, host: Host): Prepared {
  let text: string;
  try {
    text = readFileSync(resolve(host.cwd, file), 'utf8');
  } catch (thrown) {
    throw new ConfigError('argument [trace]', file, 'a file', `cannot read the trace ${file}: ${messageOf(thrown)}`);
  }
  try {
    const { model, workload, executorsFromMs, latenciesMs } = recorded(parseTrace(text), job.model);
    const { curve, seed } = job;
    const given =
      curve === undefined ? workload : { ...workload, curve: readCurve(curve, host.cwd), runTimes: undefined };
    const { runTimes, ...rest } = given;
    return {
      workload: { ...rest, seed, ...(runTimes === undefined ? {} : { runTimes }) },
      settings: {
        ...DEFAULTS,
        maxBatchRows: model.maxBatchSize,
        windowMs: model.batchWindowMs,
        splits: model.scheduling === 'measured',
        executors: executorsFromMs.length,
        executorsFromMs,
      },
      live: {
        requests: workload.arrivals!.atMs.length,
        answered: latenciesMs.length,
        meanMs: latenciesMs.reduce((sum, ms) => sum + ms, 0) / latenciesMs.length,
        p50Ms: quantile(latenciesMs, 0.5),
        p99Ms: quantile(latenciesMs, 0.99),
      },
    };
  } catch (thrown) {
    if (thrown instanceof ConfigError) throw thrown;
    const expected = 'a file written with --trace-file';
    throw new ConfigError('argument [trace]', file, expected, `${file} cannot be replayed: ${messageOf(thrown)}`);
  }
}

function madeUp(job: ReplayJob, host: Host): Prepared {
  const { requests, seed, rate, clients, thinkMs } = job;
  if (job.curve === undefined) {
    throw new ConfigError('--curve', undefined, '', '--curve is needed where there is no recorded trace');
  }
  const curve = readCurve(job.curve, host.cwd);
  const prepared = { settings: DEFAULTS, live: undefined };
  if (job.pattern === 'clients') {
    return { workload: { curve, seed, turnMs: TURN_MS, clients: { count: clients, requests, thinkMs } }, ...prepared };
  }
  return {
    workload: { curve, seed, arrivals: makeArrivals(patternOf(job), rate / 1000, requests, seed) },
    ...prepared,
  };
}

function patternOf({ pattern, burstSize: size, burstSpreadMs: spreadMs, onMs, offMs }: ReplayJob): Pattern {
  if (pattern === 'bursts') return { kind: 'bursts', size, spreadMs };
  return pattern === 'on-off' ? { kind: 'on-off', onMs, offMs } : { kind: 'poisson' };
}

function formatRows(rows: readonly Row[], live: Live | undefined): string {
  const table = [['', 'mean ms', 'p50', 'p99', 'answered', 'runs', 'rows a run', 'why runs began']];
  if (live !== undefined) table.push(['recorded', ...timesOf(live), `${live.answered}`, '', '', '']);
  for (const { name, result } of rows) {
    const { answered, batches, meanRows, reasons } = result;
    const shares = Object.entries(reasons)
      .sort(([, a], [, b]) => b - a)
      .map(([reason, count]) => `${reason} ${percent(count / batches)}`);
    table.push([name, ...timesOf(result), `${answered}`, `${batches}`, meanRows.toFixed(1), shares.join(', ')]);
  }
  const sizes = rows.map(({ name, result }) => `  ${name}: ${formatSizes(result)}`);
  const errors = rows.flatMap(({ name, result }) =>
    Object.entries(result.errors).map(([code, count]) => `${name}: ${count} requests ended with ${code}\n`),
  );
  return `${alignColumns(table)}Rows of runs:\n${sizes.join('\n')}\n${errors.join('')}`;
}

function timesOf({ meanMs, p50Ms, p99Ms }: Pick<Live, 'meanMs' | 'p50Ms' | 'p99Ms'>): string[] {
  return [meanMs, p50Ms, p99Ms].map((ms) => (ms < 10 ? ms.toFixed(2) : ms.toFixed(1)));
}

/** Sizes by doublings: `1 40 %, 2–3 22 %`. */
function formatSizes({ sizes, batches }: ReplayResult): string {
  const counts: number[] = [];
  for (const [rows, count] of Object.entries(sizes)) {
    const index = 31 - Math.clz32(Number(rows));
    counts[index] = (counts[index] ?? 0) + count;
  }
  return counts
    .map((count, i) => `${i === 0 ? '1' : `${2 ** i}–${2 ** (i + 1) - 1}`} ${percent(count / batches)}`)
    .filter(Boolean)
    .join(', ');
}

function percent(share: number): string {
  return share > 0 && share < 0.005 ? '<1 %' : `${Math.round(100 * share)} %`;
}
