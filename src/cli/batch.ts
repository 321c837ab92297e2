import type { EventEmitter } from 'node:events';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Dispatcher, Pool } from 'undici';
import type { Config } from '../config.ts';
import { invalid, messageOf, ShoalError } from '../errors.ts';
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

/** Answers after which a row is sent again: the server is busy or not there at the moment. */
const BUSY: ReadonlySet<number> = new Set([429, 502, 503]);
const MOST_ATTEMPTS = 8;
const BACKOFF = { firstMs: 100, mostMs: 5000 } as const;
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
    if (!(error instanceof ShoalError || error instanceof OutputError)) throw error;
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
  const pool = new Pool(new URL(base).origin, { connections: concurrency });
  const name = `${encodeURIComponent(model)}${version === undefined ? '' : `/versions/${encodeURIComponent(version)}`}`;
  const prefix = new URL(base).pathname.replace(/\/$/, '');
  try {
    const inputs = await inputsOf(pool, `${prefix}/v2/models/${name}`, signal);
    const target = `${prefix}/v1/models/${name}:predict`;
    const start = performance.now();
    let [rows, failed, shownMs] = [0, 0, 0];
    if (output.done > 0) host.err(`shoal: ${job.output} has ${output.done} rows, going on after them\n`);
    const options = { from: output.done, prefetch: 2 * concurrency, signal };
    const source = loadRows(job.input, job.format === undefined ? options : { ...options, format: job.format });
    const answer = async (row: LoadedRow, ended: AbortSignal): Promise<{ line: string; ok: boolean }> => {
      try {
        const result = await predict(pool, target, instanceOf(row, inputs), ended);
        return { line: `{"row":${row.index},"output":${result}}`, ok: true };
      } catch (error) {
        if (!(error instanceof ShoalError) || error.code !== 'INVALID_REQUEST') throw error;
        return { line: `{"row":${row.index},"error":${JSON.stringify(error.message)}}`, ok: false };
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
    await pool.destroy();
  }
}

function summary(rows: number, failed: number, ms: number): string {
  const rate = Math.round(rows / Math.max(ms / 1000, 1e-3));
  return `${rows.toLocaleString('en')} rows, ${rate.toLocaleString('en')}/s, ${failed} failed`;
}

async function inputsOf(pool: Pool, path: string, signal: AbortSignal): Promise<readonly BatchInput[]> {
  // Once: an address that is wrong should be told at once.
  const { statusCode, text } = await send(pool, { path, method: 'GET', signal }, 1);
  if (statusCode !== 200) throw refusal(statusCode, text);
  return (JSON.parse(text) as { readonly inputs: readonly BatchInput[] }).inputs;
}

/** The model's answer for one instance, as JSON text. */
async function predict(pool: Pool, path: string, instance: string, signal: AbortSignal): Promise<string> {
  const { statusCode, text } = await send(pool, { path, method: 'POST', body: `{"instances":[${instance}]}`, signal });
  if (statusCode !== 200) throw refusal(statusCode, text);
  // The text itself, so that numbers keep all of their digits.
  const exact = /^\{"predictions":\[(.*)\]\}$/s.exec(text)?.[1];
  return exact ?? JSON.stringify((JSON.parse(text) as { readonly predictions: readonly unknown[] }).predictions[0]);
}

function refusal(statusCode: number, text: string): ShoalError {
  let message = text.slice(0, 500);
  try {
    message = String((JSON.parse(text) as { readonly error: unknown }).error);
  } catch {
    // Something that is no server of models has answered.
  }
  // About this row; the others may fare better.
  if (statusCode === 500 || (statusCode >= 400 && statusCode < 500 && statusCode !== 404)) return invalid(message);
  return new ShoalError('INFERENCE_FAILED', `the server answers with status ${statusCode}: ${message}`);
}

/** Sends a request, again while the server is busy or cannot be reached. */
async function send(
  pool: Pool,
  options: Pick<Dispatcher.RequestOptions, 'path' | 'method' | 'body'> & { readonly signal: AbortSignal },
  mostAttempts = MOST_ATTEMPTS,
): Promise<{ readonly statusCode: number; readonly text: string }> {
  for (let attempt = 1; ; attempt++) {
    let waitMs = Math.min(BACKOFF.mostMs, BACKOFF.firstMs * 2 ** (attempt - 1)) * (0.5 + Math.random());
    try {
      const { statusCode, headers, body } = await pool.request(options);
      const text = await body.text();
      if (!BUSY.has(statusCode) || attempt === mostAttempts) return { statusCode, text };
      const retryAfter = Number(headers['retry-after']);
      if (retryAfter > 0) waitMs = Math.max(waitMs, retryAfter * 1000);
    } catch (error) {
      if (options.signal.aborted) throw options.signal.reason;
      if (attempt === mostAttempts) {
        throw new ShoalError('INFERENCE_FAILED', `the server cannot be reached: ${messageOf(error)}`, { cause: error });
      }
    }
    await sleep(waitMs, undefined, { signal: options.signal });
  }
}
