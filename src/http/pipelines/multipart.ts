import type { MultipartFile, MultipartValue } from '@fastify/multipart';
import type { FastifyRequest } from 'fastify';
import { invalid, messageOf, ShoalError } from '../../errors.ts';
import type { CompiledField } from '../../pipeline/compiled-field.ts';
import { unknownInput, type Values } from '../../pipeline/field-tensors.ts';
import type { PipelineVersion } from '../../pipeline/pipeline-version.ts';
import { runSliced } from '../../protocol/sliced.ts';
import { MAX_ENVELOPE_BYTES } from '../json-cursor.ts';
import { checkFileType, mediaTypeOf } from './media-type.ts';
import { readText } from './text-value.ts';

/** Headers of a part: name, type, and what clients add. */
const MAX_PART_HEADERS = 16;

/** What the plugin says of a form that is not as it should be. */
const TEXTS: Readonly<Record<string, string>> = {
  FST_PARTS_LIMIT: 'the form has more parts than there are inputs',
  FST_FILES_LIMIT: 'the form has more parts than there are inputs',
  FST_FIELDS_LIMIT: 'the form has more parts than there are inputs',
  FST_PROTO_VIOLATION: 'the form has a part whose name no input has',
  FST_INVALID_JSON_FIELD_ERROR: 'the form has a part that is said to be JSON and is none',
};

/**
 * Reads a form: files for bytes, texts for the others; a file may also hold the text of any input.
 *
 * @throws {ShoalError} INVALID_REQUEST, BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, or CANCELLED when the caller left.
 */
export async function readForm(
  request: FastifyRequest,
  pipeline: PipelineVersion,
  limitBytes: number,
): Promise<Values> {
  const what = `pipeline '${pipeline.name}'`;
  const fields = new Map(pipeline.inputs.map((field) => [field.name, field]));
  const values: Record<string, unknown> = {};
  const limits = {
    parts: fields.size,
    files: fields.size,
    fields: fields.size,
    fileSize: limitBytes,
    fieldSize: MAX_ENVELOPE_BYTES,
    headerPairs: MAX_PART_HEADERS,
  };
  let bytes = 0;
  const count = (size: number): void => {
    bytes += size;
    if (bytes > limitBytes) throw tooLarge();
  };
  try {
    for await (const part of request.parts({ limits })) {
      const { fieldname } = part;
      const field = fields.get(fieldname);
      if (field === undefined) throw unknownInput(what, fieldname, [...fields.keys()]);
      if (Object.hasOwn(values, fieldname)) throw invalid(`the form has input '${fieldname}' twice`);
      values[fieldname] =
        part.type === 'file' ? await readFile(part, field, what, count) : await readField(part, field, what, count);
    }
  } catch (thrown) {
    // What is left of the form must not stand between this request and the next.
    request.raw.unpipe();
    request.raw.resume();
    throw formError(thrown);
  }
  return values;
}

async function readFile(
  part: MultipartFile,
  field: CompiledField,
  what: string,
  count: (size: number) => void,
): Promise<unknown> {
  if (field.kind === 'bytes') checkFileType(field, mediaTypeOf(part.mimetype));
  const chunks: Buffer[] = [];
  for await (const chunk of part.file as AsyncIterable<Buffer>) {
    count(chunk.length);
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  return field.kind === 'bytes' ? bytes : runSliced(readText(field, bytes.toString(), what));
}

async function readField(
  part: MultipartValue,
  field: CompiledField,
  what: string,
  count: (size: number) => void,
): Promise<unknown> {
  const { value, mimetype, valueTruncated } = part as MultipartValue & { readonly valueTruncated?: boolean };
  if (valueTruncated) {
    throw invalid(`input '${field.name}' is a text of more than ${MAX_ENVELOPE_BYTES} bytes; send it as a file`);
  }
  if (field.kind === 'bytes') throw invalid(`input '${field.name}' is a text, expected a file`);
  // The plugin has parsed what is said to be JSON.
  const isParsed = mediaTypeOf(mimetype) === 'application/json';
  const isString = field.kind === 'json' && field.form === 'string' && !field.isList && typeof value === 'string';
  const text = isParsed && !isString ? JSON.stringify(value) : String(value);
  count(text.length);
  return runSliced(readText(field, text, what));
}

/** @returns the error for a body over the limit. */
export function tooLarge(): ShoalError {
  return new ShoalError('BODY_TOO_LARGE', 'the request body is larger than --body-limit of this server');
}

/** What the plugin or its parser threw, in our words. */
function formError(thrown: unknown): unknown {
  if (thrown instanceof ShoalError) return thrown;
  const code = String((thrown as { readonly code?: unknown }).code);
  if (code === 'FST_REQ_FILE_TOO_LARGE') return tooLarge();
  if (code === 'FST_MP_PREMATURE_CLOSE') return new ShoalError('CANCELLED', 'the caller left');
  return invalid(TEXTS[code] ?? `the form is not well-formed: ${messageOf(thrown)}`);
}
