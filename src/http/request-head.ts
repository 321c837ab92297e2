import type { IncomingMessage } from 'node:http';
import { invalid, ShoalError } from '../errors.ts';
import { readContentEncoding } from './content-coding.ts';
import { refuseCrossOrigin } from './cross-origin.ts';

/**
 * Refuses, before any of the body is read, what the headers of a request say that this server does not do. Nothing of
 * it may be ignored: whoever sends it relies on it.
 *
 * @throws {ShoalError} INVALID_REQUEST, UNSUPPORTED_ENCODING, UNIMPLEMENTED or CROSS_ORIGIN.
 */
export function refuseHead({ headers, httpVersion }: Pick<IncomingMessage, 'headers' | 'httpVersion'>): void {
  const { host, origin, expect } = headers;
  if (host === undefined && httpVersion === '1.1') throw invalid('the request has no Host header');
  if (expect !== undefined && expect.toLowerCase() !== '100-continue') {
    throw invalid(`the expectation ${expect} is not known, only 100-continue`);
  }
  if (readContentEncoding(headers['content-encoding']) === null) {
    throw new ShoalError(
      'UNSUPPORTED_ENCODING',
      `the Content-Encoding is ${headers['content-encoding']}, expected gzip, deflate, or none`,
    );
  }
  const transfer = headers['transfer-encoding'];
  if (transfer !== undefined && transfer.toLowerCase() !== 'chunked') {
    // RFC 9112, section 6.1.
    throw new ShoalError('UNIMPLEMENTED', `the Transfer-Encoding is ${transfer}, only chunked is implemented`);
  }
  refuseCrossOrigin(origin, host);
}
