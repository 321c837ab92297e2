import { invalid, messageOf } from '../errors.ts';
import { asBuffer, encodeStrings, formatShape, type Tensor } from '../tensor/tensor.ts';
import { makeTensor, readTensor } from '../tensor/typed.ts';
import type { CompiledField } from './compiled-field.ts';

/** Values of fields by name. */
export type Values = Readonly<Record<string, unknown>>;

/**
 * The values of a pipeline's inputs from the tensors that carry them. They are not checked against their schemas.
 *
 * @param what the pipeline in messages.
 * @throws {ShoalError} INVALID_REQUEST that names the input, what came and what was expected.
 */
export function valuesFromTensors(
  what: string,
  fields: readonly CompiledField[],
  tensors: ReadonlyMap<string, Tensor>,
): Values {
  const values: Record<string, unknown> = {};
  let known = 0;
  for (const field of fields) {
    const tensor = tensors.get(field.name);
    if (tensor === undefined) continue;
    known++;
    values[field.name] = valueFromTensor(`input '${field.name}' of ${what}`, field, tensor);
  }
  if (known < tensors.size) {
    const names = fields.map(({ name }) => name);
    const extra = [...tensors.keys()].find((name) => !names.includes(name));
    throw unknownInput(what, String(extra), names);
  }
  return values;
}

/** The error for an input that a pipeline does not have. */
export function unknownInput(what: string, name: string, known: readonly string[]): Error {
  return invalid(`${what} has no input '${name.slice(0, 80)}', only ${known.map((one) => `'${one}'`).join(', ')}`);
}

/**
 * Completes the values of a pipeline's inputs by their defaults and checks them.
 *
 * @throws {ShoalError} INVALID_REQUEST that names the input, what came and what was expected.
 */
export function checkInputValues(what: string, fields: readonly CompiledField[], given: Values): Values {
  const values: Record<string, unknown> = {};
  for (const field of fields) {
    let value = given[field.name];
    if (value === undefined && field.kind === 'json' && field.fallback !== undefined) {
      value = structuredClone(field.fallback);
    }
    const { datatype, shape } = field.spec;
    if (value === undefined && !field.isOptional) {
      const kind = field.kind === 'tensor' ? `${datatype} ${formatShape(shape)}` : kindOf(field);
      throw invalid(`${what} needs input '${field.name}' (${kind}), the request has none`);
    }
    const problem = field.check(value);
    if (problem !== undefined) throw invalid(`input '${field.name}' of ${what} ${problem}`);
    if (value !== undefined) values[field.name] = value;
  }
  return values;
}

/** What a field takes, in a word. */
function kindOf(field: CompiledField): string {
  if (field.kind !== 'json') return field.kind;
  const { type } = field.field as { readonly type?: unknown };
  return typeof type === 'string' ? type : 'JSON';
}

/** The tensor that carries the value of an output, which has been checked; none for one that is left out is empty. */
export function tensorFromValue(field: CompiledField, value: unknown): Tensor {
  if (field.kind === 'tensor') return value as Tensor;
  const { datatype } = field.spec;
  if (value === undefined) return { datatype, shape: [0], bytes: new Uint8Array(0) };
  if (field.kind === 'bytes') return { datatype, shape: [1], bytes: encodeStrings([value as Uint8Array]) };
  if (field.form === 'text') return makeTensor('BYTES', [1], [JSON.stringify(value)]);
  const list = field.isList ? (value as readonly unknown[]) : [value];
  const shape = [list.length];
  switch (field.form) {
    case 'string':
      return makeTensor('BYTES', shape, list as readonly string[]);
    case 'integer':
      return makeTensor(
        'INT64',
        shape,
        BigInt64Array.from(list as readonly number[], (one) => BigInt(one)),
      );
    case 'number':
      return makeTensor('FP64', shape, Float64Array.from(list as readonly number[]));
    case 'boolean':
      return makeTensor('BOOL', shape, Uint8Array.from(list as readonly boolean[], Number));
  }
}

function valueFromTensor(what: string, field: CompiledField, tensor: Tensor): unknown {
  const { datatype, shape } = field.spec;
  if (field.kind === 'tensor') return tensor;
  if (tensor.datatype !== datatype) throw invalid(`${what} is ${datatype}, the request has ${tensor.datatype}`);
  const isList = field.kind === 'json' && field.isList;
  const fits = tensor.shape.length === 1 && (isList || tensor.shape[0] === 1);
  if (!fits) {
    const expected = isList ? shape : [1];
    throw invalid(`${what} has shape ${formatShape(tensor.shape)}, expected ${formatShape(expected)}`);
  }
  if (field.kind === 'bytes') {
    const buffer = asBuffer(tensor.bytes);
    return buffer.subarray(4, 4 + buffer.readUInt32LE(0));
  }
  const elements: readonly (number | bigint | string)[] = Array.from(
    readTensor(tensor) as ArrayLike<number | bigint | string>,
  );
  switch (field.form) {
    case 'string':
      return isList ? elements : elements[0];
    case 'text':
      return parseText(what, String(elements[0]));
    case 'integer':
      return isList ? elements.map((one) => integer(what, one)) : integer(what, elements[0]!);
    case 'number':
      return isList ? elements.map(Number) : Number(elements[0]);
    case 'boolean':
      return isList ? elements.map((one) => one !== 0) : elements[0] !== 0;
  }
}

/** An INT64 as a number, which must hold it exactly. */
function integer(what: string, value: bigint | number | string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw invalid(`${what} is ${value}, expected an integer of at most 53 bits`);
}

/** JSON text of more bytes than this would hold the event loop for too long; numbers in such numbers are tensors. */
const MAX_JSON_BYTES = 1_048_576;

function parseText(what: string, text: string): unknown {
  if (text.length > MAX_JSON_BYTES) throw invalid(`${what} is JSON text of more than ${MAX_JSON_BYTES} bytes`);
  return parseJson(text, (thrown) => invalid(`${what} is no JSON text: ${messageOf(thrown)}`));
}

/**
 * Parses JSON text. Keys that would change what an object is are refused: code that merges objects could be led astray.
 *
 * @param fail makes the error for what is no JSON.
 * @throws {ShoalError} INVALID_REQUEST.
 */
export function parseJson(text: string, fail: (thrown: unknown) => Error): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (thrown) {
    throw fail(thrown);
  }
  // Only text that can spell such a key is looked through.
  if (/__proto__|\\u/.test(text)) refuseProto(value, fail);
  return value;
}

function refuseProto(value: unknown, fail: (thrown: unknown) => Error): void {
  const stack: unknown[] = [value];
  while (stack.length > 0) {
    const one = stack.pop();
    if (typeof one !== 'object' || one === null) continue;
    if (Object.hasOwn(one, '__proto__')) throw fail(new Error("it has the key '__proto__'"));
    // Spread into a call, a long array would exceed the stack.
    for (const part of Object.values(one)) stack.push(part);
  }
}
