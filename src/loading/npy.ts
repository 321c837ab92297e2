import { open } from 'node:fs/promises';
import { invalid } from '../errors.ts';
import { DATATYPES, type Datatype, formatShape, type Tensor } from '../tensor/tensor.ts';

/** Kinds of elements of NumPy that have a datatype here, by their description without byte order. */
const DATATYPE_OF: Readonly<Record<string, Datatype>> = {
  b1: 'BOOL',
  u1: 'UINT8',
  u2: 'UINT16',
  u4: 'UINT32',
  u8: 'UINT64',
  i1: 'INT8',
  i2: 'INT16',
  i4: 'INT32',
  i8: 'INT64',
  f2: 'FP16',
  f4: 'FP32',
  f8: 'FP64',
};

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');

/** More than any header that NumPy writes for plain arrays. */
const MAX_HEADER_BYTES = 65_536;

/** About so much is read at a time. */
const READ_BYTES = 256 * 1024;

/** What the header of an array file says. */
export interface NpyHeader {
  readonly datatype: Datatype;
  /** At least one dimension; the first one counts the rows. */
  readonly shape: readonly number[];
  /** Where the data begins in the file. */
  readonly offset: number;
}

/** Whether bytes begin as a file of NumPy's array format does. */
export function isNpy(head: Uint8Array): boolean {
  return MAGIC.every((byte, i) => head[i] === byte);
}

/**
 * Reads the header of NumPy's array format (NEP 1; versions 1, 2 and 3).
 *
 * @param head the beginning of the file.
 * @param what what messages call the file.
 * @throws {ShoalError} INVALID_REQUEST for other files, and for arrays of objects, of other byte order, in Fortran's
 * order or without dimensions.
 */
export function parseNpyHeader(head: Buffer, what: string): NpyHeader {
  if (head.length < 10 || !isNpy(head)) throw invalid(`${what} is not a NumPy array file`);
  const isLong = head[6]! >= 2;
  const start = isLong ? 12 : 10;
  const length = isLong && head.length >= 12 ? head.readUInt32LE(8) : head.readUInt16LE(8);
  if (length > MAX_HEADER_BYTES || start + length > head.length) {
    throw invalid(`${what} says that its header has ${length} bytes, which is more than it has or may have`);
  }
  const text = head.toString('latin1', start, start + length);
  const description = /'descr':\s*'([<>|=]?)([a-zA-Z]\d*)'/.exec(text);
  const order = /'fortran_order':\s*(True|False)/.exec(text)?.[1];
  const dims = /'shape':\s*\(([\d,\s]*)\)/.exec(text)?.[1];
  if (description === null || order === undefined || dims === undefined) {
    throw invalid(`${what} is an array of records or objects, or its header is damaged: ${text.trim().slice(0, 200)}`);
  }
  const [, byteOrder, kind] = description;
  const datatype = DATATYPE_OF[kind!];
  if (datatype === undefined) throw invalid(`${what} has elements of NumPy's type ${kind}, which no model takes`);
  if (byteOrder === '>') throw invalid(`${what} is big-endian; save it as little-endian`);
  if (order === 'True') throw invalid(`${what} is in Fortran's order; save it in C's, which has whole rows`);
  const shape = dims.split(',').flatMap((dim) => (dim.trim() === '' ? [] : [Number(dim)]));
  if (!shape.every(Number.isSafeInteger)) throw invalid(`${what} has a damaged shape, (${dims.slice(0, 100)})`);
  if (shape.length === 0) throw invalid(`${what} has no dimensions, expected one for its rows`);
  return { datatype, shape, offset: start + length };
}

/**
 * The rows of an array file, one after the other: tensors of its shape with 1 in place of the first dimension. The file
 * is read in pieces of some hundred kilobytes, of which the tensors are views.
 *
 * @param from the row to begin with; default 0.
 * @throws {ShoalError} INVALID_REQUEST as {@link parseNpyHeader}, and when the file ends before its rows do.
 */
export async function* npyRows(file: string, from = 0): AsyncGenerator<Tensor, void, undefined> {
  const handle = await open(file);
  try {
    const head = Buffer.alloc(MAX_HEADER_BYTES + 12);
    const { bytesRead } = await handle.read(head, 0, head.length, 0);
    const { datatype, shape, offset } = parseNpyHeader(head.subarray(0, bytesRead), file);
    const [rows, ...rest] = shape as [number, ...number[]];
    const rowBytes = rest.reduce((product, dim) => product * dim, DATATYPES[datatype].size);
    const rowShape = [1, ...rest];
    const atOnce = Math.max(1, Math.floor(READ_BYTES / Math.max(1, rowBytes)));
    for (let row = from; row < rows; row += atOnce) {
      const count = Math.min(atOnce, rows - row);
      const piece = Buffer.allocUnsafeSlow(count * rowBytes);
      const read = await handle.read(piece, 0, piece.length, offset + row * rowBytes);
      if (read.bytesRead < piece.length) {
        const whole = row + Math.floor(read.bytesRead / rowBytes);
        throw invalid(`${file} ends after ${whole} of the ${rows} rows of its shape ${formatShape(shape)}`);
      }
      for (let i = 0; i < count; i++) {
        yield { datatype, shape: rowShape, bytes: piece.subarray(i * rowBytes, (i + 1) * rowBytes) };
      }
    }
  } finally {
    await handle.close();
  }
}
