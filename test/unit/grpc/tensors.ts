import fc from 'fast-check';
import { type Datatype, encodeStrings } from '../../../src/tensor/tensor.ts';

/** Elements of a datatype in the three forms that tests compare; made without the code under test. */
export interface Elements {
  /** The field of `InferTensorContents`; undefined where none has them. */
  readonly field: string | undefined;
  /** As protobufjs takes them. */
  readonly values: readonly unknown[];
  /** As a tensor holds them. */
  readonly bytes: Buffer;
}

type Numbers = Exclude<Datatype, 'BYTES' | 'BOOL' | 'FP16'>;

const ARRAYS = {
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  UINT64: BigUint64Array,
  FP32: Float32Array,
  FP64: Float64Array,
};

const FIELDS: Readonly<Record<Numbers, string>> = {
  INT8: 'int_contents',
  INT16: 'int_contents',
  INT32: 'int_contents',
  INT64: 'int64_contents',
  UINT8: 'uint_contents',
  UINT16: 'uint_contents',
  UINT32: 'uint_contents',
  UINT64: 'uint64_contents',
  FP32: 'fp32_contents',
  FP64: 'fp64_contents',
};

/** `count` elements of `datatype`. */
export function elementsOf(datatype: Datatype, count: number): fc.Arbitrary<Elements> {
  const many = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(one, { minLength: count, maxLength: count });
  if (datatype === 'BYTES') {
    const text = fc.string({ unit: 'grapheme', maxLength: 20 }).filter((one) => !one.includes('\0'));
    return many(text).map((texts) => ({
      field: 'bytes_contents',
      values: texts.map((one) => Buffer.from(one)),
      bytes: encodeStrings(texts),
    }));
  }
  if (datatype === 'BOOL') {
    return many(fc.boolean()).map((values) => ({
      field: 'bool_contents',
      values,
      bytes: Buffer.from(values.map(Number)),
    }));
  }
  const width = datatype === 'FP16' ? 2 : ARRAYS[datatype].BYTES_PER_ELEMENT;
  const raw = fc.uint8Array({ minLength: count * width, maxLength: count * width });
  // Small numbers, whose varints are short, beside those that random bits make.
  const small = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: count, maxLength: count });
  if (datatype === 'FP16') {
    return raw.map((bytes) => ({ field: undefined, values: [], bytes: Buffer.from(bytes) }));
  }
  const make = (bytes: Uint8Array): Elements => {
    const array = new ARRAYS[datatype](Uint8Array.from(bytes).buffer);
    // The other bits of a NaN do not survive JavaScript's numbers.
    for (const [i, one] of array.entries()) if (Number.isNaN(one)) array[i] = Number.NaN;
    const values = Array.from<number | bigint, unknown>(array, (one) =>
      typeof one === 'bigint' ? one.toString() : one,
    );
    return { field: FIELDS[datatype], values, bytes: Buffer.from(array.buffer) };
  };
  const fromSmall = (numbers: number[]): Elements => {
    const big = datatype.endsWith('64') && datatype !== 'FP64';
    const values = datatype.startsWith('U') ? numbers.map(Math.abs) : numbers;
    const array = big ? BigInt64Array.from(values.map(BigInt)) : (ARRAYS[datatype] as typeof Int8Array).from(values);
    return make(new Uint8Array(array.buffer));
  };
  return fc.oneof(raw.map(make), small.map(fromSmall));
}
