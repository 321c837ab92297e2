import { invalid } from '../errors.ts';
import { SLICE_BYTES } from '../tensor/json-text.ts';
import { RawTensorReader } from '../tensor/raw-tensor.ts';
import type { TensorDraft } from './v2-tensor-draft.ts';

/** The binary sections behind the JSON of a request, in the order of the inputs that have one. */
export class BinarySections {
  readonly #body: Buffer;
  readonly #drafts: readonly TensorDraft[];
  readonly #hasHeader: boolean;
  readonly #opaque: ReadonlySet<string> | undefined;
  #start: number;
  #index = 0;
  #section: RawTensorReader | undefined;

  /**
   * @param start where the JSON ends.
   * @param hasHeader whether a header said where that is; without it only empty sections are allowed.
   * @param opaque names of inputs of BYTES whose elements need not be texts.
   */
  constructor(
    body: Buffer,
    start: number,
    hasHeader: boolean,
    drafts: readonly TensorDraft[],
    opaque: ReadonlySet<string> | undefined,
  ) {
    this.#opaque = opaque;
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

  #open(draft: TensorDraft, size: number): RawTensorReader {
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
    const isText = this.#opaque === undefined || !this.#opaque.has(draft.name!);
    return new RawTensorReader(bytes, draft.datatype!, draft, 'the binary section', isText);
  }
}

/**
 * The bytes of the JSON text in a body, from the header `Inference-Header-Content-Length`; all where it is absent.
 *
 * @throws {ShoalError} INVALID_REQUEST when the header is no number or exceeds the body.
 */
export function jsonLength(header: string | undefined, bodyLength: number): number {
  if (header === undefined) return bodyLength;
  const length = /^[0-9]+$/.test(header) ? Number(header) : Number.NaN;
  if (Number.isNaN(length)) {
    throw invalid(`Inference-Header-Content-Length is '${printable(header)}', expected a number of bytes`);
  }
  if (length > bodyLength) {
    throw invalid(`Inference-Header-Content-Length is ${printable(header)}, but the body has ${bodyLength} bytes`);
  }
  return length;
}

function printable(header: string): string {
  return header.length > 40 ? `${header.slice(0, 40)}…` : header;
}
