import { alignColumns } from '../text.ts';
import type { LoadResult } from './load.ts';
import { PARTS, type TimesTally } from './request-times.ts';

/** Shares of all requests whose latencies are told. */
const QUANTILES = [0.5, 0.9, 0.99, 0.999] as const;

/** A load as numbers, for programs. */
export interface LoadReport {
  readonly requests: number;
  readonly failed: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly unsent: number;
  readonly seconds: number;
  readonly requestsPerSecond: number;
  readonly latencyMs: Readonly<Record<string, number>>;
  /** Means over the requests, in milliseconds; undefined where the server tells nothing. */
  readonly server: TimesReport | undefined;
}

/** Where the time went, means over the requests. */
export interface TimesReport {
  readonly partsMs: Readonly<Record<string, number>>;
  readonly totalMs: number;
  readonly rowsPerRun: number;
  /** T_compute: the share of runs' compute that a request has by its rows. */
  readonly computeMs: number;
  /** T_switch: decoding, encoding, and by rows handing over and back. */
  readonly switchMs: number;
  readonly switchRatio: number;
}

/** What came of a load. */
export function reportOf({ elapsedMs, latency, times, failures, unsent }: LoadResult): LoadReport {
  const latencies = Object.fromEntries(QUANTILES.map((q) => [`p${String(q * 100)}`, latency.quantileMs(q)]));
  return {
    requests: latency.count,
    failed: [...failures.values()].reduce((sum, count) => sum + count, 0),
    failures: Object.fromEntries(failures),
    unsent,
    seconds: elapsedMs / 1000,
    requestsPerSecond: (1000 * latency.count) / elapsedMs,
    latencyMs: { mean: latency.meanMs, ...latencies, max: latency.maxMs },
    server: times.count === 0 ? undefined : timesReport(times),
  };
}

/** The means of a tally. */
export function timesReport(times: TimesTally): TimesReport {
  const partsMs = Object.fromEntries(PARTS.map((part) => [part, times.mean(part)]));
  return {
    partsMs,
    totalMs: Object.values(partsMs).reduce((sum, ms) => sum + ms, 0),
    rowsPerRun: times.rowsPerRun,
    computeMs: times.mean('share'),
    switchMs: times.mean('switch'),
    switchRatio: times.switchRatio,
  };
}

/** A report for people. */
export function formatReport(report: LoadReport): string {
  const { requests, failed, failures, unsent, seconds, requestsPerSecond, latencyMs, server } = report;
  const rows = [
    ['requests', `${requests.toLocaleString('en')} in ${seconds.toFixed(1)} s, ${formatRate(requestsPerSecond)}`],
    ['failed', failed === 0 ? '0' : `${failed.toLocaleString('en')}: ${formatFailures(failures)}`],
  ];
  if (unsent > 0) rows.push(['not sent', `${unsent.toLocaleString('en')}: more under way than --clients allows`]);
  if (requests > 0) {
    rows.push(['latency', Object.entries(latencyMs).map(formatPart).join('  ')]);
  }
  if (server !== undefined) {
    rows.push(['server', `${Object.entries(server.partsMs).map(formatPart).join('  ')}  (means)`]);
    rows.push(['run', `${server.rowsPerRun.toFixed(1)} rows`]);
    rows.push([
      'work',
      `T_compute ${formatMs(server.computeMs)}  T_switch ${formatMs(server.switchMs)} a request: ${formatShare(server.switchRatio)} is switching`,
    ]);
  }
  return alignColumns(rows);
}

/** Milliseconds with as many digits as say something: `0.123 ms`, `12.3 ms`, `1.2 s`. */
export function formatMs(ms: number): string {
  if (Number.isNaN(ms)) return '–';
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms.toFixed(ms >= 100 ? 0 : ms >= 10 ? 1 : ms >= 1 ? 2 : 3)} ms`;
}

/** A rate: `1,234/s`. */
export function formatRate(perSecond: number): string {
  if (Number.isNaN(perSecond)) return '–';
  return `${perSecond >= 100 ? Math.round(perSecond).toLocaleString('en') : perSecond.toFixed(1)}/s`;
}

/** A share: `12 %`. */
export function formatShare(share: number): string {
  return Number.isNaN(share) ? '–' : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}

function formatPart([name, ms]: readonly [string, number]): string {
  return `${name} ${formatMs(ms)}`;
}

function formatFailures(failures: Readonly<Record<string, number>>): string {
  const sorted = Object.entries(failures).sort(([, a], [, b]) => b - a);
  const shown = sorted.slice(0, 3).map(([why, count]) => `${why} (${count.toLocaleString('en')})`);
  return `${shown.join(', ')}${sorted.length > 3 ? ` and ${sorted.length - 3} more kinds` : ''}`;
}
