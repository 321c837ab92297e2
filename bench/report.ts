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
  const parts = [`# Benchmark\n\n${renderCircumstances(run)}`, `## Floors\n\n${renderFloors(run.floors)}`];
  if (run.models.length > 0) {
    parts.push(
      `## Requests\n\n${renderCases(run.models)}`,
      `## In-process ONNX Runtime\n\n${renderSweeps(run.models)}`,
    );
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
    `Servers and load generator (${load}) share the cores. Each server is measured for ${seconds} s (the memory-bound model ` +
      `for twice as long) in each of ${pairs} rounds, one right after the other in changing order; ratios are the medians of ` +
      'the rounds’ ratios with their 95 % bootstrap interval, everything else is the median of the rounds.',
  ];
  if (results.length > 0) {
    lines.push(
      `Other processes kept ${percent(foreign)} of the machine busy in the median round; ${repeated} disturbed rounds were ` +
        'measured again.',
    );
  }
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

/** What was measured case by case. */
export function renderCases(models: readonly ModelResult[]): string {
  const head = [
    'model, body, clients',
    'Shoal requests/s',
    'p50 / p99 ms',
    'rows per run',
    'naive requests/s',
    'echo requests/s',
    'Shoal ÷ naive',
    'Shoal ÷ echo',
    'CPU µs per request: front + executors; naive; echo',
    'load generator: cores at Shoal, µs per request',
    'loop delay p99 ms',
  ];
  const rows = models.flatMap(({ cases }) => cases.map((result) => caseRow(result)));
  return table(head, rows);
}

function caseRow(result: CaseResult): string[] {
  const { rounds } = result;
  const { model, encoding, clients } = result.case;
  const of = (value: (round: Round) => number): number => median(rounds.map(value));
  const ratio = (name: 'naive' | 'echo'): string =>
    formatEstimate(
      estimateMedian(
        pairwiseRatio(
          rounds.map(({ shoal }) => shoal.requestsPerSecond),
          rounds.map((round) => round[name].requestsPerSecond),
        ),
      ),
      '',
    );
  const batches = together(rounds.map(({ shoal }) => shoal.batchRows));
  const executorsCpuUs = of(({ shoal }) => shoal.serverCpuUs - shoal.frontCpuUs);
  const cpu = [
    `${micro(of(({ shoal }) => shoal.frontCpuUs))} + ${micro(executorsCpuUs)}`,
    micro(of(({ naive }) => naive.serverCpuUs)),
    micro(of(({ echo }) => echo.serverCpuUs)),
  ];
  return [
    `${model.name}, ${encoding === 'json' ? 'JSON' : encoding}, ${clients}`,
    count(of(({ shoal }) => shoal.requestsPerSecond)),
    `${millis(of(({ shoal }) => shoal.p50Ms))} / ${millis(of(({ shoal }) => shoal.p99Ms))}`,
    (batches.sum / countOf(batches)).toFixed(1),
    count(of(({ naive }) => naive.requestsPerSecond)),
    count(of(({ echo }) => echo.requestsPerSecond)),
    ratio('naive'),
    ratio('echo'),
    cpu.join('; '),
    `${of(({ shoal }) => shoal.loadCores).toFixed(2)}, ${micro(of(({ shoal }) => shoal.loadCpuUs))}`,
    `≤ ${millis(loopDelayBoundMs(result))}`,
  ];
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
      return [model.title, best((n) => n === 1), best((n) => n > 1), count(Math.max(...single)), count(median(beside))];
    });
  return table(
    [
      'model',
      'rows/s, 1 thread (rows per run)',
      'rows/s, all threads (rows per run)',
      'rows/s, one row per run',
      'best setting, beside the servers',
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
