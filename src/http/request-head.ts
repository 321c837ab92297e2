import type { IncomingMessage } from 'node:http';
import { invalid, ShoalError } from '../errors.ts';
import { refuseCrossOrigin } from './cross-origin.ts';

/**
 * Refuses, before any of the body is read, what the headers of a request say that this server does not do. Nothing of
 * it may be ignored: whoever sends it relies on it.
 *
 * @throws {ShoalError} INVALID_REQUEST, UNSUPPORTED_ENCODING or CROSS_ORIGIN.
 */
export function refuseHead({ headers, httpVersion }: Pick<IncomingMessage, 'headers' | 'httpVersion'>): void {
  const { host, origin, expect } = headers;
  if (host === undefined && httpVersion === '1.1') throw invalid('the request has no Host header');
  if (expect !== undefined && expect.toLowerCase() !== '100-continue') {
    throw invalid(`the expectation ${expect} is not known, only 100-continue`);
  }
  const content = headers['content-encoding'];
  if (content !== undefined && content !== '' && content.toLowerCase() !== 'identity') {
    throw unsupported(`must not be compressed; this one has Content-Encoding ${content}`);
  }
  const transfer = headers['transfer-encoding'];
  if (transfer !== undefined && transfer.toLowerCase() !== 'chunked') {
    throw unsupported(`may be chunked and nothing else; this one has Transfer-Encoding ${transfer}`);
  }
  refuseCrossOrigin(origin, host);
}

function unsupported(text: string): ShoalError {
  return new ShoalError('UNSUPPORTED_ENCODING', `request bodies ${text}`);
}
