import type { LookupFunction } from 'node:net';
import { Agent, type Dispatcher, request } from 'undici';
import { invalid, messageOf, ShoalError } from '../errors.ts';
import { unlessAborted } from '../unless-aborted.ts';
import { isPrivateAddress, publicLookup } from './address-guard.ts';

/** What may be fetched, and how much of it. */
export interface RemoteOptions {
  /** Hosts that may be fetched from: `data.example.org`, or `*.example.org` for all below it. */
  readonly hosts: readonly string[];
  /** Most bytes of a body. */
  readonly maxBytes: number;
  /** Longest time for one address, redirects included, in milliseconds. */
  readonly timeoutMs: number;
  /** Most redirects that are followed; default 3. */
  readonly maxRedirects?: number;
  /** Connections to one host at the same time; default 16. */
  readonly connections?: number;
  /** @internal For tests: an authority for certificates, name resolution, and whether private addresses are let through. */
  readonly test?: { readonly ca?: string; readonly lookup?: LookupFunction; readonly allowPrivate?: boolean };
}

/** The host of an address did not give what was asked for: its fault or the network's, not the caller's. */
export class RemoteError extends Error {
  override name = 'RemoteError';
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** A fetch that is under way, for all who wait for it. */
interface Shared {
  readonly bytes: Promise<Buffer>;
  readonly stop: AbortController;
  waiting: number;
}

/**
 * Fetches bytes from `https:` addresses that callers name. Only hosts that were allowed, only public addresses, also
 * after redirects; bounded in size and time. Callers who ask for the same address at the same time share one fetch,
 * which ends early only when all of them have left.
 */
export class RemoteFetcher {
  readonly #options: RemoteOptions;
  readonly #agent: Agent;
  readonly #shared: Map<string, Shared> = new Map();

  constructor(options: RemoteOptions) {
    this.#options = options;
    const { test = {}, connections = 16, timeoutMs } = options;
    const lookup = test.allowPrivate === true ? test.lookup : publicLookup(test.lookup);
    this.#agent = new Agent({
      connections,
      // The fetch as a whole has its own limit.
      bodyTimeout: 0,
      headersTimeout: 0,
      connect: { timeout: timeoutMs, ...(lookup && { lookup }), ...(test.ca !== undefined && { ca: test.ca }) },
    });
  }

  /**
   * The bytes at an address. Shared between callers: they must not be changed.
   *
   * @throws {ShoalError} INVALID_REQUEST for an address that may not be fetched, CANCELLED when `signal` is aborted.
   * @throws {RemoteError} when its host does not give the bytes, or too many of them.
   */
  async fetch(address: string, signal?: AbortSignal): Promise<Buffer> {
    const url = this.#check(address, undefined);
    let shared = this.#shared.get(url.href);
    if (shared === undefined) {
      const stop = new AbortController();
      const limit = AbortSignal.any([stop.signal, AbortSignal.timeout(this.#options.timeoutMs)]);
      shared = { bytes: this.#follow(url, limit), stop, waiting: 0 };
      this.#shared.set(url.href, shared);
      shared.bytes.catch(() => {}).finally(() => this.#forget(url.href, stop));
    }
    shared.waiting++;
    try {
      const left = (): ShoalError => new ShoalError('CANCELLED', 'the caller left', { cause: signal?.reason });
      return await unlessAborted(shared.bytes, signal, left);
    } finally {
      shared.waiting--;
      if (shared.waiting === 0) {
        this.#forget(url.href, shared.stop);
        shared.stop.abort();
      }
    }
  }

  /** Ends all connections. */
  close(): Promise<void> {
    return this.#agent.destroy();
  }

  #forget(href: string, stop: AbortController): void {
    if (this.#shared.get(href)?.stop === stop) this.#shared.delete(href);
  }

  /** @param from the address that redirected here. */
  #check(address: string, from: URL | undefined): URL {
    const how =
      from === undefined ? `address ${quote(address)}` : `${quote(from.href)} redirects to ${quote(address)}, which`;
    if (!URL.canParse(address, from)) throw invalid(`${how} is not an address`);
    const url = new URL(address, from);
    if (url.protocol !== 'https:') throw invalid(`${how} begins with ${url.protocol}//, only https:// is fetched`);
    if (url.username !== '' || url.password !== '') throw invalid(`${how} has a user name or password in it`);
    const { hosts, test } = this.#options;
    if (!hosts.some((allowed) => isHost(url.hostname, allowed))) {
      throw invalid(`${how} is on host '${url.hostname}', which is not among the allowed ones`);
    }
    // A literal address is connected to without any name resolution.
    const literal = url.hostname.replace(/^\[(.*)\]$/, '$1');
    const isLiteral = literal !== url.hostname || /^[\d.]+$/.test(literal);
    if (isLiteral && test?.allowPrivate !== true && isPrivateAddress(literal)) {
      throw invalid(`host '${url.hostname}' is not on the public internet`);
    }
    url.hash = '';
    return url;
  }

  async #follow(start: URL, signal: AbortSignal): Promise<Buffer> {
    let url = start;
    for (let redirects = 0; ; redirects++) {
      const response = await this.#ask(url, signal);
      const { statusCode, headers, body } = response;
      if (REDIRECTS.has(statusCode) && typeof headers['location'] === 'string') {
        discard(body);
        if (redirects >= (this.#options.maxRedirects ?? 3)) {
          throw failed(start, `it redirects more than ${redirects} times`);
        }
        url = this.#check(headers['location'], url);
        continue;
      }
      if (statusCode !== 200) {
        discard(body);
        throw failed(url, `it answers with status ${statusCode}`);
      }
      return this.#read(url, response, signal);
    }
  }

  async #ask(url: URL, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    try {
      const headers = { accept: '*/*', 'accept-encoding': 'identity', 'user-agent': 'shoal' };
      return await request(url, { dispatcher: this.#agent, headers, signal });
    } catch (thrown) {
      throw this.#explain(url, thrown, signal);
    }
  }

  async #read(url: URL, { headers, body }: Dispatcher.ResponseData, signal: AbortSignal): Promise<Buffer> {
    const { maxBytes } = this.#options;
    const tooLarge = `its body is larger than ${maxBytes} bytes`;
    if (Number(headers['content-length']) > maxBytes) {
      discard(body);
      throw failed(url, tooLarge);
    }
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > maxBytes) break;
        chunks.push(chunk);
      }
    } catch (thrown) {
      throw this.#explain(url, thrown, signal);
    }
    if (bytes > maxBytes) throw failed(url, tooLarge);
    return Buffer.concat(chunks, bytes);
  }

  #explain(url: URL, thrown: unknown, signal: AbortSignal): ShoalError | RemoteError {
    if (thrown instanceof ShoalError) return thrown;
    if (signal.aborted && signal.reason?.name === 'TimeoutError') {
      return failed(url, `it did not answer within ${this.#options.timeoutMs} ms`, thrown);
    }
    return failed(url, messageOf(thrown), thrown);
  }
}

function failed(url: URL, why: string, cause?: unknown): RemoteError {
  return new RemoteError(`${quote(url.href)} could not be fetched: ${why}`, { cause });
}

/** Lets a body go that nobody reads: its connection ends with it. */
function discard(body: Dispatcher.ResponseData['body']): void {
  body.on('error', () => {});
  body.destroy();
}

function isHost(host: string, allowed: string): boolean {
  const wanted = allowed.toLowerCase();
  return wanted.startsWith('*.') ? host.endsWith(wanted.slice(1)) && host.length >= wanted.length : host === wanted;
}

function quote(address: string): string {
  const text = address.length > 200 ? `${address.slice(0, 200)}…` : address;
  return JSON.stringify(text);
}
