import { Metadata, type ServiceError, type StatusObject, status } from '@grpc/grpc-js';
import { type ErrorCode, ShoalError, toShoalError } from '../errors.ts';
import type { Logger } from '../logging.ts';

/** The one table from code to gRPC status. A new code does not compile until it stands here. */
export const GRPC_STATUS: Readonly<Record<ErrorCode, status>> = {
  INVALID_REQUEST: status.INVALID_ARGUMENT,
  LOAD_FAILED: status.INVALID_ARGUMENT,
  CROSS_ORIGIN: status.PERMISSION_DENIED,
  NOT_FOUND: status.NOT_FOUND,
  MODEL_NOT_FOUND: status.NOT_FOUND,
  METHOD_NOT_ALLOWED: status.UNIMPLEMENTED,
  BODY_TIMEOUT: status.DEADLINE_EXCEEDED,
  CONFLICT: status.FAILED_PRECONDITION,
  BODY_TOO_LARGE: status.RESOURCE_EXHAUSTED,
  UNSUPPORTED_ENCODING: status.UNIMPLEMENTED,
  UNSUPPORTED_MEDIA_TYPE: status.INVALID_ARGUMENT,
  QUEUE_FULL: status.RESOURCE_EXHAUSTED,
  DEADLINE_UNREACHABLE: status.RESOURCE_EXHAUSTED,
  HEADERS_TOO_LARGE: status.RESOURCE_EXHAUSTED,
  CANCELLED: status.CANCELLED,
  INFERENCE_FAILED: status.INTERNAL,
  INTERNAL: status.INTERNAL,
  UNIMPLEMENTED: status.UNIMPLEMENTED,
  REMOTE_FAILED: status.UNAVAILABLE,
  CONTROL_DISABLED: status.UNAVAILABLE,
  MODEL_NOT_READY: status.UNAVAILABLE,
  EXECUTOR_LOST: status.UNAVAILABLE,
  SHUTTING_DOWN: status.UNAVAILABLE,
  DEADLINE_EXCEEDED: status.DEADLINE_EXCEEDED,
  REMOTE_TIMEOUT: status.DEADLINE_EXCEEDED,
  STORAGE_FAILED: status.RESOURCE_EXHAUSTED,
};

/** Trailer with the stable code of an error, as over HTTP. */
export const ERROR_CODE_TRAILER = 'shoal-error-code';

/** Trailer by which a server tells gRPC clients that retry by themselves when to do so, in milliseconds. */
const PUSHBACK_TRAILER = 'grpc-retry-pushback-ms';

// Trailers have to fit into what clients take as headers, percent-encoded.
const MAX_DETAILS_LENGTH = 800;

/**
 * Anything thrown as what the caller is told: what is no {@link ShoalError} is logged, and the caller gets to know
 * that the server is at fault.
 */
export function publicError(thrown: unknown, logger: Logger): ShoalError {
  const error = toShoalError(thrown);
  if (error.code !== 'INTERNAL') return error;
  logger.error({ err: thrown }, 'a gRPC call failed for a reason of the server');
  return new ShoalError('INTERNAL', 'the server failed to handle the request; its log says why');
}

/** An error as the status of a call. @param trailers further ones; they are added to. */
export function statusOf(error: ShoalError, trailers: Metadata = new Metadata()): StatusObject {
  trailers.set(ERROR_CODE_TRAILER, error.code);
  if (error.retryAfterSeconds !== undefined) {
    trailers.set(PUSHBACK_TRAILER, String(Math.ceil(error.retryAfterSeconds * 1000)));
  }
  return { code: GRPC_STATUS[error.code], details: detailsOf(error), metadata: trailers };
}

/** {@link statusOf} as an error, which ends a stream. */
export function streamError(error: ShoalError): ServiceError {
  return Object.assign(new Error(error.message), statusOf(error));
}

function detailsOf({ message }: ShoalError): string {
  const short = message.length > MAX_DETAILS_LENGTH ? `${message.slice(0, MAX_DETAILS_LENGTH)}…` : message;
  // Half a pair cannot be percent-encoded.
  return short.replace(/\p{Cs}/gu, '\ufffd');
}
