import { formatBytes } from '../text.ts';
import type { Account, CoroutinesAccount, ThreadsAccount } from './account.ts';
import { formatMs, formatRate, formatShare } from './report.ts';
import { PARTS } from './request-times.ts';

type Column = CoroutinesAccount | ThreadsAccount;
type Cell = (column: Column) => string;

const NOTHING = '–';

/** A figure of coroutines, which threads do not have. */
function ofCoroutines(cell: (column: CoroutinesAccount) => string): Cell {
  return (column) => (column.kind === 'coroutines' ? cell(column) : NOTHING);
}

function ofThreads(cell: (column: ThreadsAccount) => string): Cell {
  return (column) => (column.kind === 'threads' ? cell(column) : NOTHING);
}

/** The lines of the table: what they are called, and what stands in each column. */
const LINES: readonly (readonly [string, Cell])[] = [
  ['requests', ({ requestsPerSecond }) => formatRate(requestsPerSecond)],
  ['failed', ofCoroutines(({ failed }) => failed.toLocaleString('en'))],
  ['rows per run', (column) => (column.kind === 'threads' ? '1.0' : (column.server?.rowsPerRun.toFixed(1) ?? NOTHING))],
  ['latency, mean', ({ latencyMs }) => formatMs(latencyMs['mean']!)],
  ['latency, p50', ({ latencyMs }) => formatMs(latencyMs['p50']!)],
  ['latency, p99', ({ latencyMs }) => formatMs(latencyMs['p99']!)],
  ...PARTS.map((part): readonly [string, Cell] => [
    `  ${part}`,
    ofCoroutines(({ server }) => formatMs(server?.partsMs[part] ?? Number.NaN)),
  ]),
  ['T_compute of a request', ofCoroutines(({ server }) => formatMs(server?.computeMs ?? Number.NaN))],
  ['T_switch of a request', ofCoroutines(({ server }) => formatMs(server?.switchMs ?? Number.NaN))],
  ['T_switch / T_total', ofCoroutines(({ server }) => formatShare(server?.switchRatio ?? Number.NaN))],
  ['CPU of a request', ({ front, executors }) => formatMs(front.cpuMs + (executors?.cpuMs ?? 0))],
  ['  of that the front', ofCoroutines(({ front }) => formatMs(front.cpuMs))],
  ['event-loop turns', ofCoroutines(({ loopTurns }) => perRequest(loopTurns!))],
  ['switches, voluntary', ({ front, executors }) => perRequest(front.voluntary + (executors?.voluntary ?? 0))],
  ['  of that the front', ofCoroutines(({ front }) => perRequest(front.voluntary))],
  ['switches, involuntary', ({ front, executors }) => perRequest(front.involuntary + (executors?.involuntary ?? 0))],
  ['  of that the front', ofCoroutines(({ front }) => perRequest(front.involuntary))],
  ['memory in RAM', ({ residentBytes }) => formatBytes(residentBytes)],
  [
    'memory of each thread',
    ofThreads(({ bytesPerThread }) => (bytesPerThread > 0 ? formatBytes(bytesPerThread) : NOTHING)),
  ],
  ['start of each thread', ofThreads(({ startMs }) => formatMs(startMs))],
];

/** The table's cells: names of the lines first, then a column for each number of callers. */
export function accountTable({ coroutines, threads }: Account): string[][] {
  const columns: Column[] = [...coroutines, ...threads];
  return [['', ...columns.map(headOf)], ...LINES.map(([name, cell]) => [name, ...columns.map(cell)])];
}

/** What the table does not say by itself. */
export function accountNotes(account: Account): string[] {
  const { model, seconds, cores, node, threads } = account;
  const notes = [
    `Model '${model}', ${seconds} s for each column, ${cores} cores, Node.js ${node}. Each caller sends its next request when it has its answer. Stages are means over the requests and add up to the mean latency; turns, switches and CPU are per request, of all threads of the processes.`,
    'Threads: each caller has a thread with an ONNX Runtime session of its own, started before and used again for every request; a run is of one request. A thread started anew for each request would add its start to every one.',
  ];
  const most = threads.at(-1);
  if (most !== undefined && most.threads < most.callers) {
    notes.push(`Only ${most.threads} threads were started, for lack of memory.`);
  }
  if (most !== undefined && most.bytesPerThread > 0) {
    const bytes = formatBytes(10_000 * most.bytesPerThread);
    notes.push(
      `10,000 threads were not tried: at ${formatBytes(most.bytesPerThread)} and ${formatMs(most.startMs)} each, as measured with ${most.threads}, they would take ${bytes} and ${formatMs(10_000 * most.startMs)} to start.`,
    );
  }
  return notes;
}

/** The account for people. */
export function formatAccount(account: Account): string {
  const table = accountTable(account);
  const widths = table[0]!.map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  const lines = table.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n\n${accountNotes(account).join('\n')}\n`;
}

function headOf(column: Column): string {
  const count = column.kind === 'threads' ? column.threads : column.callers;
  return `${count.toLocaleString('en')} ${count === 1 ? column.kind.slice(0, -1) : column.kind}`;
}

function perRequest(value: number): string {
  return value >= 10 ? value.toFixed(0) : value >= 0.1 ? value.toFixed(2) : value.toFixed(4);
}
