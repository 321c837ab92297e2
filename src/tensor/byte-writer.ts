/** A Buffer that grows while text and bytes are appended. */
export class ByteWriter {
  #bytes: Buffer;
  #used = 0;

  /** @param expectedBytes how much will probably be written. */
  constructor(expectedBytes: number) {
    this.#bytes = Buffer.allocUnsafe(expectedBytes);
  }

  /** The bytes written so far. */
  get length(): number {
    return this.#used;
  }

  /** Appends `text`, which has to be ASCII. */
  ascii(text: string): void {
    this.#reserve(text.length);
    this.#bytes.write(text, this.#used, 'latin1');
    this.#used += text.length;
  }

  /** Appends `text` as UTF-8. */
  text(text: string): void {
    this.#reserve(3 * text.length);
    this.#used += this.#bytes.write(text, this.#used, 'utf8');
  }

  /** Appends `bytes[start, end)`. */
  append(bytes: Uint8Array, start: number, end: number): void {
    this.#reserve(end - start);
    this.#bytes.set(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end), this.#used);
    this.#used += end - start;
  }

  /** Takes back the last byte. */
  dropLast(): void {
    this.#used--;
  }

  /** What was written, without a copy unless it would keep much more memory alive than it is. */
  finish(): Buffer {
    const written = this.#bytes.subarray(0, this.#used);
    // Pages that were never written take no memory, so a tail may stay.
    return this.#bytes.length - this.#used > 4096 + this.#used / 2 ? Buffer.from(written) : written;
  }

  #reserve(size: number): void {
    const needed = this.#used + size;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, Math.ceil(this.#bytes.length * 1.5)));
    this.#bytes.copy(larger, 0, 0, this.#used);
    this.#bytes = larger;
  }
}
