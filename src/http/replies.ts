import type { FastifyReply, FastifyRequest } from 'fastify';
import { type ErrorCode, ShoalError, STATUS, toShoalError } from '../errors.ts';
import type { Logger } from '../logging.ts';
import { SUPPORTED_CODINGS } from './content-coding.ts';
import { hasMuchToCome, lingeringBody } from './linger.ts';

/** `application/json` without parameters: some clients compare the header for equality. */
export const JSON_TYPE = 'application/json';

/** Header that carries the stable code of an error; the body has no key but `error`, for some clients reject others. */
export const ERROR_CODE_HEADER = 'shoal-error-code';

/** Sends `value` as JSON. A Buffer, because Fastify adds a charset to anything else. */
export function sendJson(reply: FastifyReply, status: number, value: unknown): FastifyReply {
  return reply
    .code(status)
    .header('content-type', JSON_TYPE)
    .send(Buffer.from(JSON.stringify(value)));
}

/** Sends an error as `{"error": text}` with its status; further keys of the body only where the protocol has them. */
export function sendError(reply: FastifyReply, error: ShoalError, extra: object = {}): FastifyReply {
  reply.header(ERROR_CODE_HEADER, error.code).header('x-request-id', reply.request.id);
  if (error.retryAfterSeconds !== undefined) reply.header('retry-after', String(error.retryAfterSeconds));
  if (error.code === 'UNSUPPORTED_ENCODING') reply.header('accept-encoding', SUPPORTED_CODINGS);
  const body = { error: error.message, ...extra };
  const { raw } = reply.request;
  if (!hasMuchToCome(raw)) return sendJson(reply, STATUS[error.code], body);
  const bytes = Buffer.from(JSON.stringify(body));
  return reply
    .code(STATUS[error.code])
    .header('content-type', JSON_TYPE)
    .header('content-length', String(bytes.length))
    .header('connection', 'close')
    .send(lingeringBody(bytes, raw));
}

/** What is known of Fastify's and Node's own errors; their texts are replaced by ours. */
const KNOWN_CODES: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['BODY_TOO_LARGE', 'the request body is larger than --body-limit of this server'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['INVALID_REQUEST', 'the request body is not as long as Content-Length says'],
  FST_ERR_NOT_FOUND: ['NOT_FOUND', 'there is nothing at this path for this method'],
  FST_ERR_BAD_URL: ['INVALID_REQUEST', 'the path of the URL is not well-formed'],
  // The client left while its body was being read.
  ECONNRESET: ['CANCELLED', 'the caller left'],
  FST_ERR_MAX_PARAM_LENGTH: ['MODEL_NOT_FOUND', 'the name in the path is too long for any model'],
};

/** Anything a handler or Fastify itself threw, as an error with a code. */
export function errorFrom(thrown: unknown): ShoalError {
  if (thrown instanceof ShoalError) return thrown;
  if (thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string') {
    const known = KNOWN_CODES[thrown.code];
    if (known !== undefined) return new ShoalError(known[0], known[1]);
    const status = 'statusCode' in thrown ? Number(thrown.statusCode) : 500;
    if (status >= 400 && status < 500) return new ShoalError('INVALID_REQUEST', thrown.message);
  }
  return toShoalError(thrown);
}

/** Answers every error of every route. */
export function handleError(thrown: unknown, request: FastifyRequest, reply: FastifyReply, logger: Logger): void {
  const error = errorFrom(thrown);
  if (error.code === 'CANCELLED' || reply.raw.destroyed) {
    // Nobody is there to read it.
    reply.hijack();
    reply.raw.destroy();
    return;
  }
  if (error.code === 'INTERNAL') {
    const { traceparent } = request.headers;
    logger.error({ err: thrown, reqId: request.id, traceparent }, 'a request failed for a reason of the server');
    sendError(reply, new ShoalError('INTERNAL', 'the server failed to handle the request; its log says why'));
    return;
  }
  sendError(reply, error);
}
