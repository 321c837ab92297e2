import { promisify } from 'node:util';
import { unzip } from 'node:zlib';
import type { Dispatcher } from 'undici';
import { messageOf, STATUS } from '../errors.ts';
import { HEADER_LENGTH } from './encode.ts';
import { ShoalClientError } from './errors.ts';
import { readRetryAfter } from './retry.ts';

const unzipAsync = promisify(unzip);

/** Headers of a reply by their names in lower case. */
export type ReplyHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** A whole answer. */
export interface Answer {
  /** Method and path, as messages name it. */
  readonly what: string;
  readonly status: number;
  readonly headers: ReplyHeaders;
  /** Tries it took; 0 while that is not known. */
  readonly attempts: number;
  /** Memory of its own. Where the body has binary sections, the first begins at a multiple of eight. */
  readonly body: Buffer;
}

/** How much of a body that is no JSON an error shows. */
const EXCERPT_CHARACTERS = 200;

/** Elements of at most eight bytes begin where they may when the first section does. */
const ALIGNMENT = 8;

/**
 * Reads an answer to its end, expanded.
 *
 * @throws {ShoalClientError} BAD_REPLY when it is larger than `maxBytes` or cannot be expanded; what the connection
 * fails with is thrown as it is.
 */
export async function readAnswer(what: string, response: Dispatcher.ResponseData, maxBytes: number): Promise<Answer> {
  const { statusCode: status, headers, body } = response;
  const encoding = headerOf(headers, 'content-encoding')?.toLowerCase() ?? 'identity';
  const paddingBytes = encoding === 'identity' ? paddingOf(headers) : 0;
  const announced = Number(headerOf(headers, 'content-length') ?? Number.NaN);
  const head = { what, status, attempts: 0, headers };
  const tooLarge = (): ShoalClientError => badReply(head, `it is larger than ${maxBytes} bytes`);
  if (announced > maxBytes) {
    await body.dump({ limit: 0 });
    throw tooLarge();
  }
  let memory = allocate(paddingBytes + (announced >= 0 ? announced : 64 * 1024));
  let used = paddingBytes;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    if (used + chunk.length - paddingBytes > maxBytes) throw tooLarge();
    if (used + chunk.length > memory.length) {
      const larger = allocate(Math.max(used + chunk.length, 2 * memory.length));
      memory.copy(larger, 0, 0, used);
      memory = larger;
    }
    chunk.copy(memory, used);
    used += chunk.length;
  }
  const bytes = memory.subarray(paddingBytes, used);
  if (encoding === 'identity' || bytes.length === 0) return { ...head, body: bytes };
  return { ...head, body: align(await expand(head, encoding, bytes, maxBytes), paddingOf(headers)) };
}

async function expand(head: Omit<Answer, 'body'>, encoding: string, bytes: Buffer, maxBytes: number): Promise<Buffer> {
  if (encoding !== 'gzip' && encoding !== 'x-gzip' && encoding !== 'deflate') {
    throw badReply(head, `its content encoding is '${encoding}', which was not asked for`);
  }
  try {
    return await unzipAsync(bytes, { maxOutputLength: maxBytes });
  } catch (thrown) {
    throw badReply(head, `it cannot be expanded: ${messageOf(thrown)}`, thrown);
  }
}

/** Bytes to leave free before the body, so that its first section is aligned. */
function paddingOf(headers: ReplyHeaders): number {
  const length = Number(headerOf(headers, HEADER_LENGTH) ?? 0);
  return Number.isSafeInteger(length) && length > 0 ? (ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT : 0;
}

function align(body: Buffer, paddingBytes: number): Buffer {
  if (body.byteOffset % ALIGNMENT === paddingBytes) return body;
  const memory = allocate(paddingBytes + body.length);
  body.copy(memory, paddingBytes);
  return memory.subarray(paddingBytes);
}

/** Never a piece of Node's pool, whose memory others share and which begins anywhere. */
function allocate(bytes: number): Buffer {
  return Buffer.allocUnsafeSlow(bytes);
}

/** The value of a header; the first of several. */
export function headerOf(headers: ReplyHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** An answer that is not what the protocol says. */
export function badReply(
  { what, status, attempts }: Pick<Answer, 'what' | 'status' | 'attempts'>,
  why: string,
  cause?: unknown,
): ShoalClientError {
  const text = `the answer to ${what} is not the protocol's: ${why}`;
  const error = new ShoalClientError('BAD_REPLY', text, { status, cause });
  error.attempts = attempts;
  return error;
}

/** The error that stands for an answer with another status than 200. */
export function errorOf({ what, status, headers, body }: Answer): ShoalClientError {
  const code = headerOf(headers, 'shoal-error-code');
  const known = code !== undefined && isErrorCode(code) ? code : undefined;
  const serverText = errorText(body) ?? excerptOf(body);
  const retryAfterSeconds = readRetryAfter(headerOf(headers, 'retry-after'), Date.now());
  const text = serverText === '' ? 'without a word' : serverText.replace(/\s+/g, ' ').trim();
  const name = known === undefined ? `${status}` : `${status} ${known}`;
  return new ShoalClientError(known ?? `HTTP_${status}`, `${what}: ${name}: ${text}`, {
    status,
    serverText,
    retryAfterSeconds,
  });
}

function isErrorCode(code: string): code is keyof typeof STATUS {
  return Object.hasOwn(STATUS, code);
}

function errorText(body: Buffer): string | undefined {
  try {
    const parsed: unknown = JSON.parse(body.toString());
    if (typeof parsed !== 'object' || parsed === null || !('error' in parsed)) return undefined;
    return typeof parsed.error === 'string' ? parsed.error : undefined;
  } catch {
    return undefined;
  }
}

/** The beginning of a body on one line, its markup left out. */
export function excerptOf(body: Buffer): string {
  const text = body.toString('utf8', 0, 4096).replace(/<(style|script)[\s\S]*?<\/\1>|<[^>]*>/gi, ' ');
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length > EXCERPT_CHARACTERS ? `${line.slice(0, EXCERPT_CHARACTERS)}…` : line;
}
