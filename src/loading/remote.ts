import type { LookupFunction } from 'node:net';
import { Agent, type Dispatcher, request } from 'undici';
import { invalid, ShoalError, toShoalError } from '../errors.ts';
import { unlessAborted } from '../unless-aborted.ts';
import { publicLookup } from './address-guard.ts';
import { AddressList } from './remote-address.ts';
import { BodyMemory, type ByteHold } from './remote-body.ts';
import { FetchTimeout, failed, failureOf } from './remote-failure.ts';
import { Slots } from './slots.ts';

/** How a fetch ended. */
export type FetchOutcome = 'ok' | 'refused' | 'failed' | 'timeout' | 'cancelled' | 'full';

/** Is told what a fetcher does. Calls must not throw. */
export interface FetchEvents {
  /** A fetch has ended; `ms` counts from when it began to wait for its turn. */
  ended(outcome: FetchOutcome, bytes: number, ms: number): void;
  /** A caller shares a fetch that was under way. */
  shared(): void;
}

/** What may be fetched, and how much of it. */
export interface RemoteOptions {
  /** Hosts that may be fetched from, see {@link AddressList}. */
  readonly hosts: readonly string[];
  /** Most bytes of a body. */
  readonly maxBytes: number;
  /** Longest time for one address, redirects included, in milliseconds; it begins when its turn has come. */
  readonly timeoutMs: number;
  /** Most redirects that are followed; default 3. */
  readonly maxRedirects?: number;
  /** Addresses that are fetched at the same time; default 16. The others wait for their turn. */
  readonly concurrency?: number;
  /** Most addresses that wait for their turn; default 4096. */
  readonly maxWaiting?: number;
  /** What bodies count against while they are held; default: nothing. */
  readonly hold?: ByteHold;
  readonly events?: FetchEvents;
  /** @internal For tests: an authority for certificates, name resolution, and whether private addresses are let through. */
  readonly test?: RemoteTest;
}

/** @internal See {@link RemoteOptions.test}. */
export interface RemoteTest {
  readonly ca?: string;
  readonly lookup?: LookupFunction;
  readonly allowPrivate?: boolean;
}

/** Bytes that were fetched. */
export interface Fetched {
  /** Shared between callers: they must not be changed. */
  readonly bytes: Buffer;
  /** Says that they need not be counted any longer; calls after the first do nothing. */
  release(): void;
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** A fetch that is under way, for all who wait for it or have what came of it. */
interface Shared {
  readonly memory: BodyMemory;
  readonly bytes: Promise<Buffer>;
  readonly stop: AbortController;
  holders: number;
}

/**
 * Fetches bytes from `https:` addresses that callers name. Only hosts that were allowed, only public addresses, also
 * after redirects; bounded in size and time. Callers who ask for the same address at the same time share one fetch,
 * which ends early only when all of them have left.
 */
export class RemoteFetcher {
  readonly #options: RemoteOptions;
  readonly #addresses: AddressList;
  readonly #agent: Agent;
  readonly #slots: Slots;
  readonly #shared: Map<string, Shared> = new Map();

  /** @throws {ShoalError} INVALID_REQUEST for a host that is none. */
  constructor(options: RemoteOptions) {
    this.#options = options;
    const { hosts, test = {}, concurrency = 16, maxWaiting = 4096, timeoutMs } = options;
    this.#addresses = new AddressList(hosts, test.allowPrivate);
    this.#slots = new Slots(concurrency, maxWaiting);
    const lookup = test.allowPrivate === true ? test.lookup : publicLookup(test.lookup);
    this.#agent = new Agent({
      connections: concurrency,
      // The fetch as a whole has its own limit.
      bodyTimeout: 0,
      headersTimeout: 0,
      connect: { timeout: timeoutMs, ...(lookup && { lookup }), ...(test.ca !== undefined && { ca: test.ca }) },
    });
  }

  /**
   * The bytes at an address. Shared between callers: they must not be changed.
   *
   * @throws {ShoalError} as {@link RemoteFetcher.take}.
   */
  async fetch(address: string, signal?: AbortSignal): Promise<Buffer> {
    const { bytes, release } = await this.take(address, signal);
    release();
    return bytes;
  }

  /**
   * The bytes at an address, which are held until they are released.
   *
   * @throws {ShoalError} INVALID_REQUEST for an address that may not be fetched and for a body that is too large;
   * REMOTE_FAILED and REMOTE_TIMEOUT when its host does not give what was asked for; QUEUE_FULL when there is no room
   * for it; CANCELLED when `signal` is aborted, or its reason where that is a ShoalError.
   */
  async take(address: string, signal?: AbortSignal): Promise<Fetched> {
    const url = this.#addresses.check(address);
    let shared = this.#shared.get(url.href);
    if (shared === undefined) shared = this.#begin(url);
    else this.#options.events?.shared();
    const { bytes } = shared;
    let held: Shared | undefined = shared;
    held.holders++;
    const release = (): void => {
      if (held !== undefined) this.#release(url, held);
      held = undefined;
    };
    try {
      return { bytes: await unlessAborted(bytes, signal, () => leftBy(signal)), release };
    } catch (thrown) {
      release();
      throw thrown;
    }
  }

  /** Ends all connections. */
  close(): Promise<void> {
    return this.#agent.destroy();
  }

  #begin(url: URL): Shared {
    const { maxBytes, hold, events } = this.#options;
    const memory = new BodyMemory(maxBytes, hold);
    const stop = new AbortController();
    const startMs = performance.now();
    const bytes = this.#fetch(url, memory, stop).finally(() => this.#forget(url, shared));
    const shared: Shared = { memory, bytes, stop, holders: 0 };
    this.#shared.set(url.href, shared);
    bytes.then(
      ({ length }) => events?.ended('ok', length, performance.now() - startMs),
      (thrown: unknown) => {
        events?.ended(outcomeOf(toShoalError(thrown)), memory.length, performance.now() - startMs);
      },
    );
    return shared;
  }

  #release(url: URL, shared: Shared): void {
    shared.holders--;
    if (shared.holders > 0) return;
    this.#forget(url, shared);
    shared.stop.abort(new ShoalError('CANCELLED', 'the caller left'));
    shared.memory.free();
  }

  #forget({ href }: URL, shared: Shared): void {
    if (this.#shared.get(href) === shared) this.#shared.delete(href);
  }

  async #fetch(url: URL, memory: BodyMemory, stop: AbortController): Promise<Buffer> {
    await this.#slots.enter(stop.signal);
    const timer = setTimeout(() => stop.abort(new FetchTimeout()), this.#options.timeoutMs);
    try {
      const response = await this.#follow(url, stop.signal);
      return await this.#read(response, memory, stop.signal);
    } finally {
      clearTimeout(timer);
      this.#slots.leave();
    }
  }

  async #follow(start: URL, signal: AbortSignal): Promise<Answer> {
    let url = start;
    for (let redirects = 0; ; redirects++) {
      const response = await this.#ask(url, signal);
      const { statusCode, headers, body } = response;
      if (statusCode === 200) return { ...response, url };
      discard(body);
      const { location } = headers;
      if (!REDIRECTS.has(statusCode) || typeof location !== 'string') {
        throw failed(url, `answers with status ${statusCode}`);
      }
      if (redirects >= (this.#options.maxRedirects ?? 3)) throw failed(start, `redirects more than ${redirects} times`);
      url = this.#addresses.checkRedirect(location, url);
    }
  }

  async #ask(url: URL, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    try {
      const headers = { accept: '*/*', 'accept-encoding': 'identity', 'user-agent': 'shoal' };
      return await request(url, { dispatcher: this.#agent, headers, signal });
    } catch (thrown) {
      throw failureOf(url, thrown, signal, this.#options.timeoutMs);
    }
  }

  async #read({ url, headers, body }: Answer, memory: BodyMemory, signal: AbortSignal): Promise<Buffer> {
    const { maxBytes, timeoutMs } = this.#options;
    const tooLarge = (): ShoalError => invalid(`what host '${url.hostname}' sends is larger than ${maxBytes} bytes`);
    try {
      const coding = headers['content-encoding'];
      if (coding !== undefined && coding !== 'identity')
        throw failed(url, 'compresses its answer without being asked to');
      const told = headers['content-length'];
      const length = told === undefined ? undefined : Number(told);
      if (length !== undefined && length > maxBytes) throw tooLarge();
      if (length !== undefined && Number.isSafeInteger(length)) memory.reserve(length);
      for await (const chunk of body as AsyncIterable<Buffer>) {
        if (memory.length + chunk.length > maxBytes) throw tooLarge();
        memory.append(chunk);
      }
      if (length !== undefined && length !== memory.length) {
        throw failed(url, `sends ${memory.length} bytes, having announced ${length}`);
      }
      return memory.bytes;
    } catch (thrown) {
      discard(body);
      throw failureOf(url, thrown, signal, timeoutMs);
    }
  }
}

interface Answer extends Dispatcher.ResponseData {
  /** Where it came from, after redirects. */
  readonly url: URL;
}

function leftBy(signal: AbortSignal | undefined): ShoalError {
  const reason: unknown = signal?.reason;
  return reason instanceof ShoalError ? reason : new ShoalError('CANCELLED', 'the caller left', { cause: reason });
}

function outcomeOf({ code }: ShoalError): FetchOutcome {
  if (code === 'INVALID_REQUEST') return 'refused';
  if (code === 'QUEUE_FULL') return 'full';
  if (code === 'CANCELLED') return 'cancelled';
  return code === 'REMOTE_TIMEOUT' ? 'timeout' : 'failed';
}

/** Lets a body go that nobody reads: its connection ends with it. */
function discard(body: Dispatcher.ResponseData['body']): void {
  body.on('error', () => {});
  body.destroy();
}
