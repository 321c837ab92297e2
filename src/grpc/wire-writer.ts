/** Bytes of `value`, a whole number from 0 to 2^53, as a varint. */
export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++;
  return size;
}

/** Bytes of a delimited field with a number below 16. */
export function delimitedSize(length: number): number {
  return 1 + varintSize(length) + length;
}

/** Writes protobuf fields into memory that grows. Field numbers are below 16, so that a tag is one byte. */
export class WireWriter {
  #bytes: Buffer;
  #pos = 0;

  /** @param expectedBytes how much will be written; less is made good. */
  constructor(expectedBytes: number) {
    this.#bytes = Buffer.allocUnsafe(expectedBytes);
  }

  /** What was written; it is not to be written on. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.#pos);
  }

  /** Writes a whole number from 0 to 2^53. */
  varint(value: number): void {
    this.#reserve(10);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#pos++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#pos++] = rest;
  }

  /** Writes a 64-bit number given as its halves. */
  varint64(low: number, high: number): void {
    this.#reserve(10);
    const bytes = this.#bytes;
    let pos = this.#pos;
    let lower = low >>> 0;
    let upper = high >>> 0;
    while (upper > 0 || lower > 0x7f) {
      bytes[pos++] = (lower & 0x7f) | 0x80;
      lower = ((lower >>> 7) | (upper << 25)) >>> 0;
      upper >>>= 7;
    }
    bytes[pos++] = lower;
    this.#pos = pos;
  }

  /** Writes the tag and length of a delimited field, whose content is to follow. */
  delimited(field: number, length: number): void {
    this.#reserve(1);
    this.#bytes[this.#pos++] = (field << 3) | 2;
    this.varint(length);
  }

  /** Writes a `string` field. */
  string(field: number, text: string, length: number): void {
    this.delimited(field, length);
    this.#reserve(length);
    this.#pos += this.#bytes.write(text, this.#pos, length, 'utf8');
  }

  /** Writes `bytes[start, end)` as they are. */
  append(bytes: Uint8Array, start: number, end: number): void {
    this.#reserve(end - start);
    this.#bytes.set(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end), this.#pos);
    this.#pos += end - start;
  }

  #reserve(size: number): void {
    const needed = this.#pos + size;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, Math.ceil(this.#bytes.length * 1.5)));
    this.#bytes.copy(larger, 0, 0, this.#pos);
    this.#bytes = larger;
  }
}
