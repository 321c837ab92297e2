import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { DATATYPE_NAMES, DATATYPES, type Datatype, encodeStrings } from '../../../../src/tensor/tensor.ts';
import { HEADER_LENGTH } from '../../../support/server.ts';
import {
  type ByteMutation,
  byteMutation,
  mutateBytes,
  mutateTokens,
  someOf,
  type TokenMutation,
  tokenMutation,
} from './mutations.ts';

/** Bodies of inference requests: sound ones, and such that something was done to. */

/** A request to be sent to `/v2/models/{model}/infer`. */
export interface BodyInput {
  readonly model: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const NUMBERS = [
  ...['0', '-0', '1', '-1', '1.5', '1e3', '1E+2', '127', '128', '255', '256', '-129', '65536', '2147483648', '1e39'],
  ...['9007199254740993', '9223372036854775808', '-9223372036854775809', '18446744073709551616', '1e400', '-1e400'],
  ...['5e-324', '1e-400', '0.1e-7', `${'9'.repeat(400)}`, `0.${'0'.repeat(400)}1`, 'NaN', 'Infinity', '-Infinity'],
  ...['01', '1.', '.5', '+1', '0x1', '1e', '--1', '-', '1_000', '1e1e1'],
];
const STRINGS = [
  ...['""', '"x"', '"é"', '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\x"', '"\\u12"', '"', "'x'", '"\u0001"'],
  ...['"name"', '"shape"', '"datatype"', '"data"', '"parameters"', '"inputs"', '"outputs"', '"id"', '"__proto__"'],
  ...['"binary_data_size"', '"binary_data"', '"binary_data_output"', '"classification"', '"timeout"', '"priority"'],
  ...['"shared_memory_region"', '"sequence_id"', '"triton_x"', '"n\\u0061me"', `"${'n'.repeat(2000)}"`],
  ...['"a"', '"b"', '"y"', '"sum"', '"BF16"', '"fp32"', ...DATATYPE_NAMES.map((name) => `"${name}"`)],
];
const OTHERS = [
  ...['{', '}', '[', ']', ',', ':', ' ', '\n', '\u00a0', '\ufeff', 'true', 'false', 'null', 'nul', '{}', '[]', '[[]]'],
  ...['['.repeat(120), ']'.repeat(120), '{"x":'.repeat(120), '[],'.repeat(500), '{"x":[{}]}', ' '.repeat(5000)],
];
const DICTIONARY = [...NUMBERS, ...NUMBERS, ...STRINGS, ...OTHERS];

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|[\s\S]/g;

interface Tensor {
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  /** Elements as JSON has them; FP16 as bits. */
  readonly data: readonly (number | string | boolean)[];
}

const tensor: fc.Arbitrary<Tensor> = fc
  .record({
    datatype: fc.constantFrom(...DATATYPE_NAMES),
    rows: fc.integer({ min: 1, max: 3 }),
    width: fc.integer({ min: 0, max: 6 }),
  })
  .chain(({ datatype, rows, width }) =>
    fc.record({
      datatype: fc.constant(datatype),
      shape: fc.constant([rows, width]),
      data: fc.array(elementOf(datatype), { minLength: rows * width, maxLength: rows * width }),
    }),
  );

function elementOf(datatype: Datatype): fc.Arbitrary<number | string | boolean> {
  if (datatype === 'BOOL') return fc.boolean();
  if (datatype === 'BYTES')
    return fc.string({ unit: 'grapheme', maxLength: 6 }).map((text) => text.replaceAll('\0', ''));
  if (datatype === 'FP32' || datatype === 'FP64') return fc.float({ noNaN: true, noDefaultInfinity: true });
  return fc.nat(100);
}

/** The request of a tensor to the identity model of its type, or of two to `add2`. */
const request: fc.Arbitrary<{ readonly model: string; readonly tensors: readonly (Tensor & { name: string })[] }> =
  fc.oneof(
    tensor.map((x) => ({ model: `ident_${x.datatype}`, tensors: [{ name: 'x', ...x }] })),
    fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 8, maxLength: 8 }).map((numbers) => ({
      model: 'add2',
      tensors: ['a', 'b'].map((name, i) => ({
        name,
        datatype: 'FP32' as const,
        shape: [1, 4],
        data: numbers.slice(4 * i, 4 * i + 4),
      })),
    })),
  );

const EXTRAS = fc.record(
  {
    id: fc.oneof(fc.string(), fc.constant(null)),
    parameters: fc.constantFrom(null, {}, { binary_data_output: true }, { priority: 1, timeout: 5e6 }, { own: 'x' }),
    outputs: fc.constantFrom(null, [], [{ name: 'y' }], [{ name: 'sum' }, { name: 'diff' }], [{ name: 'nope' }]),
  },
  { requiredKeys: [] },
);

const accepted = fc.constantFrom(undefined, undefined, undefined, 'gzip', 'deflate', 'gzip, deflate, br', '*;q=');

/** JSON, changed by token and by byte. */
export const jsonInput: fc.Arbitrary<BodyInput> = fc
  .record({
    request,
    extras: EXTRAS,
    tokens: someOf(tokenMutation(DICTIONARY), 4),
    bytes: fc.oneof(
      { weight: 3, arbitrary: fc.constant<readonly ByteMutation[]>([]) },
      { weight: 1, arbitrary: fc.array(byteMutation, { maxLength: 3 }) },
    ),
    accepted,
  })
  .map(({ request: { model, tensors }, extras, tokens, bytes, accepted: accept }) => {
    const inputs = tensors.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, data }));
    const text = mutateText(JSON.stringify({ ...extras, inputs }), tokens);
    const headers: Record<string, string> = accept === undefined ? {} : { 'accept-encoding': accept };
    return { model, headers, body: mutateBytes(Buffer.from(text), bytes) };
  });

const LENGTHS = ['', '-1', '+5', '0', '00', '1', '3.0', '0x10', '1e1', 'abc', '12abc', '1, 1', '9'.repeat(30), ' '];

/** JSON and sections, changed in text, sections, lengths and compression. */
export const binaryInput: fc.Arbitrary<BodyInput> = fc
  .record({
    request,
    outputsBinary: fc.boolean(),
    size: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: -9, max: 9 }) }),
    tokens: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, someOf(tokenMutation(DICTIONARY), 3)),
    section: someOf(byteMutation, 3),
    header: fc.oneof(
      { weight: 6, arbitrary: fc.constant(0) },
      { weight: 1, arbitrary: fc.integer({ min: -20, max: 20 }) },
      { weight: 1, arbitrary: fc.constantFrom(undefined, ...LENGTHS) },
    ),
    coding: fc.constantFrom(undefined, undefined, undefined, undefined, 'gzip', 'deflate', 'raw', 'br', 'none'),
    packed: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, someOf(byteMutation, 3)),
    accepted,
  })
  .map((parts) => {
    const { model, tensors } = parts.request;
    const sections = tensors.map(({ datatype, data }) => sectionOf(datatype, data));
    const inputs = tensors.map(({ name, datatype, shape }, i) => ({
      name,
      datatype,
      shape,
      parameters: { binary_data_size: sections[i]!.length + (i === 0 ? parts.size : 0) },
    }));
    const text = JSON.stringify({ parameters: { binary_data_output: parts.outputsBinary }, inputs });
    const json = Buffer.from(mutateText(text, parts.tokens));
    const plain = Buffer.concat([json, mutateBytes(Buffer.concat(sections), parts.section)]);
    const headers: Record<string, string> = {};
    const { header, coding } = parts;
    if (header !== undefined) {
      headers[HEADER_LENGTH] = typeof header === 'number' ? String(json.length + header) : header;
    }
    if (coding !== undefined) headers['content-encoding'] = coding === 'raw' || coding === 'none' ? 'gzip' : coding;
    if (parts.accepted !== undefined) headers['accept-encoding'] = parts.accepted;
    return { model, headers, body: mutateBytes(pack(plain, coding), parts.packed) };
  });

function pack(body: Buffer, coding: string | undefined): Buffer {
  if (coding === 'gzip') return gzipSync(body);
  if (coding === 'deflate') return deflateSync(body);
  return coding === 'raw' ? deflateRawSync(body) : body;
}

function mutateText(text: string, mutations: readonly TokenMutation[]): string {
  return mutations.length === 0 ? text : mutateTokens(text.match(TOKEN) ?? [], mutations).join('');
}

/** Not the values of the tensor in its type, but as many bytes as they take; texts are themselves. */
function sectionOf(datatype: Datatype, data: readonly (number | string | boolean)[]): Buffer {
  if (datatype === 'BYTES') return encodeStrings(data.map(String));
  const { size } = DATATYPES[datatype];
  return Buffer.concat(data.map((value) => Buffer.alloc(size, Number(value) & 0x7f)));
}
