import type { ErrorCode } from '../errors.ts';

/**
 * What went wrong in the client's eyes. A server's own code ({@link ErrorCode}, Shoal sends one with every error) comes
 * first; a status without one is `HTTP_502` and the like.
 */
export type ClientErrorCode =
  | ErrorCode
  | `HTTP_${number}`
  /** No connection came about: refused, unknown host, TLS. Nothing was sent. */
  | 'CONNECT_FAILED'
  /** The connection ended before the answer was there. */
  | 'CONNECTION_LOST'
  /** The time of the call was over. */
  | 'TIMEOUT'
  /** The caller's signal; `cause` is its reason. */
  | 'ABORTED'
  /** An answer that is not the protocol's: a proxy's page, sizes that do not add up. */
  | 'BAD_REPLY'
  /** The call itself is wrong; nothing was sent. */
  | 'BAD_ARGUMENT'
  /** The client has been closed. */
  | 'CLOSED';

/** What is known of a failed call besides its code and message. */
export interface ClientErrorFacts {
  readonly status?: number | undefined;
  readonly serverText?: string | undefined;
  readonly retryAfterSeconds?: number | undefined;
  readonly cause?: unknown;
}

/** Every error that a client's calls reject with. */
export class ShoalClientError extends Error {
  override readonly name = 'ShoalClientError';
  readonly code: ClientErrorCode;
  /** HTTP status; undefined when no answer came. */
  readonly status: number | undefined;
  /** The server's own words: the `error` of its JSON, or the beginning of a body that is none. */
  readonly serverText: string | undefined;
  /** What the server asked to wait before trying again. */
  readonly retryAfterSeconds: number | undefined;
  /** How often the request was tried; 0 when it was never sent. */
  attempts = 0;

  constructor(code: ClientErrorCode, message: string, facts: ClientErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.status = facts.status;
    this.serverText = facts.serverText;
    this.retryAfterSeconds = facts.retryAfterSeconds;
  }
}

/** The call is wrong and was not sent. */
export function badArgument(message: string, cause?: unknown): ShoalClientError {
  return new ShoalClientError('BAD_ARGUMENT', message, { cause });
}
