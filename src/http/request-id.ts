import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** Ids of callers that may be carried on: printable, short enough for a log line. */
const ACCEPTED = /^[\x21-\x7e]{1,128}$/;

/** Makes request ids: the caller's own where it sends `x-request-id`, else one that is new. */
export function requestIds(): (request: Pick<IncomingMessage, 'headers'>) => string {
  const prefix = randomBytes(4).toString('hex');
  let count = 0;
  return ({ headers }) => {
    const given = headers['x-request-id'];
    if (typeof given === 'string' && ACCEPTED.test(given)) return given;
    count++;
    return `${prefix}-${count.toString(36)}`;
  };
}
