import { invalid, type ShoalError } from '../errors.ts';
import type { DataTarget } from '../tensor/json-array.ts';
import { SLICE_BYTES } from '../tensor/json-text.ts';
import { DATATYPES, type Datatype, formatShape, type Tensor } from '../tensor/tensor.ts';
import { utf8SequenceLength } from '../tensor/utf8.ts';
import type { TensorDraft } from './v2-tensor-draft.ts';

/**
 * Turns one binary section of a request into a tensor, checking what has to be checked, in slices.
 * The tensor is a view of the section unless booleans have to be made 0 and 1.
 */
class BinarySection {
  readonly #datatype: Datatype;
  readonly #target: DataTarget;
  #bytes: Uint8Array;
  #pos = 0;
  // Strings only: the one being checked, and where it ends.
  #index = 0;
  #end = 0;

  /**
   * @param bytes the section.
   * @throws {ShoalError} INVALID_REQUEST when the section has another size than the shape needs.
   */
  constructor(bytes: Uint8Array, datatype: Datatype, target: DataTarget) {
    this.#datatype = datatype;
    this.#target = target;
    this.#bytes = bytes;
    const { what, shape, count } = target;
    const needed = count * DATATYPES[datatype].size;
    if (datatype !== 'BYTES' && bytes.length !== needed) {
      throw invalid(
        `the binary_data_size of ${what} is ${bytes.length}, its shape ${formatShape(shape)} of ${datatype} needs ${needed}`,
      );
    }
  }

  /**
   * Checks about {@link SLICE_BYTES}; true when the section is done with.
   *
   * @throws {ShoalError} INVALID_REQUEST for strings whose lengths do not fill the section, that are not UTF-8 or have a NUL.
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
    return invalid(`the binary section of ${this.#target.what} ${what}`);
  }
}

/** The binary sections behind the JSON of a request, in the order of the inputs that have one. */
export class BinarySections {
  readonly #body: Buffer;
  readonly #drafts: readonly TensorDraft[];
  readonly #hasHeader: boolean;
  #start: number;
  #index = 0;
  #section: BinarySection | undefined;

  /**
   * @param start where the JSON ends.
   * @param hasHeader whether a header said where that is; without it only empty sections are allowed.
   */
  constructor(body: Buffer, start: number, hasHeader: boolean, drafts: readonly TensorDraft[]) {
    this.#body = body;
    this.#start = start;
    this.#hasHeader = hasHeader;
    this.#drafts = drafts;
  }

  /**
   * Reads a slice and gives the drafts their tensors; true when all sections are read.
   *
   * @throws {ShoalError} INVALID_REQUEST for a section that is too short, too long or wrong in itself.
   */
  advance(): boolean {
    const pause = this.#start + SLICE_BYTES;
    for (; this.#index < this.#drafts.length; this.#index++) {
      const draft = this.#drafts[this.#index]!;
      if (draft.binarySize === undefined) continue;
      // Only what has to be looked at takes time.
      if (this.#start > pause && (draft.datatype === 'BYTES' || draft.datatype === 'BOOL')) return false;
      this.#section ??= this.#open(draft, draft.binarySize);
      if (!this.#section.advance()) return false;
      draft.tensor = this.#section.finish();
      this.#section = undefined;
    }
    const left = this.#body.length - this.#start;
    if (left > 0) throw invalid(`the body has ${left} bytes behind the JSON and its binary sections`);
    return true;
  }

  #open(draft: TensorDraft, size: number): BinarySection {
    if (!this.#hasHeader && size > 0) {
      throw invalid(
        `${draft.what} has a binary_data_size of ${size}, but the request has no Inference-Header-Content-Length`,
      );
    }
    const left = this.#body.length - this.#start;
    if (size > left) {
      throw invalid(`the binary_data_size of ${draft.what} is ${size}, but only ${left} bytes are left in the body`);
    }
    draft.measure();
    const bytes = this.#body.subarray(this.#start, this.#start + size);
    this.#start += size;
    return new BinarySection(bytes, draft.datatype!, draft);
  }
}

/**
 * The bytes of the JSON text in a body, from the header `Inference-Header-Content-Length`; all where it is absent.
 *
 * @throws {ShoalError} INVALID_REQUEST when the header is no number, exceeds the body or announces a raw-body request.
 */
export function jsonLength(header: string | undefined, bodyLength: number): number {
  if (header === undefined) return bodyLength;
  const length = /^[0-9]+$/.test(header) ? Number(header) : Number.NaN;
  if (Number.isNaN(length)) {
    throw invalid(`Inference-Header-Content-Length is '${printable(header)}', expected a number of bytes`);
  }
  if (length === 0) throw invalid('requests without JSON (Inference-Header-Content-Length: 0) are not supported');
  if (length > bodyLength) {
    throw invalid(`Inference-Header-Content-Length is ${printable(header)}, but the body has ${bodyLength} bytes`);
  }
  return length;
}

function printable(header: string): string {
  return header.length > 40 ? `${header.slice(0, 40)}…` : header;
}
