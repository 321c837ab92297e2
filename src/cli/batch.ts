import type { EventEmitter } from 'node:events';
import { resolve } from 'node:path';
import { ShoalClientError } from '../client/errors.ts';
import { Transport } from '../client/transport.ts';
import type { Config } from '../config.ts';
import { ShoalError } from '../errors.ts';
import { prefetch } from '../loading/prefetch.ts';
import { type LoadedRow, loadRows, type RowFormat } from '../loading/rows.ts';
import { type BatchInput, instanceOf } from './batch-instance.ts';
import { BatchOutput, OutputError } from './batch-output.ts';
import { EXIT, type Host } from './host.ts';
import type { Servable } from './serve.ts';

/** What `shoal batch` is to do. */
export interface BatchJob {
  readonly model: string;
  /** Version; undefined: the highest. */
  readonly version: string | undefined;
  /** File or folder with the rows. */
  readonly input: string;
  readonly output: string;
  /** Address of a running server; undefined: one is started for the job. */
  readonly url: string | undefined;
  readonly format: RowFormat | undefined;
  /** Rows that are under way at the same time. */
  readonly concurrency: number;
  readonly overwrite: boolean;
}

/** What the job needs besides; tests bring their own. */
export interface BatchParts {
  /** Starts the server that the configuration describes: of the job's model alone. */
  readonly createServer: (config: Config) => Promise<Servable>;
  /** Emits SIGINT and SIGTERM: `process`. */
  readonly process: EventEmitter;
  /** Whether progress is shown to a person. */
  readonly showsProgress: boolean;
}

/** Statuses that are about one row; the others may fare better. */
const ROW_STATUSES: ReadonlySet<number | undefined> = new Set([400, 413, 422, 500, 504]);

/** A server may be busy, or start again, for a while. */
const RETRY = { attempts: 8, baseMs: 100, maxMs: 5000 } as const;
const TIMEOUT_MS = 600_000;
const PROGRESS_MS = 500;

/**
 * Runs a data set through a model: one line of results per row, in their order. A run that was interrupted goes on
 * where its output ends. Rows that the model refuses are noted and do not stop the others; exit code 1 then.
 */
export async function batch(job: BatchJob, config: Config, host: Host, parts: BatchParts): Promise<number> {
  const stop = new AbortController();
  let signalled: NodeJS.Signals | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    signalled = signal;
    stop.abort(new Error('stopped'));
  };
  parts.process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  let server: Servable | undefined;
  let output: BatchOutput | undefined;
  try {
    output = await BatchOutput.open(resolve(host.cwd, job.output), job.overwrite);
    let base = job.url;
    if (base === undefined) {
      server = await parts.createServer(config);
      base = await server.listen();
      await server.loaded();
    }
    return await runRows({ ...job, input: resolve(host.cwd, job.input) }, base, output, stop.signal, host, parts);
  } catch (error) {
    if (signalled !== undefined) {
      host.err('\nshoal: stopped; the same command goes on from here\n');
      return EXIT.signal + (signalled === 'SIGINT' ? 2 : 15);
    }
    if (!(error instanceof ShoalError || error instanceof ShoalClientError || error instanceof OutputError))
      throw error;
    host.err(`shoal: ${error.message}\n`);
    return EXIT.failed;
  } finally {
    await output?.close();
    await server?.close();
    parts.process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

async function runRows(
  job: BatchJob,
  base: string,
  output: BatchOutput,
  signal: AbortSignal,
  host: Host,
  { showsProgress }: BatchParts,
): Promise<number> {
  const { model, version, concurrency } = job;
  const transport = new Transport(base, { connections: concurrency, timeoutMs: TIMEOUT_MS, retry: RETRY });
  const name = `${encodeURIComponent(model)}${version === undefined ? '' : `/versions/${encodeURIComponent(version)}`}`;
  try {
    const inputs = await inputsOf(base, `/v2/models/${name}`, signal);
    const path = `/v1/models/${name}:predict`;
    const start = performance.now();
    let [rows, failed, shownMs] = [0, 0, 0];
    if (output.done > 0) host.err(`shoal: ${job.output} has ${output.done} rows, going on after them\n`);
    const options = { from: output.done, prefetch: 2 * concurrency, signal };
    const source = loadRows(job.input, job.format === undefined ? options : { ...options, format: job.format });
    const answer = async (row: LoadedRow, ended: AbortSignal): Promise<{ line: string; ok: boolean }> => {
      try {
        const result = await predict(transport, path, instanceOf(row, inputs), ended);
        return { line: `{"row":${row.index},"output":${result}}`, ok: true };
      } catch (error) {
        const text = aboutRow(error);
        if (text === undefined) throw error;
        return { line: `{"row":${row.index},"error":${JSON.stringify(text)}}`, ok: false };
      }
    };
    for await (const { line, ok } of prefetch(source, answer, { concurrency, signal })) {
      await output.append(line);
      rows++;
      if (!ok) failed++;
      const nowMs = performance.now();
      if (showsProgress && nowMs - shownMs > PROGRESS_MS) {
        shownMs = nowMs;
        host.err(`\r${summary(rows, failed, nowMs - start)} `);
      }
    }
    host.err(`${showsProgress ? '\r' : ''}${summary(rows, failed, performance.now() - start)}\n`);
    return failed === 0 ? EXIT.ok : EXIT.failed;
  } finally {
    await transport.close();
  }
}

function summary(rows: number, failed: number, ms: number): string {
  const rate = Math.round(rows / Math.max(ms / 1000, 1e-3));
  return `${rows.toLocaleString('en')} rows, ${rate.toLocaleString('en')}/s, ${failed} failed`;
}

/** Asked for once: an address that is wrong should be told at once. */
async function inputsOf(base: string, path: string, signal: AbortSignal): Promise<readonly BatchInput[]> {
  const transport = new Transport(base, { retry: { attempts: 1 } });
  try {
    const { body } = await transport.send({ method: 'GET', path, repeatable: 'always', options: { signal } });
    return (JSON.parse(body.toString()) as { readonly inputs: readonly BatchInput[] }).inputs;
  } finally {
    await transport.close();
  }
}

/** The model's answer for one instance, as JSON text. */
async function predict(transport: Transport, path: string, instance: string, signal: AbortSignal): Promise<string> {
  const pieces = [Buffer.from(`{"instances":[${instance}]}`)];
  const { body } = await transport.send({ method: 'POST', path, pieces, repeatable: 'always', options: { signal } });
  const text = body.toString();
  // The text itself, so that numbers keep all of their digits.
  const exact = /^\{"predictions":\[(.*)\]\}$/s.exec(text)?.[1];
  return exact ?? JSON.stringify((JSON.parse(text) as { readonly predictions: readonly unknown[] }).predictions[0]);
}

/** What is wrong with a row, in words; undefined when it is not the row that is wrong. */
function aboutRow(error: unknown): string | undefined {
  if (error instanceof ShoalError && error.code === 'INVALID_REQUEST') return error.message;
  if (!(error instanceof ShoalClientError)) return undefined;
  // A row that ends executors is refused with a status that stands for other things, too.
  if (!ROW_STATUSES.has(error.status) && error.code !== 'EXECUTOR_LOST') return undefined;
  return error.serverText ?? error.message;
}
