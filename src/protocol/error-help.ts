import type { ErrorCode } from '../errors.ts';

/**
 * What each code means and what the caller can do, for the README and the OpenAPI document. A new code does not compile
 * until it stands here.
 */
export const ERROR_HELP: Readonly<Record<ErrorCode, string>> = {
  INVALID_REQUEST:
    'The request is malformed, or a name, datatype, shape, count or value does not fit the model. The message names the field, what came and what was expected. Sending it again will not help.',
  LOAD_FAILED:
    'A model that was to be loaded by a request could not be; the message says why. What served before goes on serving.',
  CROSS_ORIGIN: 'A page of another origin sent the request from a browser; that is refused by default.',
  NOT_FOUND: 'There is nothing at this path.',
  MODEL_NOT_FOUND: 'No model of this name, or no such version of it.',
  METHOD_NOT_ALLOWED: 'The path exists, the method does not; `Allow` names those that do.',
  BODY_TIMEOUT: 'The request, headers or body, did not arrive in time.',
  CONFLICT:
    'What is asked for does not go with what is there: the model is being trained already, or there is no earlier version to go back to. The message says which.',
  BODY_TOO_LARGE: 'The body is larger than `--body-limit`. It was read no further.',
  UNSUPPORTED_ENCODING: 'The body has a content encoding other than gzip and deflate, or several.',
  UNSUPPORTED_MEDIA_TYPE: 'A pipeline takes no body, or no file, of this content type.',
  QUEUE_FULL: 'Too many rows or bytes are waiting for this model already. Try again after `Retry-After` seconds.',
  DEADLINE_UNREACHABLE:
    'What is waiting already takes longer than this request may. Try again after `Retry-After` seconds.',
  HEADERS_TOO_LARGE: 'The headers of the request are too large.',
  CANCELLED: 'The caller left before its request was run. Nothing is sent; the number stands in logs and metrics only.',
  INFERENCE_FAILED:
    'ONNX Runtime could not run this request, the others of its batch were answered; or the code of a pipeline failed, and the log says how.',
  INTERNAL: 'A fault of the server. The log has the details.',
  UNIMPLEMENTED: 'The protocol has this, Shoal does not; what it has is among the `extensions` of `GET /v2`.',
  REMOTE_FAILED:
    'The host of an address in the request did not give what was asked for; the message names the input and the host, and says what happened.',
  MODEL_NOT_READY: 'The model is known but loading, draining, unloaded or failed; the message says which and why.',
  EXECUTOR_LOST: 'The process that ran this request died, and died again on the one retry.',
  SHUTTING_DOWN: 'The server is draining and takes nothing new.',
  CONTROL_DISABLED:
    'Models are loaded and unloaded by requests only with `--model-control-mode explicit`, which is not set.',
  DEADLINE_EXCEEDED: 'The time the request may take passed while it waited or ran.',
  REMOTE_TIMEOUT: 'The host of an address in the request did not give what was asked for within `--remote-timeout`.',
  STORAGE_FAILED:
    'Examples could not be written to `--training-dir`: the disk is full or fails, or the model has as many as it may have. Nothing of the request was stored.',
};
