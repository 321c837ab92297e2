import { numberToHalf } from '../tensor/float16.ts';
import { type Datatype, isDatatype, type Tensor } from '../tensor/tensor.ts';
import { makeTensor } from '../tensor/typed.ts';

/** Inputs by name, as a caller would send them. */
export type Sample = ReadonlyMap<string, Tensor>;

/** More are of no use to a probe. */
const MOST_SAMPLES = 16;

/**
 * Reads sample requests for the probe: a JSON array of inference requests of the Open Inference Protocol, of which only
 * `inputs` counts, each with `name`, `datatype`, `shape` and `data`, flat or nested.
 *
 * @throws {Error} that names the sample and what is wrong with it.
 */
export function parseSamples(text: string): Sample[] {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (cause) {
    throw new Error('it is not JSON', { cause });
  }
  if (!Array.isArray(list) || list.length === 0 || list.length > MOST_SAMPLES) {
    throw new Error(`it is not an array of 1 to ${MOST_SAMPLES} requests`);
  }
  return list.map((request: unknown, i) => {
    const inputs = isObject(request) ? request['inputs'] : undefined;
    if (!Array.isArray(inputs)) throw new Error(`request ${i} has no array 'inputs'`);
    const sample = new Map<string, Tensor>();
    for (const input of inputs as unknown[]) {
      const { name, datatype, shape, data } = isObject(input) ? input : {};
      if (typeof name !== 'string') throw new Error(`an input of request ${i} has no name`);
      const what = `input '${name}' of request ${i}`;
      if (typeof datatype !== 'string' || !isDatatype(datatype)) throw new Error(`${what} has no known datatype`);
      if (!isShape(shape)) throw new Error(`${what} has no shape`);
      if (!Array.isArray(data)) throw new Error(`${what} has no data`);
      try {
        sample.set(name, tensorOf(datatype, shape, data.flat(Number.POSITIVE_INFINITY) as unknown[]));
      } catch (thrown) {
        throw new Error(`${what}: ${thrown instanceof Error ? thrown.message : String(thrown)}`, { cause: thrown });
      }
    }
    return sample;
  });
}

function tensorOf(datatype: Datatype, shape: readonly number[], data: readonly unknown[]): Tensor {
  if (datatype === 'BYTES') {
    return makeTensor(
      datatype,
      shape,
      data.map((one) => {
        if (typeof one !== 'string') throw new Error('an element is not a string');
        return one;
      }),
    );
  }
  const numbers = data.map((one) => {
    if (typeof one === 'boolean' && datatype === 'BOOL') return Number(one);
    if (typeof one !== 'number') throw new Error('an element is not a number');
    return one;
  });
  switch (datatype) {
    case 'INT64':
      return makeTensor(datatype, shape, BigInt64Array.from(numbers, BigInt));
    case 'UINT64':
      return makeTensor(datatype, shape, BigUint64Array.from(numbers, BigInt));
    case 'FP16':
      return makeTensor(datatype, shape, Uint16Array.from(numbers, numberToHalf));
    case 'FP32':
      return makeTensor(datatype, shape, Float32Array.from(numbers));
    case 'FP64':
      return makeTensor(datatype, shape, Float64Array.from(numbers));
    case 'INT8':
      return makeTensor(datatype, shape, Int8Array.from(numbers));
    case 'INT16':
      return makeTensor(datatype, shape, Int16Array.from(numbers));
    case 'INT32':
      return makeTensor(datatype, shape, Int32Array.from(numbers));
    case 'UINT16':
      return makeTensor(datatype, shape, Uint16Array.from(numbers));
    case 'UINT32':
      return makeTensor(datatype, shape, Uint32Array.from(numbers));
    default:
      return makeTensor(datatype, shape, Uint8Array.from(numbers));
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isShape(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((dim) => Number.isSafeInteger(dim) && (dim as number) >= 0);
}
