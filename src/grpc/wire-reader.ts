import { isUtf8 } from 'node:buffer';
import { invalid, type ShoalError } from '../errors.ts';

/** Wire types of protobuf. */
export const VARINT = 0;
export const FIXED64 = 1;
export const DELIMITED = 2;
export const FIXED32 = 5;

/**
 * A position in a protobuf message. Values are read where they stand: strings are decoded only when asked for, and
 * 64-bit integers come as two halves, so that none is rounded and none becomes an object.
 */
export class WireReader {
  readonly bytes: Buffer;
  pos = 0;
  /** Where the message that is being read ends; at most the end of `bytes`. */
  end: number;
  /** The number of the field read last. */
  field = 0;
  /** Its wire type. */
  type = 0;
  /** The lower half of the varint read last, as a signed integer; all of it when it is a 32-bit value. */
  low = 0;
  /** The upper half of the varint read last, as a signed integer. */
  high = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.end = bytes.length;
  }

  /** Reads the tag of the next field into {@link field} and {@link type}. @throws {ShoalError} INVALID_REQUEST. */
  readTag(): void {
    this.readVarint();
    const tag = this.low >>> 0;
    this.field = tag >>> 3;
    this.type = tag & 7;
    if (this.high !== 0 || this.field === 0) throw malformed('a tag is no field number');
  }

  /** Reads a varint into {@link low} and {@link high}. @throws {ShoalError} INVALID_REQUEST when it is cut short or too long. */
  readVarint(): void {
    const { bytes, end } = this;
    let { pos } = this;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (pos >= end) throw malformed('it ends within a number');
      const byte = bytes[pos++]!;
      if (shift < 28) low |= (byte & 0x7f) << shift;
      else if (shift === 28) {
        low |= (byte & 0x0f) << 28;
        high = (byte & 0x70) >> 4;
      } else high |= (byte & 0x7f) << (shift - 32);
      if (byte < 0x80) {
        this.pos = pos;
        this.low = low;
        this.high = high;
        return;
      }
    }
    throw malformed('a number has more than ten bytes');
  }

  /** The varint read last as a number; exact up to 2^53. */
  unsigned(): number {
    return (this.high >>> 0) * 0x1_0000_0000 + (this.low >>> 0);
  }

  /**
   * Reads the length of a delimited field and checks that it is all there.
   *
   * @returns where it ends; {@link pos} stands at its beginning.
   * @throws {ShoalError} INVALID_REQUEST.
   */
  readDelimited(): number {
    if (this.type !== DELIMITED) throw malformed(`field ${this.field} has wire type ${this.type}`);
    this.readVarint();
    const end = this.pos + this.unsigned();
    if (end > this.end) throw malformed(`it ends within field ${this.field}`);
    return end;
  }

  /** Reads a `bytes` field: a view. @throws {ShoalError} INVALID_REQUEST. */
  readBytes(): Buffer {
    const end = this.readDelimited();
    const view = this.bytes.subarray(this.pos, end);
    this.pos = end;
    return view;
  }

  /** Reads a `string` field. @throws {ShoalError} INVALID_REQUEST, also when it is not UTF-8. */
  readString(): string {
    const end = this.readDelimited();
    const { pos, bytes } = this;
    this.pos = end;
    const text = bytes.toString('utf8', pos, end);
    // U+FFFD may have been sent as such.
    if (text.includes('\ufffd') && !isUtf8(bytes.subarray(pos, end))) {
      throw malformed(`the string in field ${this.field} is not valid UTF-8`);
    }
    return text;
  }

  /** Reads a `string` field as its bytes: a view. @throws {ShoalError} INVALID_REQUEST, also when they are not UTF-8. */
  readText(): Buffer {
    const bytes = this.readBytes();
    if (!isUtf8(bytes)) throw malformed(`the string in field ${this.field} is not valid UTF-8`);
    return bytes;
  }

  /** Passes over the value of the field read last. @throws {ShoalError} INVALID_REQUEST. */
  skip(): void {
    switch (this.type) {
      case VARINT:
        this.readVarint();
        return;
      case DELIMITED:
        this.pos = this.readDelimited();
        return;
      case FIXED64:
      case FIXED32:
        this.#pass(this.type === FIXED64 ? 8 : 4);
        return;
      default:
        throw malformed(`field ${this.field} has wire type ${this.type}`);
    }
  }

  /** Reads a `double` field. @throws {ShoalError} INVALID_REQUEST. */
  readDouble(): number {
    if (this.type !== FIXED64) throw malformed(`field ${this.field} has wire type ${this.type}`);
    this.#pass(8);
    return this.bytes.readDoubleLE(this.pos - 8);
  }

  /** Reads a varint field. @throws {ShoalError} INVALID_REQUEST when it has another wire type. */
  readVarintField(): void {
    if (this.type !== VARINT) throw malformed(`field ${this.field} has wire type ${this.type}`);
    this.readVarint();
  }

  #pass(size: number): void {
    this.pos += size;
    if (this.pos > this.end) throw malformed(`it ends within field ${this.field}`);
  }
}

/** The error for bytes that are no protobuf message of the type expected. */
export function malformed(why: string): ShoalError {
  return invalid(`the message is not well-formed: ${why}`);
}
