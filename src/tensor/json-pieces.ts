import { invalid } from '../errors.ts';
import { numberToHalf } from './float16.ts';
import { type DataTarget, JsonArrayWalk } from './json-array.ts';
import { createReader, type ElementReader, type JsonDatatype } from './json-decode.ts';
import { JsonStringReader, type RemoteElement } from './json-strings.ts';
import { type JsonText, SLICE_BYTES } from './json-text.ts';
import { allocateTensor } from './memory.ts';
import { DATATYPES, type Datatype, type Tensor } from './tensor.ts';

/** Elements converted between two pauses. */
const CONVERTED = 8192;

/** Going to another piece takes about as long as so many bytes of a long one. */
const PIECE_COST = 100;

/** Numbers of at least this size round to infinity in half precision. */
const HALF_LIMIT = 65520;

/**
 * Decodes a tensor whose elements stand in several places of a JSON text, such as the members of many objects, in
 * slices. The rules are those of `JsonTensorDecoder`; besides, an element of BYTES may be `{"b64": "…"}` or `{"url": "…"}`, and FP16 is
 * read as numbers, rounded to the nearest.
 */
export class JsonPiecesDecoder {
  readonly #datatype: Datatype;
  readonly #walk: JsonArrayWalk;
  readonly #pieces: readonly number[];
  readonly #reader: ElementReader;
  readonly #bytes: Uint8Array;
  /** FP16 only: what was read, and what becomes of it. */
  readonly #doubles: Float64Array | undefined;
  readonly #halves: Uint16Array | undefined;
  #next = 0;
  /** Whether the next piece has been begun. */
  #entered = false;
  #converted = 0;

  /**
   * @param pieces start and end, in turn, of each value in the text: elements or nested arrays, which have been found to
   * have as many elements together as the shape says.
   */
  constructor(text: JsonText, pieces: readonly number[], datatype: Datatype, target: DataTarget) {
    this.#datatype = datatype;
    this.#pieces = pieces;
    this.#walk = new JsonArrayWalk(text, pieces[0] ?? 0, target);
    if (datatype === 'BYTES') {
      // Each string takes two quotes in the text, which hold two of the four bytes of its length.
      let size = 2 * target.count;
      for (let i = 0; i < pieces.length; i += 2) size += pieces[i + 1]! - pieces[i]!;
      this.#bytes = Buffer.allocUnsafe(size);
      this.#reader = new JsonStringReader(this.#walk, this.#bytes as Buffer, true);
      return;
    }
    const read: Exclude<JsonDatatype, 'BYTES'> = datatype === 'FP16' ? 'FP64' : datatype;
    const memory = allocateTensor(target.count * DATATYPES[read].size);
    this.#reader = createReader(this.#walk, read, memory);
    if (datatype === 'FP16') {
      this.#doubles = memory.float64.subarray(memory.offset / 8, memory.offset / 8 + target.count);
      this.#halves = new Uint16Array(target.count);
      this.#bytes = new Uint8Array(this.#halves.buffer);
    } else this.#bytes = memory.bytes;
  }

  /**
   * Decodes about {@link SLICE_BYTES} of text; true when all pieces are done with.
   *
   * @throws {ShoalError} INVALID_REQUEST that names the tensor and the element.
   */
  advance(): boolean {
    const pieces = this.#pieces;
    const walk = this.#walk;
    for (let left = SLICE_BYTES; this.#next < pieces.length; this.#next += 2) {
      if (left <= 0) return false;
      const end = pieces[this.#next + 1]!;
      if (!this.#entered) walk.startPiece(pieces[this.#next]!);
      const from = walk.pos;
      this.#reader.read(Math.min(end, from + left));
      this.#entered = walk.pos < end;
      if (this.#entered) return false;
      left -= PIECE_COST + end - from;
    }
    return this.#convert();
  }

  /** The tensor, once {@link advance} has said true. It owns its bytes. */
  finish(): Tensor {
    const bytes = this.#reader instanceof JsonStringReader ? this.#reader.finish() : this.#bytes;
    return { datatype: this.#datatype, shape: this.#walk.target.shape, bytes };
  }

  /** Elements of BYTES that are to be fetched, in their order; in the tensor they are empty. */
  get remote(): readonly RemoteElement[] {
    return this.#reader instanceof JsonStringReader ? this.#reader.remote : [];
  }

  #convert(): boolean {
    const doubles = this.#doubles;
    if (doubles === undefined) return true;
    const halves = this.#halves!;
    const end = Math.min(halves.length, this.#converted + CONVERTED);
    for (let i = this.#converted; i < end; i++) {
      const value = doubles[i]!;
      if (Math.abs(value) >= HALF_LIMIT && Number.isFinite(value)) {
        throw invalid(
          `element ${i} of ${this.#walk.target.what} is ${value}, expected a number within the range of FP16`,
        );
      }
      halves[i] = numberToHalf(value);
    }
    this.#converted = end;
    return end === halves.length;
  }
}
