/**
 * A trace: what came to a server, how it ended, and what was run, as lines of JSON. Never what a request holds. The first
 * line is a {@link TraceHead}, each further one a model or an array that begins with a letter.
 */
export interface TraceHead {
  readonly shoalTrace: typeof TRACE_FORMAT;
  /** ISO 8601; instants in the trace are milliseconds since then. */
  readonly startedAt: string;
  readonly cores: number;
}

/** Another number is another form. */
export const TRACE_FORMAT = 1;

/** A model version that lines name by its number; before the first of them. */
export interface TraceModel {
  readonly model: string;
  readonly version: string;
  readonly id: number;
  /** The most rows of a run; 1 where requests do not share runs. */
  readonly maxBatchSize: number;
  readonly batchWindowMs: number;
  /** As the option: `measured` or `take-all`. */
  readonly scheduling: string;
  /** Cores that a run takes. */
  readonly threads: number;
}

/** A request, written when it has ended; how it ended is `ok` or an error's code. */
export interface TraceRequest {
  /** When it was queued. */
  readonly atMs: number;
  readonly id: number;
  /** Requests with the same number could have shared a run. */
  readonly lane: number;
  readonly rows: number;
  readonly outcome: string;
  /** From being queued to being answered. */
  readonly ms: number;
  /** From being queued to the start of its run; 0 when it was not run. */
  readonly queueMs: number;
}

/** A run, written when it has ended. */
export interface TraceRun {
  readonly startMs: number;
  readonly id: number;
  readonly rows: number;
  readonly requests: number;
  /** How long an executor was busy with it. */
  readonly ms: number;
  readonly reason: string;
}

/** The line of a request. */
export function requestLine({ atMs, id, lane, rows, outcome, ms, queueMs }: TraceRequest): string {
  return `["q",${round(atMs)},${id},${lane},${rows},"${outcome}",${round(ms)},${round(queueMs)}]\n`;
}

/** The line of a run. */
export function runLine({ startMs, id, rows, requests, ms, reason }: TraceRun): string {
  return `["r",${round(startMs)},${id},${rows},${requests},${round(ms)},"${reason}"]\n`;
}

/** To microseconds. */
function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** A trace that has been read. */
export interface Trace {
  readonly head: TraceHead;
  readonly models: readonly TraceModel[];
  readonly requests: readonly TraceRequest[];
  readonly runs: readonly TraceRun[];
}

/**
 * Reads a trace. A last line that was cut off is left out.
 *
 * @throws {Error} that names the line which is not of a trace.
 */
export function parseTrace(text: string): Trace {
  const lines = text.split('\n');
  if (lines.at(-1) !== '') lines.pop();
  const head = parseHead(lines[0]);
  const models: TraceModel[] = [];
  const requests: TraceRequest[] = [];
  const runs: TraceRun[] = [];
  for (let i = 1; i < lines.length; i++) {
    if (lines[i] === '') continue;
    const line = parseJson(lines[i]!);
    if (isModel(line)) models.push(line);
    else if (Array.isArray(line) && line[0] === 'q' && hasKinds(line, 'snnnnsnn')) {
      const [, atMs, id, lane, rows, outcome, ms, queueMs] = line as [string, ...Parts];
      requests.push({ atMs, id, lane, rows, outcome, ms, queueMs });
    } else if (Array.isArray(line) && line[0] === 'r' && hasKinds(line, 'snnnnns')) {
      const [, startMs, id, rows, count, ms, reason] = line as [string, number, number, number, number, number, string];
      runs.push({ startMs, id, rows, requests: count, ms, reason });
    } else throw new Error(`line ${i + 1} is not of a trace: ${lines[i]!.slice(0, 80)}`);
  }
  return { head, models, requests, runs };
}

type Parts = [number, number, number, number, string, number, number];

function parseHead(line: string | undefined): TraceHead {
  const head = parseJson(line ?? '');
  if (typeof head !== 'object' || head === null || !('shoalTrace' in head)) {
    throw new Error(`it does not begin with {"shoalTrace":${TRACE_FORMAT},…}`);
  }
  if (head.shoalTrace !== TRACE_FORMAT) {
    throw new Error(`it is a trace of form ${String(head.shoalTrace)}, expected ${TRACE_FORMAT}`);
  }
  return head as TraceHead;
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function isModel(line: unknown): line is TraceModel {
  return typeof line === 'object' && line !== null && 'model' in line && 'id' in line;
}

/** Whether the items are texts (s) and numbers (n) as said. */
function hasKinds(line: readonly unknown[], kinds: string): boolean {
  if (line.length !== kinds.length) return false;
  for (let i = 0; i < kinds.length; i++) {
    if (typeof line[i] !== (kinds[i] === 's' ? 'string' : 'number')) return false;
  }
  return true;
}
