import { invalid } from '../errors.ts';
import { type DataTarget, JsonArrayWalk } from './json-array.ts';
import { JsonBooleanReader } from './json-booleans.ts';
import { JsonFloatReader } from './json-floats.ts';
import { JsonIntegerReader } from './json-integers.ts';
import { JsonArraySkip } from './json-skip.ts';
import { JsonStringReader } from './json-strings.ts';
import { type JsonText, SLICE_BYTES } from './json-text.ts';
import { allocateTensor, type TensorMemory } from './memory.ts';
import { DATATYPES, type Datatype, formatShape, type Tensor } from './tensor.ts';

/** The datatypes whose elements JSON can carry; FP16 travels in binary only. */
export type JsonDatatype = Exclude<Datatype, 'FP16'>;

/** Reads the elements that a walk comes to. */
export interface ElementReader {
  /** Reads until the data ends or the walk reaches `stop`. */
  read(stop: number): void;
}

/** The reader of a datatype whose elements have a size. */
export function createReader(
  walk: JsonArrayWalk,
  datatype: Exclude<JsonDatatype, 'BYTES'>,
  memory: TensorMemory,
): ElementReader {
  if (datatype === 'FP32' || datatype === 'FP64') return new JsonFloatReader(walk, datatype, memory);
  if (datatype === 'BOOL') return new JsonBooleanReader(walk, memory);
  return new JsonIntegerReader(walk, datatype, memory);
}

/**
 * Decodes a JSON array, flat or nested, straight from the bytes of the text into a tensor, in slices.
 *
 * FP32 is `Math.fround(Number(text))`, FP64 is `Number(text)`,
 * integers are exact to the digit, BYTES elements are UTF-8 without NUL.
 */
export class JsonTensorDecoder {
  readonly #datatype: JsonDatatype;
  readonly #walk: JsonArrayWalk;
  #reader: ElementReader | undefined;
  /** Finds the end of the array first, where the memory needed depends on it (BYTES). */
  #skip: JsonArraySkip | undefined;
  #bytes: Uint8Array | undefined;

  /**
   * @param pos where the opening bracket stands.
   * @throws {ShoalError} INVALID_REQUEST when the rest of the text cannot hold as many elements as the shape has.
   */
  constructor(text: JsonText, pos: number, datatype: JsonDatatype, target: DataTarget) {
    this.#datatype = datatype;
    this.#walk = new JsonArrayWalk(text, pos, target);
    // Before anything is allocated: an element and its comma take at least two bytes of text.
    if (target.count > (text.end - pos) / 2) {
      throw invalid(
        `the data of ${target.what} is too short for its shape ${formatShape(target.shape)}, which needs ${target.count} elements`,
      );
    }
    if (datatype === 'BYTES') {
      this.#skip = new JsonArraySkip(text, pos, target.what);
      return;
    }
    const memory = allocateTensor(target.count * DATATYPES[datatype].size);
    this.#bytes = memory.bytes;
    this.#reader = createReader(this.#walk, datatype, memory);
  }

  /** Behind the closing bracket, once {@link advance} has said true. */
  get end(): number {
    return this.#walk.pos;
  }

  /**
   * Decodes about {@link SLICE_BYTES} of text; true when the array is complete.
   *
   * @throws {ShoalError} INVALID_REQUEST that names the tensor and the element.
   */
  advance(): boolean {
    if (this.#skip !== undefined) {
      if (!this.#skip.skip(this.#skip.pos + SLICE_BYTES)) return false;
      this.#startStrings(this.#skip.pos);
      this.#skip = undefined;
    }
    this.#reader!.read(this.#walk.pos + SLICE_BYTES);
    return this.#walk.done;
  }

  /** The tensor, once {@link advance} has said true. It owns its bytes. */
  finish(): Tensor {
    const bytes = this.#reader instanceof JsonStringReader ? this.#reader.finish() : this.#bytes!;
    return { datatype: this.#datatype, shape: this.#walk.target.shape, bytes };
  }

  #startStrings(end: number): void {
    const { pos, target } = this.#walk;
    // Each string takes two quotes and a comma or bracket in the text, which hold three of the four bytes of its length.
    this.#reader = new JsonStringReader(this.#walk, Buffer.allocUnsafe(end - pos + target.count));
  }
}
