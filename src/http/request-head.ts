import type { IncomingMessage } from 'node:http';
import { invalid, ShoalError } from '../errors.ts';
import { readContentEncoding } from './content-coding.ts';
import { refuseCrossOrigin } from './cross-origin.ts';

type Head = Pick<IncomingMessage, 'headers' | 'rawHeaders' | 'httpVersion'>;

/**
 * Refuses, before any of the body is read, what the headers of a request say that this server does not do. Nothing of
 * it may be ignored: whoever sends it relies on it.
 *
 * @throws {ShoalError} INVALID_REQUEST, UNSUPPORTED_ENCODING, UNIMPLEMENTED or CROSS_ORIGIN.
 */
export function refuseHead({ headers, rawHeaders, httpVersion }: Head): void {
  const { host, origin, expect } = headers;
  refuseHost(host, rawHeaders, httpVersion);
  if (expect !== undefined && expect.toLowerCase() !== '100-continue') {
    throw invalid(`the expectation ${expect} is not known, only 100-continue`);
  }
  const content = headers['content-encoding'];
  if (content !== undefined && readContentEncoding(content) === null) {
    throw new ShoalError('UNSUPPORTED_ENCODING', `the Content-Encoding is ${content}, expected gzip, deflate, or none`);
  }
  const transfer = headers['transfer-encoding'];
  if (transfer !== undefined) refuseTransfer(transfer, httpVersion);
  refuseCrossOrigin(origin, host);
}

/** Node's parser takes these for requests, too. */
const VERSIONS: ReadonlySet<string> = new Set(['1.1', '1.0']);

let hostSeen = '';

/** RFC 9112, section 3.2: one Host, and a well-formed one; others might route the request by another than we take. */
function refuseHost(host: string | undefined, rawHeaders: readonly string[], httpVersion: string): void {
  // A host app may speak true HTTP/2, which has pseudo-headers.
  if (!VERSIONS.has(httpVersion) && !rawHeaders[0]?.startsWith(':')) {
    throw invalid(`the request is HTTP/${httpVersion}, expected HTTP/1.1 or HTTP/1.0`);
  }
  if (host === undefined) {
    if (httpVersion === '1.1') throw invalid('the request has no Host header');
    return;
  }
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    if (name.length === 4 && name.toLowerCase() === 'host') count++;
  }
  if (count > 1) throw invalid('the request has more than one Host header');
  // The same clients send the same one again and again.
  if (host === hostSeen) return;
  if (/[^\w.~%!$&'()*+,;=:[\]-]/.test(host))
    throw invalid(`the Host header is ${JSON.stringify(host)}, which is no host`);
  hostSeen = host;
}

/** RFC 9112, section 6.1. Node's parser has refused what does not end with `chunked`. */
function refuseTransfer(transfer: string, httpVersion: string): void {
  if (httpVersion !== '1.1') throw invalid(`the request is HTTP/${httpVersion} and has a Transfer-Encoding`);
  if (transfer.toLowerCase() === 'chunked') return;
  if (transfer === '') throw invalid('the Transfer-Encoding is empty, expected chunked');
  throw new ShoalError('UNIMPLEMENTED', `the Transfer-Encoding is ${transfer}, only chunked is implemented`);
}
