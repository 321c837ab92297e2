import { invalid, messageOf } from '../../errors.ts';
import type { CompiledField } from '../../pipeline/compiled-field.ts';
import { parseJson } from '../../pipeline/field-tensors.ts';
import { MAX_JSON_DEPTH } from '../../tensor/json-text.ts';
import { JsonCursor } from '../json-cursor.ts';
import { JsonValueSkip } from '../json-skip-value.ts';
import { ValueReader } from './value-reader.ts';

/**
 * The value of a field given as a text: of a form, or in the query. A string stands for itself, everything else is JSON.
 *
 * @throws {ShoalError} INVALID_REQUEST that names the field, what came and what was expected.
 */
export function* readText(field: CompiledField, text: string, what: string): Generator<void, unknown, void> {
  if (field.kind === 'json') {
    if (field.form === 'string' && !field.isList) return text;
    return parseJson(checkDepth(text), (thrown) => invalid(`input '${field.name}' is no JSON: ${messageOf(thrown)}`));
  }
  // The decoders want something behind a value.
  const bytes = Buffer.from(`${field.kind === 'bytes' ? JSON.stringify(text) : text}\n`);
  const json = new JsonCursor({ bytes, end: bytes.length });
  const value = yield* new ValueReader(json, [field], what).readValue(field);
  json.endOfText();
  return value;
}

/** @throws {ShoalError} INVALID_REQUEST for broken JSON and for nesting that is too deep, or a text that is too long. */
function checkDepth(text: string): string {
  // What cannot be too deep is left to the parser.
  if (text.length < MAX_JSON_DEPTH) return text;
  const bytes = Buffer.from(text);
  const json = new JsonCursor({ bytes, end: bytes.length });
  const reader = new JsonValueSkip(json, 0);
  while (!reader.skip(Number.POSITIVE_INFINITY)) if (json.pos >= bytes.length) break;
  return text;
}
