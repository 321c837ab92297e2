import type { CompiledField } from '../../pipeline/compiled-field.ts';
import { OCTETS } from '../pipelines/media-type.ts';
import { BASE64, predictReplyElement, predictRequestElement } from './element-schemas.ts';
import type { Json } from './json-schema.ts';
import { nestedSchema, replyDims, requestDims } from './tensor-schemas.ts';

/** Bytes that are not JSON, as the tools that show documents know them. */
export const BINARY: Json = { type: 'string', format: 'binary' };

const BASE64_TEXT: Json = { type: 'string', contentEncoding: 'base64' };

/** The object of all inputs in plain JSON. */
export function inputObject(fields: readonly CompiledField[]): Json {
  return objectOf(fields, inputSchema);
}

/** The object of all outputs. @param bytes how bytes are written. */
export function outputObject(fields: readonly CompiledField[], bytes: Json = BASE64_TEXT): Json {
  return objectOf(fields, (field) => outputSchema(field, bytes));
}

/** An input in plain JSON. */
export function inputSchema(field: CompiledField): Json {
  if (field.kind === 'json') return jsonSchema(field);
  if (field.kind === 'bytes') return { anyOf: [BASE64_TEXT, BASE64], description: describeBytes(field) };
  const { spec } = field;
  return nestedSchema(predictRequestElement(spec.datatype), requestDims(spec, { ...NO_SIGNATURE }, 1));
}

/** An output in JSON. @param bytes how bytes are written. */
export function outputSchema(field: CompiledField, bytes: Json = BASE64_TEXT): Json {
  if (field.kind === 'json') return jsonSchema(field);
  if (field.kind === 'bytes') return bytes;
  return nestedSchema(predictReplyElement(field.spec.datatype), replyDims(field.spec));
}

/** The parts of a form. */
export function formObject(fields: readonly CompiledField[]): Json {
  return objectOf(fields, (field) => (field.kind === 'bytes' ? BINARY : inputSchema(field)));
}

/** The types of a form's files, where they are not any. */
export function formEncoding(fields: readonly CompiledField[]): Json {
  const encoding: Record<string, Json> = {};
  for (const field of fields) {
    const types = field.kind === 'bytes' ? field.field.mediaTypes : undefined;
    if (types !== undefined) encoding[field.name] = { contentType: [...types, OCTETS].join(', ') };
  }
  return encoding;
}

const NO_SIGNATURE = { inputs: [], outputs: [], batched: false } as const;

function objectOf(fields: readonly CompiledField[], schemaOf: (field: CompiledField) => Json): Json {
  const required = fields.filter(({ isOptional }) => !isOptional).map(({ name }) => name);
  return {
    type: 'object',
    properties: Object.fromEntries(fields.map((field) => [field.name, schemaOf(field)])),
    ...(required.length === 0 ? {} : { required }),
    additionalProperties: false,
  };
}

/** A schema as its author wrote it; one that refers to parts of itself would refer to the document's. */
function jsonSchema({ field, name }: Extract<CompiledField, { kind: 'json' }>): Json {
  const text = JSON.stringify(field);
  if (text.includes('"$ref"')) return { description: `'${name}' is described by GET of this path` };
  return JSON.parse(text) as Json;
}

function describeBytes({ field }: Extract<CompiledField, { kind: 'bytes' }>): string {
  const { mediaTypes, maxBytes } = field;
  const size = maxBytes === undefined ? '' : `, at most ${maxBytes} bytes`;
  return `Bytes (${mediaTypes === undefined ? 'any' : mediaTypes.join(', ')}${size}) in base64.`;
}
