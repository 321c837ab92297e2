import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { deflate, gzip } from 'node:zlib';
import { type Dispatcher, Pool } from 'undici';
import { messageOf } from '../errors.ts';
import { type Answer, errorOf, readAnswer } from './answer.ts';
import { badArgument, type ClientErrorCode, ShoalClientError } from './errors.ts';
import type { CallOptions, ClientOptions, Compression } from './options.ts';
import { isPassing, pauseMs, type Repeatable, type RetryOptions } from './retry.ts';

const COMPRESS = { gzip: promisify(gzip), deflate: promisify(deflate) } as const;

/** Shorter bodies do not gain from compression. */
const COMPRESS_FROM_BYTES = 1024;
/** Pieces up to this size together are joined: one write costs less than the copy. */
const JOIN_BELOW_BYTES = 64 * 1024;

const DEFAULTS = {
  timeoutMs: 60_000,
  connectTimeoutMs: 5000,
  connections: 128,
  maxReplyBytes: 2 ** 30,
} as const;
const DEFAULT_RETRY: RetryOptions = { attempts: 3, baseMs: 100, maxMs: 5000 };

/** One call. */
export interface Exchange {
  readonly method: 'GET' | 'POST';
  /** Below the base address, with a slash at its beginning. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly pieces?: readonly Uint8Array[];
  readonly repeatable: Repeatable;
  readonly compress?: Compression | undefined;
  readonly options: CallOptions;
  /** Statuses that are an answer, not an error; default 200. */
  readonly accepts?: (status: number) => boolean;
}

/** Sends calls, again where that makes sense, over connections that are kept. */
export class Transport {
  readonly #origin: string;
  readonly #basePath: string;
  readonly #dispatcher: Dispatcher;
  readonly #pool: Pool | undefined;
  readonly #options: ClientOptions;
  readonly #retry: RetryOptions;
  /** Ends the pauses between tries. */
  readonly #closing: AbortController = new AbortController();
  readonly #calls: Set<Promise<Answer>> = new Set();
  #closed: Promise<void> | undefined;

  /** @throws {ShoalClientError} BAD_ARGUMENT for an address that is none. */
  constructor(address: string | URL, options: ClientOptions) {
    const url = readAddress(address);
    this.#origin = url.origin;
    this.#basePath = url.pathname.replace(/\/+$/, '');
    this.#options = options;
    this.#retry = { ...DEFAULT_RETRY, ...options.retry };
    if (options.dispatcher === undefined) {
      this.#pool = new Pool(url.origin, {
        connections: options.connections ?? DEFAULTS.connections,
        connect: { timeout: options.connectTimeoutMs ?? DEFAULTS.connectTimeoutMs },
        // The call's own time is the limit.
        headersTimeout: 0,
        bodyTimeout: 0,
      });
    }
    this.#dispatcher = options.dispatcher ?? this.#pool!;
  }

  /**
   * The answer to a call.
   *
   * @throws {ShoalClientError}
   */
  async send(exchange: Exchange): Promise<Answer> {
    const { signal, timeoutMs = this.#options.timeoutMs ?? DEFAULTS.timeoutMs } = exchange.options;
    const what = `${exchange.method} ${this.#basePath}${exchange.path}`;
    if (this.#closed !== undefined) throw closed();
    if (!(timeoutMs >= 0)) throw badArgument(`timeoutMs is ${timeoutMs}, expected milliseconds from 0`);
    const cancel = new AbortController();
    const onAbort = (): void =>
      cancel.abort(new ShoalClientError('ABORTED', `${what} was aborted by its caller`, { cause: signal?.reason }));
    const deadlineMs = performance.now() + timeoutMs;
    const timer = setTimeout(
      () => cancel.abort(new ShoalClientError('TIMEOUT', `${what} took longer than ${timeoutMs} ms`)),
      // Longer ones would fire at once.
      Math.min(timeoutMs, 2 ** 31 - 1),
    );
    if (signal?.aborted) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
    const call = this.#tryUntil(exchange, what, deadlineMs, cancel.signal);
    this.#calls.add(call);
    try {
      return await call;
    } finally {
      this.#calls.delete(call);
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Takes no more calls, waits for those under way, and closes every connection of its own. Calls join the first. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#calls);
    await this.#pool?.close();
  }

  async #tryUntil(exchange: Exchange, what: string, deadlineMs: number, signal: AbortSignal): Promise<Answer> {
    const { attempts } = this.#retry;
    for (let attempt = 1; ; attempt++) {
      const { answer, failure } = await this.#try(exchange, what, signal);
      if (answer !== undefined) return { ...answer, attempts: attempt };
      // What cannot be sent has not been tried.
      failure.attempts = failure.code === 'BAD_ARGUMENT' || failure.code === 'CLOSED' ? attempt - 1 : attempt;
      if (attempt >= attempts || !isPassing(failure, exchange.repeatable)) throw failure;
      const ms = pauseMs(failure, attempt, this.#retry, Math.random());
      // What comes too late need not be waited for.
      if (performance.now() + ms >= deadlineMs) throw failure;
      await this.#pause(ms, signal, failure);
    }
  }

  async #try(
    exchange: Exchange,
    what: string,
    signal: AbortSignal,
  ): Promise<{ answer: Answer; failure?: undefined } | { answer?: undefined; failure: ShoalClientError }> {
    const { accepts = (status) => status === 200 } = exchange;
    try {
      signal.throwIfAborted();
      const answer = await this.#once(exchange, what, signal);
      return accepts(answer.status) ? { answer } : { failure: errorOf(answer) };
    } catch (thrown) {
      if (signal.aborted && signal.reason instanceof ShoalClientError) return { failure: signal.reason };
      return { failure: thrown instanceof ShoalClientError ? thrown : errorOfConnection(thrown, what, this.#origin) };
    }
  }

  async #once(exchange: Exchange, what: string, signal: AbortSignal): Promise<Answer> {
    const { method, path, compress, options } = exchange;
    const headers: Record<string, string> = { ...this.#options.headers, ...exchange.headers, ...options.headers };
    let pieces = exchange.pieces ?? [];
    let length = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
    if (compress !== undefined && length >= COMPRESS_FROM_BYTES) {
      pieces = [await COMPRESS[compress](Buffer.concat(pieces, length))];
      length = pieces[0]!.byteLength;
      headers['content-encoding'] = compress;
    }
    if (method === 'POST') headers['content-length'] = String(length);
    const response = await this.#dispatcher.request({
      origin: this.#origin,
      path: `${this.#basePath}${path}`,
      method,
      headers,
      body: pieces.length === 0 ? null : bodyOf(pieces, length),
      signal,
    });
    return readAnswer(what, response, this.#options.maxReplyBytes ?? DEFAULTS.maxReplyBytes);
  }

  /** Waits, but not beyond an abort, a timeout or the client's end, which leaves the call with the failure it had. */
  #pause(ms: number, signal: AbortSignal, failure: ShoalClientError): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#closing.signal.removeEventListener('abort', onClosing);
        settle();
      };
      const onAbort = end(() => {
        if (signal.reason instanceof ShoalClientError) signal.reason.attempts = failure.attempts;
        reject(signal.reason);
      });
      const onClosing = end(() => reject(failure));
      const timer = setTimeout(end(resolve), ms);
      signal.addEventListener('abort', onAbort);
      this.#closing.signal.addEventListener('abort', onClosing);
      if (this.#closing.signal.aborted) onClosing();
      else if (signal.aborted) onAbort();
    });
  }
}

function readAddress(address: string | URL): URL {
  let url: URL;
  try {
    url = new URL(address);
  } catch (thrown) {
    throw badArgument(`'${address}' is no address, expected one such as http://127.0.0.1:8000`, thrown);
  }
  if (url.protocol === 'http:' || url.protocol === 'https:') return url;
  throw badArgument(`'${address}' is no address of HTTP, expected one such as http://127.0.0.1:8000`);
}

function bodyOf(pieces: readonly Uint8Array[], length: number): Uint8Array | Readable {
  if (pieces.length === 1) return pieces[0]!;
  return length <= JOIN_BELOW_BYTES ? Buffer.concat(pieces, length) : Readable.from(pieces, { objectMode: false });
}

function closed(): ShoalClientError {
  return new ShoalClientError('CLOSED', 'the client has been closed');
}

/** Codes of errors that came before anything was sent. */
const CONNECT_CODES: readonly string[] = [
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
];
const CLOSED_CODES: readonly string[] = ['UND_ERR_CLOSED', 'UND_ERR_DESTROYED'];

function errorOfConnection(thrown: unknown, what: string, origin: string): ShoalClientError {
  const cause =
    thrown instanceof Error && thrown.cause instanceof Error && codeOf(thrown) === '' ? thrown.cause : thrown;
  const code = codeOf(cause);
  const fail = (as: ClientErrorCode, text: string): ShoalClientError =>
    new ShoalClientError(as, `${what}: ${text}: ${messageOf(cause) || code}`, { cause: thrown });
  if (CLOSED_CODES.includes(code)) return closed();
  if (code === 'UND_ERR_INVALID_ARG') return fail('BAD_ARGUMENT', 'the request cannot be sent');
  if (isNoHttp(cause) || code === 'UND_ERR_HEADERS_OVERFLOW') return fail('BAD_REPLY', 'the answer is no HTTP');
  const connecting = cause instanceof Error && 'syscall' in cause && cause.syscall === 'connect';
  if (connecting || CONNECT_CODES.includes(code) || isTls(code))
    return fail('CONNECT_FAILED', `no connection to ${origin}`);
  return fail('CONNECTION_LOST', 'the connection ended before the answer did');
}

function isNoHttp(thrown: unknown): boolean {
  return thrown instanceof Error && thrown.name === 'HTTPParserError';
}

function isTls(code: string): boolean {
  return /^(ERR_TLS_|ERR_SSL_|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_)/.test(code);
}

function codeOf(thrown: unknown): string {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : '';
}
