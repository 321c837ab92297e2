import { invalid, type ShoalError } from '../errors.ts';
import type { DataTarget } from '../tensor/json-array.ts';
import { SLICE_BYTES } from '../tensor/json-text.ts';
import { allocateTensor, type TensorMemory } from '../tensor/memory.ts';
import { DATATYPES, type Datatype, formatShape, type Tensor } from '../tensor/tensor.ts';
import { DELIMITED, FIXED32, FIXED64, malformed, VARINT, type WireReader } from './wire-reader.ts';

/** The fields of `InferTensorContents`. */
export const CONTENTS_FIELDS: readonly string[] = [
  '',
  'bool_contents',
  'int_contents',
  'int64_contents',
  'uint_contents',
  'uint64_contents',
  'fp32_contents',
  'fp64_contents',
  'bytes_contents',
];

/** The field that holds the elements of each datatype; 0 where none does. */
export const FIELD_OF: Readonly<Record<Datatype, number>> = {
  BOOL: 1,
  INT8: 2,
  INT16: 2,
  INT32: 2,
  INT64: 3,
  UINT8: 4,
  UINT16: 4,
  UINT32: 4,
  UINT64: 5,
  FP16: 0,
  FP32: 6,
  FP64: 7,
  BYTES: 8,
};

/** Bytes that an element takes in a message at least. */
const LEAST_BYTES: Readonly<Record<number, number>> = { 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 4, 7: 8, 8: 2 };

const WIRE_TYPES: Readonly<Record<number, number>> = { 6: FIXED32, 7: FIXED64, 8: DELIMITED };

/**
 * Reads the `InferTensorContents` of an input straight into the tensor's memory, in slices. Elements may be packed or
 * not, as protobuf allows.
 */
export class TypedContentsReader {
  readonly #wire: WireReader;
  readonly #datatype: Datatype;
  readonly #target: DataTarget;
  readonly #field: number;
  readonly #memory: TensorMemory;
  /** The elements read so far. */
  #index = 0;
  /** The bytes written so far; numbers that are not copied go by {@link #index}. */
  #written = 0;
  /** Where the packed elements end, or the text, that is being read. */
  #runEnd = 0;

  /**
   * @param wire at the beginning of the message, whose end is its end.
   * @throws {ShoalError} INVALID_REQUEST when there cannot be as many elements as the shape needs.
   */
  constructor(wire: WireReader, datatype: Datatype, target: DataTarget) {
    this.#wire = wire;
    this.#datatype = datatype;
    this.#target = target;
    this.#field = FIELD_OF[datatype];
    if (this.#field === 0) throw invalid(`${target.what} is ${datatype}, which is taken in raw_input_contents only`);
    const length = wire.end - wire.pos;
    // Before anything is allocated.
    if (target.count * LEAST_BYTES[this.#field]! > length) throw this.#tooFew();
    // A text has a tag and a length of a byte or more in the message, and a length of four in the tensor.
    const size = datatype === 'BYTES' ? length + 2 * target.count : target.count * DATATYPES[datatype].size;
    this.#memory = allocateTensor(size);
  }

  /**
   * Reads about {@link SLICE_BYTES}; true when all is read.
   *
   * @throws {ShoalError} INVALID_REQUEST for elements in the wrong field, too many or too few, or out of range.
   */
  advance(): boolean {
    const wire = this.#wire;
    const stop = Math.min(wire.end, wire.pos + SLICE_BYTES);
    while (wire.pos < stop) {
      if (wire.pos < this.#runEnd) this.#readRun(Math.min(this.#runEnd, stop));
      else this.#readField();
    }
    if (wire.pos < wire.end) return false;
    if (this.#index < this.#target.count) throw this.#tooFew();
    return true;
  }

  /** The tensor, once {@link advance} has said true; whether texts are UTF-8 has not been looked at. */
  finish(): Tensor {
    const { bytes } = this.#memory;
    return {
      datatype: this.#datatype,
      shape: this.#target.shape,
      bytes: this.#datatype === 'BYTES' ? bytes.subarray(0, this.#written) : bytes,
    };
  }

  #readField(): void {
    const wire = this.#wire;
    wire.readTag();
    const { field, type } = wire;
    if (field !== this.#field) {
      const start = wire.pos;
      wire.skip();
      // Some writers leave empty packed fields.
      if (CONTENTS_FIELDS[field] !== undefined && (type !== DELIMITED || field === 8 || wire.pos > start + 1)) {
        throw this.#wrongField(field);
      }
      return;
    }
    if (field === 8) {
      this.#startText(wire.readDelimited());
    } else if (type === DELIMITED) {
      this.#runEnd = wire.readDelimited();
      const width = LEAST_BYTES[field]!;
      if (width > 1) {
        const length = this.#runEnd - wire.pos;
        if (length % width !== 0) throw malformed(`${CONTENTS_FIELDS[field]} of ${this.#target.what} is cut short`);
        this.#count(length / width);
      }
    } else {
      if (type !== (WIRE_TYPES[field] ?? VARINT)) throw malformed(`field ${field} has wire type ${type}`);
      if (type === VARINT) this.#readVarints(wire.pos + 1);
      else {
        this.#count(1);
        this.#copy(wire.pos + DATATYPES[this.#datatype].size);
      }
    }
  }

  #startText(end: number): void {
    const { bytes } = this.#memory;
    const length = end - this.#wire.pos;
    this.#count(1);
    let at = this.#written;
    bytes[at++] = length;
    bytes[at++] = length >>> 8;
    bytes[at++] = length >>> 16;
    bytes[at++] = length >>> 24;
    this.#written = at;
    this.#runEnd = end;
  }

  /** Reads elements of a packed field, or bytes of a text, up to `stop`. */
  #readRun(stop: number): void {
    if (this.#field < 6) this.#readVarints(stop);
    else this.#copy(stop);
  }

  #copy(stop: number): void {
    const wire = this.#wire;
    if (stop > wire.end) throw malformed(`it ends within ${CONTENTS_FIELDS[this.#field]} of ${this.#target.what}`);
    this.#memory.bytes.set(wire.bytes.subarray(wire.pos, stop), this.#written);
    this.#written += stop - wire.pos;
    wire.pos = stop;
  }

  /** Reads varints until one begins at `stop` or behind it. */
  #readVarints(stop: number): void {
    const wire = this.#wire;
    const { count } = this.#target;
    const { int8, int16, int32, offset } = this.#memory;
    const datatype = this.#datatype;
    // A number must not run over the end of its field.
    const outer = wire.end;
    if (this.#runEnd > wire.pos) wire.end = this.#runEnd;
    let index = this.#index;
    while (wire.pos < stop) {
      if (index >= count) throw this.#tooMany();
      wire.readVarint();
      const { low } = wire;
      switch (datatype) {
        case 'BOOL':
          int8[offset + index] = (low | wire.high) === 0 ? 0 : 1;
          break;
        case 'INT8':
          if (low < -0x80 || low > 0x7f) throw this.#outOfRange(index, low);
          int8[offset + index] = low;
          break;
        case 'UINT8':
          if (low < 0 || low > 0xff) throw this.#outOfRange(index, low >>> 0);
          int8[offset + index] = low;
          break;
        case 'INT16':
          if (low < -0x8000 || low > 0x7fff) throw this.#outOfRange(index, low);
          int16[offset / 2 + index] = low;
          break;
        case 'UINT16':
          if (low < 0 || low > 0xffff) throw this.#outOfRange(index, low >>> 0);
          int16[offset / 2 + index] = low;
          break;
        case 'INT32':
        case 'UINT32':
          int32[offset / 4 + index] = low;
          break;
        default:
          int32[offset / 4 + 2 * index] = low;
          int32[offset / 4 + 2 * index + 1] = wire.high;
      }
      index++;
    }
    this.#index = index;
    wire.end = outer;
  }

  #count(elements: number): void {
    this.#index += elements;
    if (this.#index > this.#target.count) throw this.#tooMany();
  }

  #tooFew(): ShoalError {
    return this.#wrongCount('fewer');
  }

  #tooMany(): ShoalError {
    return this.#wrongCount('more');
  }

  #wrongCount(how: string): ShoalError {
    const { what, shape, count } = this.#target;
    return invalid(`the contents of ${what} have ${how} elements than the ${count} of its shape ${formatShape(shape)}`);
  }

  #outOfRange(index: number, value: number): ShoalError {
    return invalid(`element ${index} of ${this.#target.what} is ${value}, which ${this.#datatype} cannot hold`);
  }

  #wrongField(field: number): ShoalError {
    return invalid(
      `${this.#target.what} is ${this.#datatype}, which stands in ${CONTENTS_FIELDS[this.#field]}, not in ${CONTENTS_FIELDS[field]}`,
    );
  }
}
