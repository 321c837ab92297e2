import { ShoalError } from '../errors.ts';

/** What system and TLS errors mean, for a caller who must not learn addresses. */
const WORDS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'has a name that does not resolve',
  EAI_AGAIN: 'has a name that could not be resolved now',
  ECONNREFUSED: 'refuses connections',
  ECONNRESET: 'has ended the connection',
  EPIPE: 'has ended the connection',
  ETIMEDOUT: 'cannot be reached',
  EHOSTUNREACH: 'cannot be reached',
  ENETUNREACH: 'cannot be reached',
  UND_ERR_CONNECT_TIMEOUT: 'cannot be reached',
  UND_ERR_SOCKET: 'has ended the connection',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'does not send what it has announced',
  UND_ERR_HEADERS_OVERFLOW: 'sends too many headers',
  CERT_HAS_EXPIRED: 'has a certificate that has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'has a certificate for another name',
};

/** Why a fetch is ended whose time is over. */
export class FetchTimeout extends Error {}

/** The error of a host that does not give what was asked for. @param what as in `host 'x' answers with status 404`. */
export function failed({ hostname }: URL, what: string, cause?: unknown): ShoalError {
  return new ShoalError('REMOTE_FAILED', `host '${hostname}' ${what}`, { cause });
}

/**
 * What a request for `url` ended with, as the caller is told: by its code, since texts of the system name addresses.
 *
 * @param signal what has ended it, if anything has: a caller, or the limit of `timeoutMs`.
 */
export function failureOf(url: URL, thrown: unknown, signal: AbortSignal, timeoutMs: number): ShoalError {
  if (thrown instanceof ShoalError) return thrown;
  if (signal.aborted) {
    return signal.reason instanceof FetchTimeout
      ? new ShoalError('REMOTE_TIMEOUT', `host '${url.hostname}' did not answer within ${timeoutMs} ms`)
      : new ShoalError('CANCELLED', 'the caller left');
  }
  // Attempts at several addresses are one error that holds the others.
  const inner: unknown = thrown instanceof AggregateError ? thrown.errors[0] : thrown;
  if (inner instanceof ShoalError) return inner;
  const code = inner instanceof Error && 'code' in inner ? String(inner.code) : '';
  if (/CERT|SIGNATURE|ISSUER/.test(code) && WORDS[code] === undefined) {
    return failed(url, `has a certificate that is not trusted (${code})`, thrown);
  }
  return failed(url, WORDS[code] ?? `could not be asked (${code === '' ? 'no answer in HTTP' : code})`, thrown);
}
