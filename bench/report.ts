import { grantedCores } from '../src/granted.ts';
import { type Floor, isReached, loopDelayBoundMs, type Measured, together } from './floors.ts';
import type { Machine } from './machine.ts';
import type { CaseResult, ModelResult, Round } from './measure.ts';
import { countOf } from './scrape.ts';
import { type Estimate, estimateMedian, median, pairwiseRatio } from './statistics.ts';

/** The results as Markdown, in the form the README shows them. */

/** A run and its circumstances. */
export interface Run extends Measured {
  readonly command: string;
  readonly date: string;
  readonly machine: Machine;
  readonly load: string;
  readonly pairs: number;
  readonly seconds: number;
  readonly floors: readonly Floor[];
}

/** Everything as Markdown. */
export function renderReport(run: Run): string {
  const { models, floors } = run;
  const parts = ['# Benchmark', renderCircumstances(run), '## Floors', renderFloors(floors)];
  if (models.length > 0) {
    parts.push('## Requests', renderCases(models), '## Costs', renderCosts(models));
    parts.push('## ONNX Runtime in-process', renderSweeps(models));
  }
  return `${parts.join('\n\n')}\n`;
}

function renderCircumstances({ command, date, machine, load, pairs, seconds, models }: Run): string {
  const { processor, cores, memoryGb, kernel, node, onnxruntime, fastify, commit } = machine;
  const results = models.flatMap(({ cases }) => cases);
  const foreign = median(results.flatMap(({ rounds }) => rounds.map(({ foreignShare }) => foreignShare)));
  const repeated = results.reduce((sum, result) => sum + result.repeated, 0);
  const lines = [
    `\`${command}\`, ${date}${commit === '' ? '' : `, commit ${commit}`}.`,
    `${processor}, ${cores} cores, ${memoryGb} GB, Linux ${kernel}; Node ${node}, ONNX Runtime ${onnxruntime}, Fastify ${fastify}.`,
    `All servers and the load generator (${load}) share the cores. In each of ${pairs} rounds every server is measured ` +
      `once, in changing order, for ${seconds} s (the memory-bound model for ${2 * seconds} s). Ratios and differences ` +
      'are the medians of those within the rounds, with their 95 % bootstrap interval; other figures are medians of the ' +
      'rounds. One row per request.',
  ];
  if (results.length > 0) {
    lines.push(
      `Processes outside of the benchmark kept ${percent(foreign)} of the machine busy in the median round; ${repeated} ` +
        'rounds were measured once more for that reason.',
    );
  }
  lines.push(
    '',
    '- **naive**: Fastify with its own JSON parser (raw bytes for binary bodies), one ONNX Runtime session with default ' +
      'options, `await session.run` in the handler, nothing checked.',
    '- **echo**: a Fastify route that takes the raw body and gives a fixed reply, as long as Shoal’s.',
  );
  return lines.join('\n');
}

/** The table of floors. */
export function renderFloors(floors: readonly Floor[]): string {
  const rows = floors.map((floor) => {
    const { name, unit, direction, measured, isMust } = floor;
    const sign = direction === 'at least' ? '≥' : '≤';
    const withUnit = (value: number): string => `${sign} ${value}${unit === '' ? '' : ` ${unit}`}`;
    const verdict = { true: 'reached', false: isMust ? '**missed**' : 'missed', undefined: '–' }[`${isReached(floor)}`];
    return [name, formatEstimate(measured, unit), withUnit(floor.floor), withUnit(floor.goal), verdict ?? '–'];
  });
  return table(['measure', 'measured', 'floor', 'goal', ''], rows);
}

/** How fast each server was, case by case. */
export function renderCases(models: readonly ModelResult[]): string {
  const head = [
    'model, body, clients',
    'Shoal, requests/s',
    'p50 / p99, ms',
    'rows per run',
    'naive, requests/s',
    'p50 / p99, ms',
    'echo, requests/s',
    'Shoal ÷ naive',
    'Shoal ÷ echo',
  ];
  const rows = models.flatMap(({ cases }) =>
    cases.map((result) => {
      const { rounds } = result;
      const of = (value: (round: Round) => number): number => median(rounds.map(value));
      const ratio = (name: 'naive' | 'echo'): string => {
        const shoal = rounds.map((round) => round.shoal.requestsPerSecond);
        const other = rounds.map((round) => round[name].requestsPerSecond);
        return formatEstimate(estimateMedian(pairwiseRatio(shoal, other)), '');
      };
      const latency = (name: 'shoal' | 'naive'): string =>
        `${millis(of((round) => round[name].p50Ms))} / ${millis(of((round) => round[name].p99Ms))}`;
      const batches = together(rounds.map(({ shoal }) => shoal.batchRows));
      return [
        describeCase(result),
        count(of(({ shoal }) => shoal.requestsPerSecond)),
        latency('shoal'),
        (batches.sum / countOf(batches)).toFixed(1),
        count(of(({ naive }) => naive.requestsPerSecond)),
        latency('naive'),
        count(of(({ echo }) => echo.requestsPerSecond)),
        ratio('naive'),
        ratio('echo'),
      ];
    }),
  );
  return table(head, rows);
}

/** CPU time per request on every side, and how long the event loop was held up. */
export function renderCosts(models: readonly ModelResult[]): string {
  const head = [
    'CPU µs per request',
    'Shoal’s front',
    'its executors',
    'naive',
    'echo',
    'load generator at Shoal',
    'its share of the machine',
    'Shoal’s event-loop delay p99',
  ];
  const rows = models.flatMap(({ cases }) =>
    cases.map((result) => {
      const of = (value: (round: Round) => number): number => median(result.rounds.map(value));
      return [
        describeCase(result),
        micro(of(({ shoal }) => shoal.frontCpuUs)),
        micro(of(({ shoal }) => shoal.serverCpuUs - shoal.frontCpuUs)),
        micro(of(({ naive }) => naive.serverCpuUs)),
        micro(of(({ echo }) => echo.serverCpuUs)),
        micro(of(({ shoal }) => shoal.loadCpuUs)),
        percent(of(({ shoal }) => shoal.loadCores) / grantedCores()),
        `≤ ${millis(loopDelayBoundMs(result))} ms`,
      ];
    }),
  );
  return table(head, rows);
}

function describeCase({ case: { model, encoding, clients } }: CaseResult): string {
  return `${model.name}, ${encoding === 'json' ? 'JSON' : encoding}, ${clients}`;
}

/** The best of each way to run ONNX Runtime in-process. */
export function renderSweeps(models: readonly ModelResult[]): string {
  const rows = models
    .filter(({ sweep }) => sweep.length > 0)
    .map(({ model, sweep, cases }) => {
      const best = (threads: (n: number) => boolean): string => {
        const rates = sweep.filter((one) => threads(one.threads)).toSorted((a, b) => b.rowsPerSecond - a.rowsPerSecond);
        return rates[0] === undefined ? '–' : `${count(rates[0].rowsPerSecond)} (${rates[0].rows})`;
      };
      const single = sweep.filter(({ rows: size }) => size === 1).map(({ rowsPerSecond }) => rowsPerSecond);
      const beside = cases.flatMap(({ rounds }) => rounds.flatMap(({ inProcess }) => inProcess?.rowsPerSecond ?? []));
      const besideServers = beside.length === 0 ? '–' : count(median(beside));
      return [model.title, best((n) => n === 1), best((n) => n > 1), count(Math.max(...single)), besideServers];
    });
  return table(
    [
      'model',
      'rows/s, 1 thread (rows per run)',
      'rows/s, all threads (rows per run)',
      'rows/s, one row per run',
      'best setting, between the servers’ turns',
    ],
    rows,
  );
}

function formatEstimate(estimate: Estimate | undefined, unit: string): string {
  if (estimate === undefined) return 'not measured';
  const { median: middle, low, high } = estimate;
  const figure = (value: number): string => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2));
  const interval = low === high ? '' : ` [${figure(low)}–${figure(high)}]`;
  return `${figure(middle)}${unit === '' ? '' : ` ${unit}`}${interval}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '--:'))), ...rows.map(line)].join('\n');
}

function count(value: number): string {
  const digits = value >= 1000 ? 3 : 4;
  return Math.round(Number(value.toPrecision(digits))).toLocaleString('en');
}

function millis(value: number): string {
  return value >= 10 ? value.toFixed(0) : value.toFixed(2);
}

function micro(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}
