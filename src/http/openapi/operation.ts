import type { ErrorCode } from '../../errors.ts';
import { JSON_TYPE } from '../replies.ts';
import type { ErrorResponses } from './errors.ts';
import { type Json, ref } from './json-schema.ts';

/** What is said of an operation. */
export interface OperationText {
  readonly id: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  readonly parameters?: readonly Json[];
  readonly requestBody?: Json;
  /** The response of status 200. */
  readonly ok: Json;
  /** Beside {@link ALWAYS}. */
  readonly errors?: readonly ErrorCode[];
  /** See {@link ErrorResponses.of}. */
  readonly errorBodies?: Readonly<Record<number, string>>;
}

/** What any request may be answered with, for its head alone. */
const ALWAYS: readonly ErrorCode[] = ['INVALID_REQUEST', 'CROSS_ORIGIN', 'UNSUPPORTED_ENCODING'];

/** What any request with a body may be answered with. */
export const BODY_ERRORS: readonly ErrorCode[] = ['BODY_TIMEOUT', 'BODY_TOO_LARGE', 'INTERNAL'];

/** An operation of the document. */
export function operation(text: OperationText, responses: ErrorResponses): Json {
  const { id, tag, summary, description, parameters, requestBody, ok, errors = [], errorBodies } = text;
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    ...(parameters === undefined ? {} : { parameters }),
    ...(requestBody === undefined ? {} : { requestBody }),
    responses: { 200: ok, ...responses.of([...ALWAYS, ...errors], errorBodies) },
  };
}

/** A response in JSON whose schema is a component. */
export function jsonReply(description: string, schema: string): Json {
  return { description, content: { [JSON_TYPE]: { schema: ref('schemas', schema) } } };
}

/** A body of JSON that may be left out. */
export function optionalBody(properties: Json, extra: Json = {}): Json {
  return { required: false, content: { [JSON_TYPE]: { schema: { type: 'object', properties, ...extra } } } };
}
