/**
 * Stable codes of everything that can go wrong. Match on these, never on message texts.
 *
 * The HTTP status of each code is in {@link STATUS}; the README's error table is checked against both.
 */
export type ErrorCode =
  | 'INVALID_REQUEST'
  | 'LOAD_FAILED'
  | 'CROSS_ORIGIN'
  | 'NOT_FOUND'
  | 'MODEL_NOT_FOUND'
  | 'METHOD_NOT_ALLOWED'
  | 'BODY_TIMEOUT'
  | 'CONFLICT'
  | 'BODY_TOO_LARGE'
  | 'UNSUPPORTED_ENCODING'
  | 'UNSUPPORTED_MEDIA_TYPE'
  | 'QUEUE_FULL'
  | 'DEADLINE_UNREACHABLE'
  | 'HEADERS_TOO_LARGE'
  | 'CANCELLED'
  | 'INFERENCE_FAILED'
  | 'INTERNAL'
  | 'UNIMPLEMENTED'
  | 'REMOTE_FAILED'
  | 'MODEL_NOT_READY'
  | 'EXECUTOR_LOST'
  | 'SHUTTING_DOWN'
  | 'CONTROL_DISABLED'
  | 'DEADLINE_EXCEEDED'
  | 'REMOTE_TIMEOUT'
  | 'STORAGE_FAILED';

/** The one table from code to HTTP status. A new code does not compile until it stands here. */
export const STATUS: Readonly<Record<ErrorCode, number>> = {
  INVALID_REQUEST: 400,
  LOAD_FAILED: 400,
  CROSS_ORIGIN: 403,
  NOT_FOUND: 404,
  MODEL_NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  BODY_TIMEOUT: 408,
  CONFLICT: 409,
  BODY_TOO_LARGE: 413,
  UNSUPPORTED_ENCODING: 415,
  UNSUPPORTED_MEDIA_TYPE: 415,
  QUEUE_FULL: 429,
  DEADLINE_UNREACHABLE: 429,
  HEADERS_TOO_LARGE: 431,
  // Never sent: the caller is gone. The number serves logs and metrics only.
  CANCELLED: 499,
  INFERENCE_FAILED: 500,
  INTERNAL: 500,
  UNIMPLEMENTED: 501,
  REMOTE_FAILED: 502,
  MODEL_NOT_READY: 503,
  EXECUTOR_LOST: 503,
  SHUTTING_DOWN: 503,
  CONTROL_DISABLED: 503,
  DEADLINE_EXCEEDED: 504,
  REMOTE_TIMEOUT: 504,
  STORAGE_FAILED: 507,
};

/** An error with a stable code, whose message is meant for the caller: one line that names what was wrong. */
export class ShoalError extends Error {
  readonly code: ErrorCode;
  /** Seconds after which trying again makes sense; sent as `Retry-After`. */
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, options: { retryAfterSeconds?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ShoalError';
    this.code = code;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** The most used of all errors: the caller's request is wrong. */
export function invalid(message: string): ShoalError {
  return new ShoalError('INVALID_REQUEST', message);
}

/** Anything thrown as a {@link ShoalError}; what is none becomes INTERNAL. */
export function toShoalError(thrown: unknown): ShoalError {
  return thrown instanceof ShoalError ? thrown : new ShoalError('INTERNAL', messageOf(thrown), { cause: thrown });
}

/** The message of anything thrown, on one line. */
export function messageOf(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return text.replace(/\s+/g, ' ').trim();
}

/** Why a server cannot start serving; each has a message that says what to do. */
export type ServeErrorCode =
  | 'MODELS_MISSING'
  | 'NAME_TWICE'
  | 'NAME_INVALID'
  | 'PIPELINE_INVALID'
  | 'TRAINING_DIR'
  | 'TRACE_FILE';

/** The server cannot start: something around it, not a request, is wrong. */
export class ServeError extends Error {
  override name = 'ServeError';
  readonly code: ServeErrorCode;

  constructor(code: ServeErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
