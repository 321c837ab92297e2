import type { FastifyRequest } from 'fastify';
import { ShoalError } from '../../errors.ts';
import type { CompiledField } from '../../pipeline/compiled-field.ts';
import { takesMediaType } from '../../pipeline/fields.ts';
import type { PipelineVersion } from '../../pipeline/pipeline-version.ts';

type BytesInput = Extract<CompiledField, { kind: 'bytes' }>;

/** Bytes of which nothing more is said. */
export const OCTETS = 'application/octet-stream';

export const MULTIPART = 'multipart/form-data';

/** What clients that send JSON may call it: `fetch` says text/plain of a string, curl that it is a form. */
const SAID_OF_JSON: ReadonlySet<string> = new Set(['', 'text/plain', 'application/x-www-form-urlencoded']);

/** The header `Content-Type` as it was sent; the routes' hook has taken it out of the parsed ones. Empty without one. */
export function contentTypeOf({ raw: { rawHeaders } }: FastifyRequest): string {
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    if (name.length === 12 && name.toLowerCase() === 'content-type') return rawHeaders[i + 1]!;
  }
  return '';
}

/** A content type without its parameters, in lower case. */
export function mediaTypeOf(contentType: string): string {
  return contentType.split(';', 1)[0]!.trim().toLowerCase();
}

/**
 * The field that takes a body of this media type as it is; undefined where the body is JSON.
 *
 * @throws {ShoalError} UNSUPPORTED_MEDIA_TYPE where it is neither.
 */
export function rawFieldFor(pipeline: PipelineVersion, type: string): BytesInput | undefined {
  const fields = pipeline.inputs.filter((field): field is BytesInput => field.kind === 'bytes');
  const only = fields.length === 1 ? fields[0] : undefined;
  if (type === 'application/json' || type.endsWith('+json')) return undefined;
  if (only !== undefined && takes(only, type) && !(SAID_OF_JSON.has(type) && only.field.mediaTypes === undefined)) {
    return only;
  }
  if (SAID_OF_JSON.has(type)) return undefined;
  const raw = only === undefined ? '' : `, or ${describeTypes(only)}`;
  throw unsupported(`the Content-Type is ${quoted(type)}, expected application/json or ${MULTIPART}${raw}`);
}

/** Whether a field takes bytes of a type; what nothing is said of may be anything. */
function takes({ field }: BytesInput, type: string): boolean {
  return type === OCTETS || takesMediaType(field, type);
}

/** @throws {ShoalError} UNSUPPORTED_MEDIA_TYPE for a file of a type that its field does not take. */
export function checkFileType(field: BytesInput, type: string): void {
  if (takes(field, type)) return;
  throw unsupported(`input '${field.name}' is ${quoted(type)}, expected ${describeTypes(field)}`);
}

/** The error for bodies of a kind that is not taken. */
export function unsupported(message: string): ShoalError {
  return new ShoalError('UNSUPPORTED_MEDIA_TYPE', message);
}

function describeTypes({ field }: BytesInput): string {
  return [...(field.mediaTypes ?? ['any type']), OCTETS].join(', ');
}

function quoted(type: string): string {
  return JSON.stringify(type.slice(0, 80));
}
