import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { after, before } from 'node:test';
import { Agent, type Dispatcher, request } from 'undici';
import { type ConfigInput, createServer, type ErrorCode, type ShoalServer, STATUS } from '../../src/index.ts';
import { createLogger } from '../../src/logging.ts';
import { type RepositoryContent, writeRepository } from './models.ts';

/** Real servers on a port of their own, and clients that hide nothing: no redirects, no decompression. */

/** What {@link createServer} takes besides its options. */
export type ServerDeps = NonNullable<Parameters<typeof createServer>[1]>;

/** Something that calls back when it is over: the context of a test. */
export interface Scope {
  after(fn: () => Promise<void>): void;
}

/** A response. Header names are in lower case. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** An inference request as JSON. */
export type InferRequest = Readonly<Record<string, unknown>>;

/** A tensor of a reply. */
export interface ReplyTensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly data?: readonly unknown[];
  readonly parameters?: { readonly binary_data_size: number };
}

/** An inference reply. */
export interface InferReply {
  readonly id?: string;
  readonly model_name: string;
  readonly model_version: string;
  readonly outputs: readonly ReplyTensor[];
}

/** A reply with its binary sections; `sections[i]` belongs to `reply.outputs[i]`, undefined where that has `data`. */
export interface BinaryReply {
  readonly reply: InferReply;
  readonly sections: readonly (Buffer | undefined)[];
}

/** Header with the bytes of the JSON before binary sections. */
export const HEADER_LENGTH = 'inference-header-content-length';

/** A client of a server at a URL. */
export class TestClient {
  readonly url: string;
  readonly port: number;
  readonly #agent: Agent;

  constructor(url: string) {
    this.url = url;
    this.port = Number(new URL(url).port);
    // A request on a connection that the server is closing fails, so that pooled ones are given up well before.
    this.#agent = new Agent({ connections: 1024, pipelining: 1, keepAliveTimeout: 1000, headersTimeout: 60_000 });
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }

  async send(
    method: string,
    target: string,
    body?: string | Uint8Array | AsyncIterable<Uint8Array>,
    headers: Record<string, string> = {},
    options: { signal?: AbortSignal } = {},
  ): Promise<Answer> {
    const response = await request(`${this.url}${target}`, {
      method: method as Dispatcher.HttpMethod,
      headers,
      body:
        body === undefined || typeof body === 'string' || body instanceof Uint8Array
          ? (body ?? null)
          : Readable.from(body),
      dispatcher: this.#agent,
      signal: options.signal ?? null,
    });
    const bytes = Buffer.from(await response.body.arrayBuffer());
    return { status: response.statusCode, headers: response.headers, body: bytes };
  }

  get(target: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.send('GET', target, undefined, headers);
  }

  /** Sends an inference request in JSON; text is sent as it is. */
  infer(
    model: string,
    body: InferRequest | string,
    headers: Record<string, string> = {},
    options: { signal?: AbortSignal } = {},
  ): Promise<Answer> {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    return this.send('POST', `/v2/models/${model}/infer`, text, headers, options);
  }

  /** Sends an inference request with binary sections behind its JSON. */
  inferBinary(
    model: string,
    body: InferRequest | string,
    sections: readonly Uint8Array[],
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const { bytes, length } = binaryBody(body, sections);
    return this.send('POST', `/v2/models/${model}/infer`, bytes, { [HEADER_LENGTH]: String(length), ...headers });
  }

  /** The JSON of `GET target`, which must be a success. */
  async json(target: string): Promise<unknown> {
    return parseJson(await this.get(target), 200);
  }

  /** Triton's statistics of one model version. */
  async statistics(model: string): Promise<Statistics> {
    const { model_stats } = (await this.json(`/v2/models/${model}/stats`)) as { model_stats: Statistics[] };
    return model_stats.at(-1)!;
  }

  /** What `GET /metrics` says now. */
  async metrics(): Promise<Metrics> {
    const { status, body } = await this.get('/metrics');
    assert.equal(status, 200);
    return new Metrics(body.toString());
  }
}

/** A running server and its client. */
export class TestServer extends TestClient {
  readonly server: ShoalServer;
  /** The models folder. */
  readonly folder: string;
  /** What was logged at *warn* and above. */
  readonly logged: readonly LogLine[];
  readonly #ownsFolder: boolean;

  private constructor(server: ShoalServer, url: string, logged: readonly LogLine[], folder: string, owns: boolean) {
    super(url);
    this.server = server;
    this.logged = logged;
    this.folder = folder;
    this.#ownsFolder = owns;
  }

  /** @param models content of a temporary folder, or the path of an existing one. */
  static async start(
    models: RepositoryContent | string,
    options: ConfigInput = {},
    deps: ServerDeps = {},
    { awaitLoaded = true }: { readonly awaitLoaded?: boolean } = {},
  ): Promise<TestServer> {
    const owns = typeof models !== 'string';
    const folder = owns ? writeRepository(mkdtempSync(path.join(tmpdir(), 'shoal-http-')), models) : models;
    const logged: LogLine[] = [];
    const destination = { write: (line: string) => void logged.push(JSON.parse(line)) };
    const logger = createLogger({ logLevel: 'warn' }, { destination });
    const server = await createServer({ models: folder, port: 0, logLevel: 'silent', ...options }, { logger, ...deps });
    const url = await server.listen();
    if (awaitLoaded) await server.loaded();
    return new TestServer(server, url, logged, folder, owns);
  }

  override async close(): Promise<void> {
    await super.close();
    await this.server.close();
    if (this.#ownsFolder) rmSync(this.folder, { recursive: true });
  }
}

/** A line of the log. */
export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly err?: { readonly message: string; readonly stack: string };
}

/** How often something happened, and the time it took together. */
export interface StatisticDuration {
  readonly count: number;
  readonly ns: number;
}

type ComputeStatistics = Readonly<Record<'compute_input' | 'compute_infer' | 'compute_output', StatisticDuration>>;

/** Triton's statistics of a model version. */
export interface Statistics {
  readonly name: string;
  readonly version: string;
  readonly last_inference: number;
  readonly inference_count: number;
  readonly execution_count: number;
  readonly inference_stats: ComputeStatistics &
    Readonly<Record<'success' | 'fail' | 'queue' | 'cache_hit' | 'cache_miss', StatisticDuration>>;
  readonly response_stats: object;
  readonly batch_stats: readonly (ComputeStatistics & { readonly batch_size: number })[];
  readonly memory_usage: readonly object[];
}

/** Starts a server for one test. */
export async function startServer(
  scope: Scope,
  models: RepositoryContent | string,
  options: ConfigInput = {},
  deps: ServerDeps = {},
): Promise<TestServer> {
  const server = await TestServer.start(models, options, deps);
  scope.after(() => server.close());
  return server;
}

/** A server for all tests of the suite in whose body this is called; the function gives it from within a test. */
export function useServer(
  models: () => RepositoryContent | string,
  options: ConfigInput = {},
  deps: ServerDeps = {},
): () => TestServer {
  let server: TestServer | undefined;
  before(async () => {
    server = await TestServer.start(models(), options, deps);
  });
  after(() => server?.close());
  return () => server!;
}

/** A body of JSON and binary sections; `length` is the bytes of the JSON. */
export function binaryBody(
  body: InferRequest | string,
  sections: readonly Uint8Array[],
): { readonly bytes: Buffer; readonly length: number } {
  const json = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  return { bytes: Buffer.concat([json, ...sections]), length: json.length };
}

/** The value of a JSON answer with this status and the content type that clients compare. */
export function parseJson(answer: Answer, status: number): unknown {
  assert.equal(answer.status, status, answer.body.toString());
  assert.equal(answer.headers['content-type'], 'application/json');
  return JSON.parse(answer.body.toString());
}

/** A successful inference reply that is JSON throughout. */
export function parseReply(answer: Answer): InferReply {
  const reply = parseJson(answer, 200) as InferReply;
  assert.equal(answer.headers[HEADER_LENGTH], undefined);
  return reply;
}

/** A successful inference reply with at least one binary output, checked for its framing. */
export function parseBinaryReply(answer: Answer): BinaryReply {
  const { status, headers, body } = answer;
  assert.equal(status, 200, body.toString());
  assert.equal(headers['content-type'], 'application/octet-stream');
  assert.equal(headers['content-length'], String(body.length));
  const length = Number(headers[HEADER_LENGTH]);
  const reply = JSON.parse(body.toString('utf8', 0, length)) as InferReply;
  let at = length;
  const sections = reply.outputs.map(({ parameters, data }) => {
    assert.ok((parameters === undefined) !== (data === undefined), 'an output has either data or a size');
    if (parameters === undefined) return undefined;
    const start = at;
    at += parameters.binary_data_size;
    return body.subarray(start, at);
  });
  assert.equal(at, body.length, 'the sections end where the body does');
  return { reply, sections };
}

/**
 * Checks that an answer is an error as clients can read it, with this code and the status that belongs to it.
 *
 * @param keys what the body has besides `error`; inference must have nothing else.
 * @returns the text.
 */
export function expectError(answer: Answer, code: ErrorCode, text: RegExp = /./, keys: readonly string[] = []): string {
  const { status, headers, body } = answer;
  assert.equal(status, STATUS[code], body.toString());
  assert.equal(headers['content-type'], 'application/json');
  assert.equal(headers['content-encoding'], undefined);
  assert.equal(headers['shoal-error-code'], code, body.toString());
  const parsed = JSON.parse(body.toString()) as Record<string, unknown>;
  assert.deepEqual(Object.keys(parsed), ['error', ...keys]);
  const { error } = parsed;
  assert.ok(typeof error === 'string');
  assert.match(error, text);
  assert.doesNotMatch(error, /\n/, 'an error is one line');
  return error;
}

/** A scrape. */
export class Metrics {
  readonly text: string;
  readonly #series: ReadonlyMap<string, number>;

  constructor(text: string) {
    this.text = text;
    const series = new Map<string, number>();
    for (const line of text.split('\n')) {
      const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (match !== null) series.set(seriesKey(match[1]!, parseLabels(match[2] ?? '')), Number(match[3]));
    }
    this.#series = series;
  }

  /** The value of the series with exactly these labels; it must be there. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number {
    const value = this.#series.get(seriesKey(name, labels));
    assert.ok(value !== undefined, `no series ${seriesKey(name, labels)}`);
    return value;
  }

  /** Sum over all series of this name that have these labels among theirs. */
  sum(name: string, labels: Readonly<Record<string, string>> = {}): number {
    let sum = 0;
    for (const [key, value] of this.#series) {
      const [own, rest] = splitKey(key);
      if (own === name && Object.entries(labels).every(([label, wanted]) => rest[label] === wanted)) sum += value;
    }
    return sum;
  }

  /** All values that a label has anywhere. */
  labelValues(label: string): Set<string> {
    const values = new Set<string>();
    for (const key of this.#series.keys()) {
      const value = splitKey(key)[1][label];
      if (value !== undefined) values.add(value);
    }
    return values;
  }
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [, name, value] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name!] = value!;
  return labels;
}

function seriesKey(name: string, labels: Readonly<Record<string, string>>): string {
  return JSON.stringify([name, Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))]);
}

function splitKey(key: string): [string, Record<string, string>] {
  const [name, labels] = JSON.parse(key) as [string, [string, string][]];
  return [name, Object.fromEntries(labels)];
}
