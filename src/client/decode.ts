import type { BytesForm, OutputTensor, TensorType } from '../tensor/signature-types.ts';
import { DATATYPES, type Datatype, elementCount, formatShape, isDatatype } from '../tensor/tensor.ts';
import { readTensor } from '../tensor/typed.ts';
import { type Answer, badReply, excerptOf, headerOf, type ReplyHeaders } from './answer.ts';
import { HEADER_LENGTH } from './encode.ts';
import { isRecord, parseExact } from './json.ts';

/** An output of which nothing is known. */
export type AnyOutput = OutputTensor<TensorType, BytesForm>;

/** An inference reply, its tensors as arrays. */
export interface DecodedReply {
  readonly id: string | undefined;
  readonly modelName: string;
  /** The version that ran. */
  readonly modelVersion: string;
  readonly outputs: Readonly<Record<string, AnyOutput>>;
  /** The HTTP headers, such as `server-timing`. */
  readonly headers: ReplyHeaders;
}

/**
 * Reads an inference reply. Binary outputs are views of the answer's memory where their bytes are aligned (the first
 * always is), otherwise copies; whoever has the reply owns it.
 *
 * @throws {ShoalClientError} BAD_REPLY that says what does not add up.
 */
export function decodeReply(answer: Answer, bytesForm: BytesForm): DecodedReply {
  const { headers, body } = answer;
  const wrong = (why: string): Error => badReply(answer, why);
  const jsonBytes = jsonLength(answer);
  const reply = parse(answer, body.subarray(0, jsonBytes));
  const { id, model_name, model_version, outputs } = reply;
  if (!Array.isArray(outputs)) throw wrong(`its outputs are ${typeof outputs}, expected an array`);
  let at = jsonBytes;
  // A map of any names: `__proto__` would not become a property of a plain object.
  const decoded = new Map<string, AnyOutput>();
  for (const output of outputs as readonly unknown[]) {
    const { name, datatype, shape, size, data } = checkOutput(output, wrong);
    const what = `output '${name}'`;
    const count = elementCount(shape);
    if (size === undefined) {
      decoded.set(name, makeOutput(datatype, shape, fromJson(datatype, data, count, bytesForm, what, wrong)));
      continue;
    }
    const bytes = body.subarray(at, at + size);
    if (bytes.length < size) {
      throw wrong(`${what} should have ${size} bytes, after its beginning ${bytes.length} are left`);
    }
    at += size;
    decoded.set(name, makeOutput(datatype, shape, fromBytes(datatype, shape, bytes, bytesForm, what, wrong)));
  }
  if (at !== body.length) throw wrong(`${body.length - at} bytes are left behind its last output`);
  return {
    id: typeof id === 'string' ? id : undefined,
    modelName: typeof model_name === 'string' ? model_name : '',
    modelVersion: typeof model_version === 'string' ? model_version : '',
    outputs: Object.fromEntries(decoded),
    headers,
  };
}

/** The JSON of an answer that has nothing else. @throws {ShoalClientError} BAD_REPLY. */
export function parse(answer: Answer, json: Buffer = answer.body): Readonly<Record<string, unknown>> {
  const parsed = parseAny(answer, json);
  if (isRecord(parsed)) return parsed;
  throw badReply(answer, `its JSON is ${excerptOf(json)}, expected an object`);
}

/** {@link parse} for any JSON. @throws {ShoalClientError} BAD_REPLY. */
export function parseAny(answer: Answer, json: Buffer = answer.body): unknown {
  try {
    return parseExact(json.toString());
  } catch (thrown) {
    const type = headerOf(answer.headers, 'content-type') ?? 'of no named type';
    const excerpt = json.length === 0 ? 'is empty' : `begins with "${excerptOf(json)}"`;
    throw badReply(answer, `it is no JSON but ${type} and ${excerpt}`, thrown);
  }
}

function jsonLength(answer: Answer): number {
  const text = headerOf(answer.headers, HEADER_LENGTH);
  if (text === undefined) return answer.body.length;
  if (!/^\d+$/.test(text) || Number(text) > answer.body.length) {
    throw badReply(answer, `its ${HEADER_LENGTH} is ${text}, its body has ${answer.body.length} bytes`);
  }
  return Number(text);
}

interface CheckedOutput {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  /** Bytes of its binary section; undefined: it has `data`. */
  readonly size: number | undefined;
  readonly data: unknown;
}

function checkOutput(output: unknown, wrong: (why: string) => Error): CheckedOutput {
  if (!isRecord(output)) throw wrong('an output is no object');
  const { name, datatype, shape, data, parameters } = output;
  if (typeof name !== 'string') throw wrong('an output has no name');
  if (typeof datatype !== 'string' || !isDatatype(datatype)) {
    throw wrong(`output '${name}' has the datatype ${JSON.stringify(datatype)}, which there is not`);
  }
  if (!Array.isArray(shape) || !shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) {
    throw wrong(`output '${name}' has the shape ${JSON.stringify(shape)}`);
  }
  const size = isRecord(parameters) ? parameters['binary_data_size'] : undefined;
  if (size === undefined) return { name, datatype, shape, size, data };
  if (!Number.isSafeInteger(size) || Number(size) < 0) throw wrong(`output '${name}' has ${String(size)} bytes`);
  return { name, datatype, shape, size: Number(size), data };
}

function fromBytes(
  datatype: Datatype,
  shape: readonly number[],
  bytes: Buffer,
  bytesForm: BytesForm,
  what: string,
  wrong: (why: string) => Error,
): unknown {
  const count = elementCount(shape);
  if (datatype === 'BYTES') return readBytes(bytes, count, bytesForm, what, wrong);
  const expected = count * DATATYPES[datatype].size;
  if (bytes.length !== expected) {
    throw wrong(`${what}, ${datatype} of shape ${formatShape(shape)}, has ${bytes.length} bytes, expected ${expected}`);
  }
  return readTensor({ datatype, shape, bytes });
}

/** The elements of a BYTES section: for each its length as uint32, then its bytes. */
function readBytes(
  bytes: Buffer,
  count: number,
  bytesForm: BytesForm,
  what: string,
  wrong: (why: string) => Error,
): (string | Uint8Array)[] {
  const elements: (string | Uint8Array)[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const start = at + 4;
    const end = start > bytes.length ? start : start + bytes.readUInt32LE(at);
    if (end > bytes.length) throw wrong(`${what} ends within element ${i} of ${count}`);
    elements.push(bytesForm === 'text' ? bytes.toString('utf8', start, end) : bytes.subarray(start, end));
    at = end;
  }
  if (at !== bytes.length) throw wrong(`${what} has ${bytes.length - at} bytes behind its last element`);
  return elements;
}

function fromJson(
  datatype: Datatype,
  data: unknown,
  count: number,
  bytesForm: BytesForm,
  what: string,
  wrong: (why: string) => Error,
): unknown {
  if (!Array.isArray(data)) throw wrong(`${what} has neither data nor a binary section`);
  const flat = data.some(Array.isArray) ? (data.flat(Number.POSITIVE_INFINITY) as unknown[]) : data;
  if (flat.length !== count) throw wrong(`${what} has ${flat.length} elements, its shape says ${count}`);
  const element = (i: number, is: string): Error =>
    wrong(`element ${i} of ${what} is ${show(flat[i])}, expected ${is}`);
  switch (datatype) {
    case 'BYTES':
      return flat.map((value, i) => {
        if (typeof value !== 'string') throw element(i, 'a string');
        return bytesForm === 'text' ? value : Buffer.from(value);
      });
    case 'BOOL':
      return Uint8Array.from(flat, (value, i) => {
        if (typeof value === 'boolean' || value === 0 || value === 1) return Number(value);
        throw element(i, 'a boolean');
      });
    case 'INT64':
    case 'UINT64': {
      const Wide = datatype === 'INT64' ? BigInt64Array : BigUint64Array;
      return Wide.from(
        flat.map((value, i) => {
          if (typeof value === 'bigint') return value;
          if (Number.isSafeInteger(value)) return BigInt(value as number);
          throw element(i, 'a whole number');
        }),
      );
    }
    case 'FP16':
      throw wrong(`${what} is FP16, which JSON does not carry`);
    default:
      return numbersOf(datatype, flat, element);
  }
}

const NUMBER_ARRAYS = {
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  FP32: Float32Array,
  FP64: Float64Array,
} as const;

function numbersOf(
  datatype: keyof typeof NUMBER_ARRAYS,
  flat: readonly unknown[],
  wrong: (i: number, is: string) => Error,
): unknown {
  const isFloat = datatype === 'FP32' || datatype === 'FP64';
  const out = new NUMBER_ARRAYS[datatype](flat.length);
  for (const [i, value] of flat.entries()) {
    const number = value === null && isFloat ? Number.NaN : typeof value === 'bigint' ? Number(value) : value;
    if (typeof number !== 'number') throw wrong(i, isFloat ? 'a number or null' : 'a number');
    out[i] = number;
    if (!isFloat && out[i] !== number) throw wrong(i, `${datatype}`);
  }
  return out;
}

/** The one place where an array's class is the datatype's by this module's own doing. */
function makeOutput(datatype: Datatype, shape: readonly number[], data: unknown): AnyOutput {
  return { datatype, shape, data } as AnyOutput;
}

function show(value: unknown): string {
  return typeof value === 'bigint' ? String(value) : JSON.stringify(value);
}
