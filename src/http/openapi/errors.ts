import { type ErrorCode, STATUS } from '../../errors.ts';
import { ERROR_HELP } from '../../protocol/error-help.ts';
import { ERROR_CODE_HEADER, JSON_TYPE } from '../replies.ts';
import { type Json, object, ref } from './json-schema.ts';

/** What an error of each code says, as an example. A new code does not compile until it stands here. */
const MESSAGES: Readonly<Record<ErrorCode, string>> = {
  INVALID_REQUEST: "input 'image' of model 'mnist-cnn' has shape [1,28,28], expected [-1,1,28,28]",
  LOAD_FAILED: "model 'mnist-cnn' was not loaded: version 2: there is no file model.onnx; serving: version 1",
  CROSS_ORIGIN: 'requests from pages of another origin (https://example.com) are refused; let a proxy allow them',
  NOT_FOUND: 'there is nothing at GET /v3',
  MODEL_NOT_FOUND: "there is no model 'mnist'",
  METHOD_NOT_ALLOWED: 'PUT is not allowed here, only POST',
  BODY_TIMEOUT: 'the request did not arrive in time',
  CONFLICT: "model 'mnist-cnn' is being trained already, by training 3",
  BODY_TOO_LARGE: 'the request body is larger than --body-limit of this server',
  UNSUPPORTED_ENCODING: 'request bodies may be chunked and nothing else; this one has Transfer-Encoding gzip',
  UNSUPPORTED_MEDIA_TYPE: 'the Content-Type is "text/html", expected application/json or multipart/form-data',
  QUEUE_FULL: "too many rows are waiting for model 'mnist-cnn'",
  DEADLINE_UNREACHABLE: "what is waiting for model 'mnist-cnn' takes longer than this request may",
  HEADERS_TOO_LARGE: 'the headers of the request are too large',
  CANCELLED: 'the caller left',
  INFERENCE_FAILED: "ONNX Runtime could not run the request to model 'mnist-cnn'",
  INTERNAL: 'the server failed to handle the request; its log says why',
  UNIMPLEMENTED: 'tracing is not implemented by this server',
  REMOTE_FAILED: "input 'image': host 'data.example.org' answers with status 404",
  MODEL_NOT_READY: "model 'mnist-cnn' is loading",
  EXECUTOR_LOST: "the process that ran model 'mnist-cnn' died while it ran this request",
  SHUTTING_DOWN: 'the server is shutting down',
  CONTROL_DISABLED:
    'models are not loaded and unloaded by requests: the server was started without --model-control-mode explicit',
  DEADLINE_EXCEEDED: 'the time that the request may take has passed',
  REMOTE_TIMEOUT: "input 'image': host 'data.example.org' did not answer within 10000 ms",
  STORAGE_FAILED: 'the examples could not be stored: ENOSPC: no space left on device',
};

/** Codes that say when to try again. */
const RETRIED: ReadonlySet<ErrorCode> = new Set(['QUEUE_FULL', 'DEADLINE_UNREACHABLE']);

/** The body of every error. */
export const ERROR_SCHEMA: Json = object(
  { error: { type: 'string', minLength: 1, description: 'One line for people; match on the header, not on this.' } },
  { additionalProperties: false },
);

/** The error responses of operations. Operations that have the same codes for a status share one component. */
export class ErrorResponses {
  readonly components: Record<string, Json> = {};

  /**
   * References by status.
   *
   * @param bodies for statuses whose body is not the usual one: the name of its schema.
   */
  of(codes: readonly ErrorCode[], bodies: Readonly<Record<number, string>> = {}): Json {
    const byStatus: Map<number, ErrorCode[]> = new Map();
    for (const code of codes) byStatus.set(STATUS[code], [...(byStatus.get(STATUS[code]) ?? []), code]);
    const responses: Record<string, Json> = {};
    for (const [status, same] of [...byStatus].sort(([a], [b]) => a - b)) {
      const body = bodies[status] ?? 'Error';
      const name = [...same, ...(body === 'Error' ? [] : [body])].join('.');
      this.components[name] ??= errorResponse(same, body);
      responses[status] = ref('responses', name);
    }
    return responses;
  }
}

function errorResponse(codes: readonly ErrorCode[], body: string): Json {
  const known = codes.map((code) => [code, { summary: code, value: { error: MESSAGES[code] } }] as const);
  const retry = codes.some((code) => RETRIED.has(code)) ? { 'Retry-After': ref('headers', 'RetryAfter') } : {};
  return {
    description: codes.map((code) => `**${code}**: ${ERROR_HELP[code]}`).join('\n\n'),
    headers: {
      [ERROR_CODE_HEADER]: {
        description: 'The stable code of the error.',
        required: true,
        schema: { type: 'string', enum: codes },
      },
      'x-request-id': ref('headers', 'RequestId'),
      ...retry,
    },
    content: {
      [JSON_TYPE]: {
        schema: ref('schemas', body),
        ...(body === 'Error' ? { examples: Object.fromEntries(known) } : {}),
      },
    },
  };
}
