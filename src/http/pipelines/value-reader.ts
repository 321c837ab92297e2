import { invalid, messageOf } from '../../errors.ts';
import type { CompiledField } from '../../pipeline/compiled-field.ts';
import { parseJson, unknownInput, type Values } from '../../pipeline/field-tensors.ts';
import { RemoteValue } from '../../protocol/remote-values.ts';
import { isBase64Object } from '../../tensor/json-base64.ts';
import { JsonPiecesDecoder } from '../../tensor/json-pieces.ts';
import { JsonShapeReader } from '../../tensor/json-shape.ts';
import { excerptAt, SLICE_BYTES } from '../../tensor/json-text.ts';
import { isUrlObject, readUrlObject } from '../../tensor/json-url.ts';
import { elementCount, type Tensor } from '../../tensor/tensor.ts';
import type { JsonCursor } from '../json-cursor.ts';
import { JsonValueSkip } from '../json-skip-value.ts';
import { decodeBase64 } from './base64.ts';

/** Levels of arrays and objects that are open around a value. */
const OUTER_LEVELS = 3;

/**
 * Reads the values of a pipeline's fields from JSON text at a cursor. Tensors and bytes may be as long as the body, what
 * is JSON for itself as long as an envelope. Generators that pause; drive them with `runSliced`.
 */
export class ValueReader {
  readonly #json: JsonCursor;
  readonly #fields: ReadonlyMap<string, CompiledField>;
  readonly #what: string;

  /** @param what the pipeline in messages. */
  constructor(json: JsonCursor, fields: readonly CompiledField[], what: string) {
    this.#json = json;
    this.#fields = new Map(fields.map((field) => [field.name, field]));
    this.#what = what;
  }

  /** The only field, where there is but one. */
  get only(): CompiledField | undefined {
    return this.#fields.size === 1 ? [...this.#fields.values()][0] : undefined;
  }

  /** Whether the value at the cursor is the object of fields, not the bare value of the only field. */
  isObject(): boolean {
    if (this.#json.peek('a value') !== 0x7b) return false;
    const { only } = this;
    if (only === undefined) return true;
    const { text, pos } = this.#json;
    const takesBase64 = only.kind === 'bytes' || only.spec.datatype === 'BYTES';
    const takesUrl = only.kind !== 'json' && only.name !== 'url';
    return !((takesBase64 && isBase64Object(text, pos)) || (takesUrl && isUrlObject(text, pos)));
  }

  /**
   * Reads an object with a value for each field.
   *
   * @throws {ShoalError} INVALID_REQUEST that names the field, what came and what was expected.
   */
  *readObject(): Generator<void, Values, void> {
    const json = this.#json;
    if (json.peek('a JSON object') !== 0x7b) {
      throw invalid(`the request to ${this.#what} is ${json.excerpt()}, expected an object of its inputs`);
    }
    json.pos++;
    const values: Record<string, unknown> = {};
    for (let first = true; json.nextMember(first); first = false) {
      const name = json.name();
      const field = this.#fields.get(name);
      if (field === undefined) throw unknownInput(this.#what, name, [...this.#fields.keys()]);
      if (Object.hasOwn(values, name)) throw invalid(`the request has input '${name}' twice`);
      values[name] = yield* this.readValue(field);
    }
    return values;
  }

  /** Reads the value of a field; a {@link RemoteValue} where it is to be fetched. */
  *readValue(field: CompiledField): Generator<void, unknown, void> {
    if (field.kind === 'tensor') return yield* this.#readTensor(field);
    if (field.kind === 'bytes') return yield* this.#readBytes(field);
    return yield* this.#readJson(field);
  }

  /** Reads over the address at the cursor. */
  #readUrl(what: string): string {
    const json = this.#json;
    const { url, end } = readUrlObject(json.text, json.pos, what);
    json.exempt(end - json.pos);
    json.pos = end;
    return url;
  }

  *#readTensor({ name, spec }: CompiledField): Generator<void, Tensor | RemoteValue, void> {
    const json = this.#json;
    const { datatype } = spec;
    const before = json.pos;
    json.peek('a value');
    const start = json.pos;
    const what = `input '${name}'`;
    if (datatype !== 'BYTES' && isUrlObject(json.text, start)) {
      return RemoteValue.tensor(name, this.#readUrl(what), { what, datatype, shape: spec.shape });
    }
    const reader = new JsonShapeReader(json.text, { what: `the data of ${what}` }, datatype === 'BYTES');
    reader.start(start);
    while (!reader.advance()) yield;
    const { shape, pos } = reader;
    json.pos = pos;
    json.exempt(pos - before);
    const target = { what, shape, count: elementCount(shape) };
    const decoder = new JsonPiecesDecoder(json.text, [start, pos], datatype, target);
    while (!decoder.advance()) yield;
    const tensor = decoder.finish();
    return decoder.remote.length > 0 ? RemoteValue.elements(name, tensor, decoder.remote) : tensor;
  }

  *#readBytes({ name }: CompiledField): Generator<void, Buffer | RemoteValue, void> {
    const json = this.#json;
    const { bytes, end } = json.text;
    json.peek('a string of base64');
    if (isUrlObject(json.text, json.pos)) return RemoteValue.bytes(name, this.#readUrl(`input '${name}'`));
    const isWrapped = json.peek('a string of base64') === 0x7b && isBase64Object(json.text, json.pos);
    if (isWrapped) {
      json.pos++;
      json.nextMember(true);
      json.peek('a string of base64');
    }
    const from = json.pos;
    if (bytes[from] !== 0x22) {
      throw invalid(`input '${name}' is ${excerptAt(json.text, from)}, expected a string of base64`);
    }
    let close = bytes.indexOf(0x22, from + 1);
    // Base64 has no quotes, so that one behind a backslash ends it, too: as what it is not.
    if (close < 0) close = end;
    json.exempt(close - from);
    const decoded = yield* decodeBase64(bytes, from + 1, close, `input '${name}'`);
    json.pos = close;
    json.expect(0x22, 'the end of a string');
    if (isWrapped && json.nextMember(false)) throw invalid(`input '${name}' has a key beside 'b64'`);
    return decoded;
  }

  *#readJson({ name }: CompiledField): Generator<void, unknown, void> {
    const json = this.#json;
    json.peek('a value');
    const start = json.pos;
    const reader = new JsonValueSkip(json, OUTER_LEVELS);
    while (!reader.skip(json.pos + SLICE_BYTES)) yield;
    const text = json.text.bytes.toString('utf8', start, json.pos);
    return parseJson(text, (thrown) => invalid(`input '${name}' is no JSON: ${messageOf(thrown)}`));
  }
}
