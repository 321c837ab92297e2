import { isUtf8 } from 'node:buffer';
import type { ByteWriter } from './byte-writer.ts';
import { halfToNumber } from './float16.ts';
import { JsonTensorEncoder } from './json-encode.ts';
import { SLICE_BYTES } from './json-text.ts';
import { asBuffer, DATATYPES, elementCount, skipBytesElements, type Tensor } from './tensor.ts';

/** How long is written between two pauses. */
const SLICE_MS = 1;

/** Bytes turned into base64 at once; a multiple of three, so that no padding comes in between. */
const BASE64_BYTES = 49_152;

/** Elements widened between two pauses. */
const WIDENED = 8192;

/** Writes JSON with nested arrays, and says when it is time to pause. */
export class NestedJsonWriter {
  readonly writer: ByteWriter;
  #pauseAt: number;
  #sinceMs = performance.now();

  constructor(writer: ByteWriter) {
    this.writer = writer;
    this.#pauseAt = writer.length + SLICE_BYTES;
  }

  /**
   * Writes a tensor as arrays nested as its shape says; a scalar is written bare. Elements are written as by
   * `JsonTensorEncoder`, FP16 as numbers. BYTES become `{"b64": "…"}` where they are not UTF-8, and in outputs whose
   * name ends in `_bytes`, as TensorFlow Serving has it. The generator pauses now and then.
   */
  *write(tensor: Tensor, name: string): Generator<void, void, void> {
    const plain = tensor.datatype === 'FP16' ? yield* widen(tensor) : tensor;
    // Nothing stands deeper than in an array without elements.
    const empty = plain.shape.indexOf(0);
    const shape = empty < 0 ? plain.shape : plain.shape.slice(0, empty + 1);
    const inner = shape.at(-1) ?? 1;
    const vectors = elementCount(shape.slice(0, -1));
    let offset = 0;
    for (let v = 0; v < vectors; v++) {
      this.writer.ascii(`${v > 0 ? ',' : ''}${'['.repeat(boundaries(shape, v))}`);
      const end = endOf(plain, offset, inner, name);
      yield* this.#writeVector(
        { datatype: plain.datatype, shape: [inner], bytes: plain.bytes.subarray(offset, end) },
        name,
      );
      offset = end;
      this.writer.ascii(']'.repeat(boundaries(shape, v + 1)));
      if (this.#isDue()) yield* this.#pause();
    }
  }

  *#writeVector(vector: Tensor, name: string): Generator<void, void, void> {
    if (vector.datatype === 'BYTES' && (name.endsWith('_bytes') || !areUtf8(vector))) {
      yield* this.#writeBytes(vector, name);
      return;
    }
    for (const encoder = new JsonTensorEncoder(vector, name); !encoder.advance(this.writer); ) {
      if (this.#isDue()) yield* this.#pause();
    }
  }

  *#writeBytes(vector: Tensor, name: string): Generator<void, void, void> {
    let offset = 0;
    for (let i = 0; i < vector.shape[0]!; i++) {
      if (i > 0) this.writer.ascii(',');
      const end = endOf(vector, offset, 1, name);
      const bytes = asBuffer(vector.bytes.subarray(offset + 4, end));
      if (name.endsWith('_bytes') || !isUtf8(bytes)) {
        this.writer.ascii('{"b64":"');
        for (let at = 0; at < bytes.length; at += BASE64_BYTES) {
          this.writer.ascii(bytes.toString('base64', at, Math.min(bytes.length, at + BASE64_BYTES)));
          if (this.#isDue()) yield* this.#pause();
        }
        this.writer.ascii('"}');
      } else yield* this.#writeVector({ ...vector, shape: [1], bytes: vector.bytes.subarray(offset, end) }, name);
      offset = end;
    }
  }

  /** By the clock, too: some floats need a hundred times longer than others. */
  #isDue(): boolean {
    return this.writer.length >= this.#pauseAt || performance.now() - this.#sinceMs >= SLICE_MS;
  }

  *#pause(): Generator<void, void, void> {
    yield;
    this.#pauseAt = this.writer.length + SLICE_BYTES;
    this.#sinceMs = performance.now();
  }
}

/** A tensor's part `index` along its first dimension; `offset` is where the part before it ended in the tensor's bytes. */
export function partOf(tensor: Tensor, offset: number, name: string): Tensor {
  const shape = tensor.shape.slice(1);
  return {
    datatype: tensor.datatype,
    shape,
    bytes: tensor.bytes.subarray(offset, endOf(tensor, offset, elementCount(shape), name)),
  };
}

/** How many dimensions begin anew before the innermost vector `v`, or have ended before it: all at both ends. */
function boundaries(shape: readonly number[], v: number): number {
  if (shape.length === 0) return 0;
  let count = 1;
  let period = 1;
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    period *= shape[axis]!;
    if (v % period !== 0) break;
    count++;
  }
  return count;
}

/** Where `count` elements from `offset` on end. */
function endOf({ datatype, bytes }: Tensor, offset: number, count: number, name: string): number {
  if (datatype === 'BYTES') return skipBytesElements(bytes, offset, count, `output '${name}'`);
  return offset + count * DATATYPES[datatype].size;
}

function areUtf8({ bytes, shape }: Tensor): boolean {
  let offset = 0;
  for (let i = 0; i < shape[0]!; i++) {
    const end = skipBytesElements(bytes, offset, 1, 'a tensor');
    if (!isUtf8(bytes.subarray(offset + 4, end))) return false;
    offset = end;
  }
  return true;
}

/** FP16 as FP32, which holds every value of it. */
function* widen({ shape, bytes }: Tensor): Generator<void, Tensor, void> {
  const count = elementCount(shape);
  const floats = new Float32Array(count);
  const halves = asBuffer(bytes);
  for (let i = 0; i < count; i++) {
    floats[i] = halfToNumber(halves.readUInt16LE(2 * i));
    if (i % WIDENED === WIDENED - 1) yield;
  }
  return { datatype: 'FP32', shape, bytes: new Uint8Array(floats.buffer) };
}
