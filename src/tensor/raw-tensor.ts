import { invalid, type ShoalError } from '../errors.ts';
import type { DataTarget } from './json-array.ts';
import { SLICE_BYTES } from './json-text.ts';
import { DATATYPES, type Datatype, formatShape, type Tensor } from './tensor.ts';
import { utf8SequenceLength } from './utf8.ts';

/**
 * Turns the bytes of a tensor as a request holds them into a tensor, checking what has to be checked, in slices.
 * The tensor is a view of those bytes unless booleans have to be made 0 and 1.
 */
export class RawTensorReader {
  readonly #datatype: Datatype;
  readonly #target: DataTarget;
  readonly #label: string;
  readonly #isText: boolean;
  #bytes: Uint8Array;
  #pos = 0;
  // Strings only: the one being checked, and where it ends.
  #index = 0;
  #end = 0;

  /**
   * @param bytes row-major, little-endian, without padding; BYTES with a length before each element.
   * @param label what messages call the bytes: `the binary section`.
   * @param isText whether elements of BYTES have to be texts that ONNX Runtime takes; false: any bytes.
   * @throws {ShoalError} INVALID_REQUEST when the shape needs another number of bytes.
   */
  constructor(bytes: Uint8Array, datatype: Datatype, target: DataTarget, label: string, isText = true) {
    this.#label = label;
    this.#isText = isText;
    this.#datatype = datatype;
    this.#target = target;
    this.#bytes = bytes;
    const { what, shape, count } = target;
    const needed = count * DATATYPES[datatype].size;
    if (datatype !== 'BYTES' && bytes.length !== needed) {
      throw invalid(
        `${label} of ${what} has ${bytes.length} bytes, its shape ${formatShape(shape)} of ${datatype} needs ${needed}`,
      );
    }
  }

  /**
   * Checks about {@link SLICE_BYTES}; true when all are done with.
   *
   * @throws {ShoalError} INVALID_REQUEST for strings whose lengths do not fill the bytes, that are not UTF-8 or have a NUL.
   */
  advance(): boolean {
    if (this.#datatype === 'BOOL') return this.#normalize();
    if (this.#datatype === 'BYTES') return this.#checkStrings();
    return true;
  }

  /** The tensor, once {@link advance} has said true. */
  finish(): Tensor {
    return { datatype: this.#datatype, shape: this.#target.shape, bytes: this.#bytes };
  }

  /** Any byte but 0 stands for true; ONNX Runtime expects 1. */
  #normalize(): boolean {
    const end = Math.min(this.#bytes.length, this.#pos + SLICE_BYTES);
    let bytes = this.#bytes;
    for (let pos = this.#pos; pos < end; pos++) {
      if (bytes[pos]! <= 1) continue;
      // The body is not ours to change.
      if (this.#index++ === 0) bytes = Uint8Array.from(bytes);
      bytes[pos] = 1;
    }
    this.#bytes = bytes;
    this.#pos = end;
    return end === bytes.length;
  }

  #checkStrings(): boolean {
    const bytes = this.#bytes;
    const { count } = this.#target;
    const stop = this.#pos + SLICE_BYTES;
    let pos = this.#pos;
    while (pos < stop) {
      if (pos === this.#end) {
        if (this.#index === count) {
          if (pos !== bytes.length) throw this.#wrong(`has bytes left over after its ${count} elements`);
          return true;
        }
        pos = this.#readLength(pos);
      }
      if (!this.#isText) {
        pos = this.#end;
        continue;
      }
      const limit = Math.min(this.#end, stop);
      while (pos < limit) {
        const c = bytes[pos]!;
        if (c === 0) throw this.#wrong(`has a NUL in element ${this.#index - 1}, which ONNX Runtime cannot take`);
        if (c < 0x80) pos++;
        else {
          const length = utf8SequenceLength(bytes, pos, this.#end);
          if (length === 0) throw this.#wrong(`has an element ${this.#index - 1} that is not valid UTF-8`);
          pos += length;
        }
      }
    }
    this.#pos = pos;
    return false;
  }

  #readLength(pos: number): number {
    const bytes = this.#bytes;
    if (pos + 4 > bytes.length) {
      throw this.#wrong(`ends within the length of element ${this.#index} of ${this.#target.count}`);
    }
    const length = (bytes[pos]! | (bytes[pos + 1]! << 8) | (bytes[pos + 2]! << 16) | (bytes[pos + 3]! << 24)) >>> 0;
    this.#end = pos + 4 + length;
    if (this.#end > bytes.length) throw this.#wrong(`ends within element ${this.#index} of ${this.#target.count}`);
    this.#index++;
    return pos + 4;
  }

  #wrong(what: string): ShoalError {
    return invalid(`${this.#label} of ${this.#target.what} ${what}`);
  }
}
