import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';

/** A body up to this declared length is read and thrown away, so that the connection can be kept. */
const KEPT_UP_TO_BYTES = 2 ** 20;

/** How much of a larger one is thrown away, and for how long, before the connection is cut. */
const LINGER_BYTES = 64 * 2 ** 20;
const LINGER_MS = 5000;

/** Whether a request that is answered now may go on with so much body that its connection has to be closed. */
export function hasMuchToCome({ complete, headers }: Pick<IncomingMessage, 'complete' | 'headers'>): boolean {
  if (complete) return false;
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > KEPT_UP_TO_BYTES;
}

/**
 * The body of an early answer as a stream that does not end before the client has sent its request, or has gone on for
 * too long. A connection that is closed with unread data is reset, and the reset takes the answer away from clients
 * that write all of a request before they read (RFC 9112, section 9.6).
 */
export function lingeringBody(body: Buffer, request: IncomingMessage): Readable {
  let unread = LINGER_BYTES;
  const onData = (chunk: Buffer): void => {
    unread -= chunk.length;
    if (unread < 0) end();
  };
  const end = (): void => {
    clearTimeout(timer);
    request.off('data', onData);
    if (!stream.destroyed) stream.push(null);
  };
  const stream = new Readable({
    read() {},
    destroy(error, done) {
      clearTimeout(timer);
      request.off('data', onData);
      done(error);
    },
  });
  const timer = setTimeout(end, LINGER_MS);
  stream.push(body);
  request.on('data', onData);
  // It comes in any case: after the end, or when the connection breaks.
  request.once('close', end);
  request.resume();
  return stream;
}
