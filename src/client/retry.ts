import type { ShoalClientError } from './errors.ts';

/** How failed calls are tried again. */
export interface RetryOptions {
  /** Tries altogether; 1 switches retries off. Default 3. */
  readonly attempts: number;
  /** The pause before the second try, doubled for each further one, half of it random. Default 100 ms. */
  readonly baseMs: number;
  /** The longest such pause. A longer `Retry-After` is honoured all the same. Default 5 s. */
  readonly maxMs: number;
}

/** What a call may do more than once: everything, or nothing that may have reached the server. */
export type Repeatable = 'always' | 'unsent';

/** Codes of Shoal that say "later" under a status of which a proxy may say so, too. */
const PASSING: readonly string[] = ['QUEUE_FULL', 'DEADLINE_UNREACHABLE', 'MODEL_NOT_READY', 'SHUTTING_DOWN'];

/**
 * Whether trying again makes sense.
 *
 * Yes: no connection; a connection that was lost (inference may be repeated, it changes nothing); 429; 502, 503 and
 * 504 that say nothing of their reason; a model that is not ready, a server that drains. No: everything the caller
 * did wrong; a request whose time was over; one that cost an executor its life; failed runs; replies that are no replies.
 */
export function isPassing({ code, status }: ShoalClientError, repeatable: Repeatable): boolean {
  if (code === 'CONNECT_FAILED') return true;
  if (repeatable === 'unsent') return false;
  if (code === 'CONNECTION_LOST' || PASSING.includes(code)) return true;
  return code === `HTTP_${status}` && (status === 429 || status === 502 || status === 503 || status === 504);
}

/**
 * The pause before the next try.
 *
 * @param attempt tries so far, from 1.
 * @param random from 0 to 1.
 */
export function pauseMs(error: ShoalClientError, attempt: number, options: RetryOptions, random: number): number {
  const backOff = Math.min(options.maxMs, options.baseMs * 2 ** (attempt - 1)) * (0.5 + random / 2);
  return Math.max(backOff, (error.retryAfterSeconds ?? 0) * 1000);
}

/**
 * The value of a `Retry-After` header in seconds (RFC 9110, 10.2.3: seconds or a date); undefined when there is none
 * or it cannot be read.
 */
export function readRetryAfter(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\s*\d+\s*$/.test(header)) return Number(header);
  const atMs = Date.parse(header);
  return Number.isNaN(atMs) ? undefined : Math.max(0, (atMs - nowMs) / 1000);
}
