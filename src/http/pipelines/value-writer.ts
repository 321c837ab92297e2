import type { CompiledField } from '../../pipeline/compiled-field.ts';
import type { Values } from '../../pipeline/field-tensors.ts';
import { ByteWriter } from '../../tensor/byte-writer.ts';
import { estimateJsonBytes } from '../../tensor/json-encode.ts';
import { NestedJsonWriter } from '../../tensor/json-nested.ts';
import { asBuffer, type Tensor } from '../../tensor/tensor.ts';

/** Bytes turned into base64 at once; a multiple of three, so that no padding comes in between. */
const BASE64_BYTES = 49_152;

/** Pieces of base64 between two pauses. */
const PIECES_PER_TURN = 16;

/** How bytes are written: as a string of base64, or in the object that TensorFlow Serving has for it. */
export type BytesStyle = 'string' | 'object';

/** Writes the values of a pipeline's outputs as JSON; pauses now and then. */
export class ValueWriter {
  readonly writer: ByteWriter;
  readonly #nested: NestedJsonWriter;
  readonly #fields: readonly CompiledField[];
  readonly #bytes: BytesStyle;

  constructor(fields: readonly CompiledField[], all: readonly Values[], bytes: BytesStyle) {
    this.writer = new ByteWriter(all.reduce((sum, values) => sum + estimate(fields, values), 64));
    this.#nested = new NestedJsonWriter(this.writer);
    this.#fields = fields;
    this.#bytes = bytes;
  }

  /** Writes an object with a value for each output that there is. */
  *object(values: Values): Generator<void, void, void> {
    let separator = '{';
    for (const field of this.#fields) {
      if (values[field.name] === undefined) continue;
      this.writer.text(`${separator}${JSON.stringify(field.name)}:`);
      separator = ',';
      yield* this.#value(field, values[field.name]);
    }
    this.writer.ascii(separator === '{' ? '{}' : '}');
  }

  /** {@link object}, or the value alone where there is but one output. */
  *bare(values: Values): Generator<void, void, void> {
    const [only] = this.#fields;
    if (this.#fields.length > 1 || only === undefined) yield* this.object(values);
    else if (values[only.name] === undefined) this.writer.ascii('null');
    else yield* this.#value(only, values[only.name]);
  }

  *#value(field: CompiledField, value: unknown): Generator<void, void, void> {
    if (field.kind === 'tensor') yield* this.#nested.write(value as Tensor, field.name);
    else if (field.kind === 'bytes') yield* this.#base64(asBuffer(value as Uint8Array));
    else this.writer.text(JSON.stringify(value));
  }

  *#base64(bytes: Buffer): Generator<void, void, void> {
    this.writer.ascii(this.#bytes === 'object' ? '{"b64":"' : '"');
    for (let at = 0, piece = 1; at < bytes.length; at += BASE64_BYTES, piece++) {
      this.writer.ascii(bytes.toString('base64', at, Math.min(bytes.length, at + BASE64_BYTES)));
      if (piece % PIECES_PER_TURN === 0) yield;
    }
    this.writer.ascii(this.#bytes === 'object' ? '"}' : '"');
  }
}

function estimate(fields: readonly CompiledField[], values: Values): number {
  let bytes = 64;
  for (const { name, kind } of fields) {
    const value = values[name];
    if (value === undefined) continue;
    if (kind === 'tensor') bytes += 2 * estimateJsonBytes(value as Tensor);
    else if (kind === 'bytes') bytes += 1.4 * (value as Uint8Array).length;
  }
  return Math.ceil(bytes);
}
