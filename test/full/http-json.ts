import { DATATYPES, elementCount, encodeStrings, isDatatype, type Tensor } from '../../src/tensor/tensor.ts';
import { ARRAYS, readTensor } from '../../src/tensor/typed.ts';

/**
 * Tensors in JSON, written and read by code of the tests' own: exact to the last bit, which JSON.parse is not for
 * 64-bit integers.
 */

/** The `data` of a tensor. What has no number in JSON is written as Python's clients write it: `NaN`, `Infinity`. */
export function jsonData(tensor: Tensor): string {
  const { datatype } = tensor;
  if (datatype === 'FP16') throw new Error('FP16 has no form in JSON');
  const texts = Array.from<string | number | bigint, string>(readTensor(tensor), (value) => {
    if (datatype === 'BOOL') return value === 0 ? 'false' : 'true';
    if (typeof value === 'string') return JSON.stringify(value);
    return Object.is(value, -0) ? '-0.0' : String(value);
  });
  return `[${texts.join(',')}]`;
}

/** A tensor of a JSON reply. `null` becomes NaN. */
export function readJsonTensor(output: JsonOutput): Tensor {
  const { datatype, shape, data } = output;
  if (!isDatatype(datatype)) throw new Error(`a reply has the datatype ${datatype}`);
  const count = elementCount(shape.map(numberOf));
  if (data === undefined || data.length !== count) throw new Error(`${data?.length} elements instead of ${count}`);
  const plain = { datatype, shape: shape.map(numberOf) };
  if (datatype === 'BYTES') return { ...plain, bytes: encodeStrings(data.map(stringOf)) };
  const bytes = new Uint8Array(count * DATATYPES[datatype].size);
  const array = new ARRAYS[datatype](bytes.buffer, 0, count);
  for (const [i, value] of data.entries()) {
    if (array instanceof BigInt64Array || array instanceof BigUint64Array) array[i] = BigInt(sourceOf(value));
    else if (datatype === 'BOOL') array[i] = booleanOf(value) ? 1 : 0;
    else array[i] = value === null && /^FP/.test(datatype) ? Number.NaN : numberOf(value);
  }
  return { ...plain, bytes };
}

/** An output of a reply; numbers are {@link NumberText}. */
export interface JsonOutput {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly unknown[];
  readonly data?: readonly unknown[];
}

/** A number of a JSON text as it was written. */
export class NumberText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

const MARK = '\u0001';

/** A JSON text whose numbers are kept as they are written. */
export function parseExactly(text: string): unknown {
  // Strings are matched first, so that digits within them are left alone.
  const marked = text.replaceAll(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (token) =>
    token.startsWith('"') ? token : JSON.stringify(MARK + token),
  );
  return JSON.parse(marked, (_, value: unknown) =>
    typeof value === 'string' && value.startsWith(MARK) ? new NumberText(value.slice(1)) : value,
  );
}

function sourceOf(value: unknown): string {
  if (!(value instanceof NumberText)) throw new Error(`${JSON.stringify(value)} instead of a number`);
  return value.text;
}

function numberOf(value: unknown): number {
  return Number(sourceOf(value));
}

function stringOf(value: unknown): string {
  if (typeof value !== 'string') throw new Error(`${JSON.stringify(value)} instead of a string`);
  return value;
}

function booleanOf(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new Error(`${JSON.stringify(value)} instead of a boolean`);
  return value;
}
