import { invalid } from '../errors.ts';
import { ByteWriter } from './byte-writer.ts';
import { quoteName } from './json-text.ts';
import { DATATYPES, type Datatype, elementCount, encodeStrings, formatShape, type Tensor } from './tensor.ts';
import { ARRAYS } from './typed.ts';

/** Elements compared between two pauses, and texts made; each takes well below a millisecond. */
const COMPARED = 4096;
const TEXTS = 512;

/** An output whose elements are to be ranked. */
export interface Ranked {
  /** The output's name, for error messages. */
  readonly name: string;
  /** The axis that counts the rows, each of which is ranked for itself; null ranks all elements together. */
  readonly batchAxis: number | null;
  /** How many of the largest are asked for, 1 or more. */
  readonly classes: number;
  /** The names of the classes, by their index; an index may have none. */
  readonly labels: readonly string[];
}

/**
 * The largest elements of each row of a numeric tensor as texts `value:index[:label]`, largest first; equal ones keep
 * their order, and NaN comes last. The index counts the elements of the row, whatever its shape.
 *
 * A generator that pauses now and then, so that large rows do not hold the event loop.
 *
 * @returns a BYTES tensor `[rows, k]`, or `[k]` without an axis of rows, where k is the smaller of `classes` and the
 * elements of a row. It owns its bytes.
 * @throws {ShoalError} INVALID_REQUEST for datatypes that are not ranked and for rows without elements.
 */
export function* classify(tensor: Tensor, ranked: Ranked): Generator<void, Tensor, void> {
  const { name, batchAxis, classes, labels } = ranked;
  const { datatype, shape } = tensor;
  refuseUnrankable(name, datatype, shape);
  const axis = batchAxis ?? -1;
  const rows = batchAxis === null ? 1 : shape[axis]!;
  const inner = elementCount(shape.slice(axis + 1));
  const outer = elementCount(shape.slice(0, Math.max(0, axis)));
  const values = elementsOf(tensor);
  const k = Math.min(classes, outer * inner);
  const writer = new ByteWriter(24 * Math.min(rows * k, 65_536));
  for (let row = 0; row < rows; row++) {
    const own = outer === 1 ? values.subarray(row * inner, (row + 1) * inner) : gather(values, row, rows, inner);
    const best = yield* largest(own, k);
    for (let start = 0; start < k; start += TEXTS) {
      if (start > 0) yield;
      const texts: string[] = [];
      for (const index of best.subarray(start, start + TEXTS))
        texts.push(describe(own[index]!, datatype, index, labels));
      const bytes = encodeStrings(texts);
      writer.append(bytes, 0, bytes.length);
    }
    if (row % 64 === 63) yield;
  }
  return { datatype: 'BYTES', shape: batchAxis === null ? [k] : [rows, k], bytes: writer.finish() };
}

/**
 * Refuses what cannot be ranked: datatypes without an order of numbers, and shapes that are known to have no elements.
 *
 * @param shape −1 stands for a dimension of any size.
 * @throws {ShoalError} INVALID_REQUEST.
 */
export function refuseUnrankable(name: string, datatype: Datatype, shape: readonly number[]): void {
  const what = `output ${quoteName(name)}`;
  if (datatype === 'FP16' || datatype === 'BOOL' || datatype === 'BYTES') {
    throw invalid(
      `${what} is ${datatype}, of which there is no classification: only integers, FP32 and FP64 are ranked`,
    );
  }
  if (shape.includes(0)) throw invalid(`${what} of shape ${formatShape(shape)} has no elements to classify`);
}

type Elements =
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Float32Array
  | Float64Array;

function elementsOf({ datatype, bytes }: Tensor): Elements {
  const array = ARRAYS[datatype as Exclude<Datatype, 'BYTES'>];
  const size = DATATYPES[datatype].size;
  const aligned = bytes.byteOffset % size === 0 ? bytes : Uint8Array.from(bytes);
  return new array(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / size);
}

/** The elements of one row where other dimensions come before the rows. */
function gather<T extends Elements>(values: T, row: number, rows: number, inner: number): T {
  const own = values.slice(0, values.length / rows) as T;
  for (let to = 0, from = row * inner; to < own.length; to += inner, from += rows * inner) {
    // The same kind of array on both sides, which the compiler cannot see.
    (own as Float64Array).set(values.subarray(from, from + inner) as Float64Array, to);
  }
  return own;
}

/** The indices of the `k` largest, in order. A heap keeps the best so far with the worst of them on top. */
function* largest(values: Elements, k: number): Generator<void, Uint32Array, void> {
  const heap = new Uint32Array(k);
  for (let i = 0; i < values.length; i++) {
    if (i < k) rise(heap, i, i, values);
    else if (comesBefore(values, i, heap[0]!)) sink(heap, k, i, values);
    if (i % COMPARED === COMPARED - 1) yield;
  }
  for (let size = k - 1; size > 0; size--) {
    const worst = heap[0]!;
    sink(heap, size, heap[size]!, values);
    heap[size] = worst;
    if (size % COMPARED === 0) yield;
  }
  return heap;
}

/** Puts `index` into the heap, from the free place `at` upwards. */
function rise(heap: Uint32Array, at: number, index: number, values: Elements): void {
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!comesBefore(values, heap[parent]!, index)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = index;
}

/** Puts `index` in place of the top of a heap of `size`. */
function sink(heap: Uint32Array, size: number, index: number, values: Elements): void {
  let at = 0;
  for (let child = 1; child < size; child = 2 * at + 1) {
    if (child + 1 < size && comesBefore(values, heap[child]!, heap[child + 1]!)) child++;
    if (!comesBefore(values, index, heap[child]!)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = index;
}

function comesBefore(values: Elements, i: number, j: number): boolean {
  const a = values[i]!;
  const b = values[j]!;
  if (a > b) return true;
  if (a < b) return false;
  const aIsNaN = Number.isNaN(a);
  const bIsNaN = Number.isNaN(b);
  return aIsNaN === bIsNaN ? i < j : bIsNaN;
}

function describe(value: number | bigint, datatype: Datatype, index: number, labels: readonly string[]): string {
  const isFloat = datatype === 'FP32' || datatype === 'FP64';
  const text = `${isFloat ? formatFixed(Number(value)) : value}:${index}`;
  const label = labels[index];
  return label === undefined || label === '' ? text : `${text}:${label}`;
}

/** A number with six decimals, digit for digit as C's `%f` has it. */
function formatFixed(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf';
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const size = Math.abs(value);
  // From there on JavaScript would write an exponent; such a number is an integer.
  if (size >= 1e21) return `${sign}${BigInt(size)}.000000`;
  const eighths = size * 128;
  // Halfway between two texts (only odd multiples of 2^-7 are): C takes the even one, JavaScript the larger.
  if (Number.isSafeInteger(eighths) && eighths % 2 === 1) {
    const below = (BigInt(eighths) * 15_625n) / 2n;
    const even = below % 2n === 0n ? below : below + 1n;
    return `${sign}${even / 1_000_000n}.${String(even % 1_000_000n).padStart(6, '0')}`;
  }
  return `${sign}${size.toFixed(6)}`;
}
