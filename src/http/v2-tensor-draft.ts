import { invalid, type ShoalError } from '../errors.ts';
import type { DataTarget } from '../tensor/json-array.ts';
import type { JsonDatatype } from '../tensor/json-decode.ts';
import { quoteName } from '../tensor/json-text.ts';
import { countElements, MAX_RANK } from '../tensor/shape.ts';
import { DATATYPE_NAMES, type Datatype, type Tensor } from '../tensor/tensor.ts';
import type { JsonCursor } from './json-cursor.ts';
import type { InputParameters, OutputParameters } from './v2-parameters.ts';

/** An input of a request while it is read: its keys come in any order. */
export class TensorDraft implements InputParameters, DataTarget {
  readonly #index: number;
  /** The keys met so far, one bit each. */
  seen = 0;
  name: string | undefined;
  datatype: Datatype | undefined;
  shape: readonly number[] = [];
  /** Whether {@link shape} was read. */
  hasShape = false;
  /** The product of the shape, once {@link measure} has been called. */
  count = 0;
  /** Where the array of `data` begins; −1 without one (absent or null). */
  dataStart = -1;
  dataEnd = -1;
  binarySize: number | undefined;
  url: string | undefined;
  tensor: Tensor | undefined;

  constructor(index: number) {
    this.#index = index;
  }

  /** What messages call the input. */
  get what(): string {
    return this.name === undefined ? `inputs[${this.#index}]` : `input ${quoteName(this.name)}`;
  }

  /** Reads the datatype at the cursor. @throws {ShoalError} INVALID_REQUEST when it is none that can be carried. */
  readDatatype(json: JsonCursor): void {
    if (json.peek('a datatype') !== 0x22) throw this.#wrong('datatype', json.excerpt(), 'a string');
    json.scanString();
    for (const name of DATATYPE_NAMES) {
      if (json.stringIs(name)) {
        this.datatype = name;
        return;
      }
    }
    const name = json.string();
    if (name === 'BF16') throw invalid(`${this.what} is BF16, which ONNX Runtime for Node cannot carry`);
    throw this.#wrong('datatype', quoteName(name), `one of ${DATATYPE_NAMES.join(', ')}`);
  }

  /** Reads the shape at the cursor. @throws {ShoalError} INVALID_REQUEST when it is no array of integers of 0 or more. */
  readShape(json: JsonCursor): void {
    if (json.peek('a shape') !== 0x5b) throw this.#wrong('shape', json.excerpt(), 'an array of integers');
    json.pos++;
    const shape: number[] = [];
    while (json.nextElement(shape.length === 0)) {
      const c = json.peek('a dimension');
      const start = json.pos;
      const dim = c === 0x2d || (c >= 0x30 && c <= 0x39) ? json.integer() : undefined;
      if (dim === undefined || dim < 0 || !Number.isSafeInteger(dim)) {
        json.pos = start;
        throw this.#wrong('shape', `an array with ${json.excerpt()}`, 'integers from 0, below 2^53');
      }
      if (shape.push(dim) > MAX_RANK) throw invalid(`the shape of ${this.what} has more than ${MAX_RANK} dimensions`);
    }
    this.shape = shape;
    this.hasShape = true;
  }

  /**
   * Multiplies the shape.
   *
   * @throws {ShoalError} INVALID_REQUEST when the product is beyond all memory.
   */
  measure(): void {
    this.count = countElements(this);
  }

  /** The datatype, where JSON can carry its elements. @throws {ShoalError} INVALID_REQUEST for FP16. */
  jsonDatatype(): JsonDatatype {
    const datatype = this.datatype!;
    if (datatype !== 'FP16') return datatype;
    throw invalid(`${this.what} is FP16, which is taken in binary only: send it with binary_data_size`);
  }

  /**
   * Checks that nothing is missing and that the data comes in exactly one way.
   *
   * @throws {ShoalError} INVALID_REQUEST that names what is missing or too much.
   */
  complete(): void {
    if (this.name === undefined) throw invalid(`${this.what} has no name`);
    if (this.datatype === undefined) throw invalid(`${this.what} has no datatype`);
    if (!this.hasShape) throw invalid(`${this.what} has no shape`);
    const binary = this.binarySize !== undefined;
    if (this.dataStart >= 0 && binary) throw invalid(`${this.what} has both data and binary_data_size`);
    if (this.url !== undefined) {
      if (binary || this.dataStart >= 0) throw invalid(`${this.what} has both data and a url`);
      return;
    }
    if (this.dataStart < 0 && !binary) throw invalid(`${this.what} has neither data nor binary_data_size`);
  }

  #wrong(key: string, got: string, expected: string): ShoalError {
    return invalid(`the ${key} of ${this.what} is ${got}, expected ${expected}`);
  }
}

/** A requested output while it is read. */
export class OutputDraft implements OutputParameters {
  readonly #index: number;
  /** As {@link TensorDraft.seen}. */
  seen = 0;
  name: string | undefined;
  binary: boolean | undefined;
  classes = 0;

  constructor(index: number) {
    this.#index = index;
  }

  /** What messages call the output. */
  get what(): string {
    return this.name === undefined ? `outputs[${this.#index}]` : `output ${quoteName(this.name)}`;
  }
}
