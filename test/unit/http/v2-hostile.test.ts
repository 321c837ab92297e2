import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ShoalError } from '../../../src/errors.ts';
import type { InferCall } from '../../../src/http/v2-codec.ts';
import { DATATYPES, decodeStrings, encodeStrings, isDatatype } from '../../../src/tensor/tensor.ts';
import { binaryInput, decode, decodeBinary, encode, input } from './v2-bodies.ts';

/** What the decoder made of a body: the call, or the message of its refusal. Anything else fails the test. */
function outcome(body: string | Buffer, headerLength?: string): InferCall | string {
  try {
    return decode(body, headerLength);
  } catch (error) {
    if (error instanceof ShoalError && error.code === 'INVALID_REQUEST' && !error.message.includes('\n')) {
      return error.message;
    }
    throw new Error(`not a refusal for ${JSON.stringify(body.toString())}`, { cause: error });
  }
}

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Messages that blame the text itself rather than what it says. */
const SYNTAX = /^(malformed JSON|the JSON text|the number at byte)/;

const documents: readonly string[] = [
  '{"id":"4\\u0032","inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1.5,-2e1,0.25]}],"outputs":[{"name":"y","parameters":{"binary_data":true,"z":[{}]}}],"parameters":{"timeout":12,"own":"é","priority":0}}',
  '{ "inputs" : [ { "data" : [ [ "a\\n" , "é" ] , [ "" , "\\ud83d\\ude00" ] ] , "name" : "s" , "datatype" : "BYTES" , "shape" : [ 2 , 2 ] } ] , "unknown" : { "a" : [ true , false , null , -1.5e-3 , [ ] , { } ] } }',
  '{"inputs":[{"name":"i","shape":[4],"datatype":"INT64","data":[9007199254740993,-1,0,12]},{"name":"b","shape":[2,2],"datatype":"BOOL","data":[[true,false],[0,1]]},{"name":"u","shape":[],"datatype":"UINT8","data":[255]}],"id":null}',
  `{"inputs":[{"name":"long","shape":[300],"datatype":"FP64","data":[${Array.from({ length: 300 }, (_, i) => (i / 7).toFixed(i % 20)).join(', ')}]}]}`,
  `{"inputs":[{"name":"long","shape":[500],"datatype":"INT16","data":[${Array.from({ length: 500 }, (_, i) => i * 61 - 9000).join(',')}]}]}`,
];

const ALPHABET = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  ' ',
  '\n',
  '\t',
  '0',
  '1',
  '9',
  '-',
  '+',
  '.',
  'e',
  'E',
  'u',
  'n',
  't',
  'true',
  'null',
  'false',
  '\u0000',
  '\u001f',
  '\u007f',
  '/',
  'é',
  '\ufeff',
  '\u00a0',
  '""',
  '1,',
  '[]',
  '{}',
  '\\u00',
  '00',
  'x',
];

/** A document with a few characters taken out, put in, replaced or repeated. */
const mutant = fc
  .record({
    document: fc.constantFrom(...documents),
    edits: fc.array(
      fc.record({
        at: fc.nat(),
        cut: fc.constantFrom(0, 0, 0, 1, 2, 3),
        put: fc.constantFrom('', ...ALPHABET),
        copy: fc.constantFrom(0, 0, 0, 0, 1, 2, 3, 8),
      }),
      { minLength: 1, maxLength: 3 },
    ),
  })
  .map(({ document, edits }) => {
    let text = document;
    for (const { at, cut, put, copy } of edits) {
      const from = at % (text.length + 1);
      text = text.slice(0, from) + put + text.slice(from, from + copy) + text.slice(from + cut);
    }
    return text;
  });

describe('hostile infer requests', () => {
  it('accepts the grammar of JSON and no other, and reads what it accepts, as JSON.parse does', () => {
    for (const text of documents) assert.deepEqual(summary(outcome(text)), reference(text));
    let accepted = 0;
    fc.assert(
      fc.property(mutant, (text) => {
        const result = outcome(text);
        if (typeof result !== 'string') {
          accepted++;
          assert.ok(parses(text), `accepted, though it is no JSON: ${text}`);
          assert.deepEqual(summary(result), reference(text), text);
        } else if (SYNTAX.test(result)) {
          assert.ok(!parses(text), `refused, though it is JSON: ${text}: ${result}`);
        }
      }),
      { numRuns: 50_000 },
    );
    assert.ok(accepted > 1000, `only ${accepted} mutants were accepted`);
  });

  it('accepts every document of JSON values under an unknown key', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 20, noUnicodeString: false }), fc.nat({ max: 3 }), (value, indent) => {
        const text = JSON.stringify({ inputs: [], unknown: value }, null, indent);
        assert.notEqual(typeof outcome(text), 'string', text);
      }),
      { numRuns: 3000 },
    );
  });

  it('refuses every truncation of JSON', () => {
    for (const text of documents) {
      const bytes = Buffer.from(text);
      for (let length = 0; length < bytes.length; length++) {
        assert.equal(
          typeof outcome(bytes.subarray(0, length)),
          'string',
          `accepted the first ${length} bytes of ${text}`,
        );
      }
    }
  });

  it('refuses every truncation of a request with binary sections, at any header', () => {
    const strings = encodeStrings(['é', '', 'abc']);
    const request = {
      inputs: [
        binaryInput('BYTES', [3], strings.length, 's'),
        binaryInput('FP32', [2], 8, 'f'),
        input('INT8', [1], [1], 'j'),
      ],
    };
    const text = Buffer.from(JSON.stringify(request));
    const body = Buffer.concat([text, strings, Buffer.alloc(8)]);
    assert.notEqual(typeof outcome(body, String(text.length)), 'string');
    for (let length = 0; length < body.length; length++) {
      assert.equal(typeof outcome(body.subarray(0, length), String(text.length)), 'string');
      if (length !== text.length) assert.equal(typeof outcome(body, String(length)), 'string');
    }
  });

  it('refuses or reads random bytes, and random changes of single bytes, but never fails otherwise', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void outcome(Buffer.from(bytes))),
      { numRuns: 5000 },
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...documents),
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 3 }),
        (text, changes) => {
          const bytes = Buffer.from(text);
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          outcome(bytes);
          outcome(bytes, String(bytes.length));
        },
      ),
      { numRuns: 10_000 },
    );
  });

  it('takes time in proportion to many inputs, outputs and parameters', () => {
    const many = Array.from({ length: 15_000 }, (_, i) => i);
    const start = performance.now();
    const inputs = decode(JSON.stringify({ inputs: many.map((i) => input('INT8', [1], [1], `i${i}`)) })).inputs;
    assert.equal(inputs.size, many.length);
    const outputs = decode(JSON.stringify({ inputs: [], outputs: many.map((i) => ({ name: `o${i}` })) })).outputs;
    assert.equal(outputs?.length, many.length);
    decode(JSON.stringify({ inputs: [], parameters: Object.fromEntries(many.map((i) => [`p${i}`, i])) }));
    const sections = many.map((i) => binaryInput('BOOL', [1], 1, `i${i}`)).slice(0, 10_000);
    assert.equal(decodeBinary({ inputs: sections }, Buffer.alloc(10_000)).inputs.size, 10_000);
    // Quadratic work would take many seconds.
    assert.ok(performance.now() - start < 5000);
  });

  it('reads what it writes: every datatype, any shape, any values', () => {
    const datatypes = Object.keys(DATATYPES).filter(isDatatype);
    const tensor = fc
      .record({
        datatype: fc.constantFrom(...datatypes),
        shape: fc.array(fc.nat({ max: 5 }), { maxLength: 4 }),
        seed: fc.infiniteStream(fc.nat({ max: 255 })),
        texts: fc.infiniteStream(fc.string({ unit: 'grapheme', maxLength: 8 })),
      })
      .map(({ datatype, shape, seed, texts }) => {
        const count = shape.reduce((product, dim) => product * dim, 1);
        if (datatype === 'BYTES') {
          return { datatype, shape, bytes: encodeStrings([...texts.take(count)].map((s) => s.replaceAll('\0', ''))) };
        }
        const bytes = Uint8Array.from(seed.take(count * DATATYPES[datatype].size));
        return {
          datatype,
          shape,
          bytes: datatype === 'BOOL' ? bytes.map((byte) => byte & 1) : finite(datatype, bytes),
        };
      });
    fc.assert(
      fc.property(fc.array(tensor, { maxLength: 4 }), fc.boolean(), (tensors, binary) => {
        const outputs = tensors.map((t, i) => ({ name: `n${i}`, tensor: t, binary: binary || t.datatype === 'FP16' }));
        const { body, headerLength } = encode({ modelName: 'm', modelVersion: '1', id: 'i', outputs });
        // A reply is a request but for one word.
        const text = body
          .subarray(0, headerLength ?? body.length)
          .toString()
          .replace('"outputs"', '"inputs"');
        const sections = headerLength === undefined ? Buffer.alloc(0) : body.subarray(headerLength);
        const header = headerLength === undefined ? undefined : String(headerLength - 1);
        const call = decode(Buffer.concat([Buffer.from(text), sections]), header);
        assert.deepEqual(
          [...call.inputs.keys()],
          outputs.map(({ name }) => name),
        );
        for (const { name, tensor: sent } of outputs) {
          const got = call.inputs.get(name)!;
          assert.deepEqual({ ...got, bytes: [...got.bytes] }, { ...sent, bytes: [...sent.bytes] });
        }
      }),
      { numRuns: 2000 },
    );
  });
});

/** Random bytes without exponents of infinities and NaN, whose bits JSON does not keep. */
function finite(datatype: string, bytes: Uint8Array): Uint8Array {
  const size = datatype === 'FP32' ? 4 : datatype === 'FP64' ? 8 : 0;
  return size === 0 ? bytes : bytes.map((byte, i) => (i % size === size - 1 ? byte & 0xbf : byte));
}

/** The parts of a call that a reference can give. */
function summary(result: InferCall | string): unknown {
  if (typeof result === 'string') return result;
  const inputs = [...result.inputs].map(([name, { datatype, shape, bytes }]) => ({
    name,
    datatype,
    shape,
    values:
      datatype === 'BYTES'
        ? decodeStrings(
            bytes,
            shape.reduce((a, b) => a * b, 1),
          )
        : [...bytes],
  }));
  return { id: result.id, inputs, outputs: result.outputs, timeoutMs: result.timeoutMs, priority: result.priority };
}

interface WireRequest {
  readonly id?: string | null;
  readonly inputs: readonly {
    readonly name: string;
    readonly datatype: string;
    readonly shape: readonly number[];
    readonly data: unknown;
  }[];
  readonly outputs?:
    | readonly { readonly name: string; readonly parameters?: { readonly binary_data?: boolean | null } | null }[]
    | null;
  readonly parameters?: { readonly timeout?: number | null; readonly priority?: number | null } | null;
}

/** The same parts from a valid document, by way of JSON.parse. */
function reference(text: string): unknown {
  // 64-bit integers as text, which JSON.parse would round.
  const request: WireRequest = JSON.parse(text.replace(/(?<=[[,]\s*)-?\d{16,}(?=\s*[\],])/g, '"$&"'));
  const inputs = request.inputs.map(({ name, datatype, shape, data }) => ({
    name,
    datatype,
    shape: shape.map((dim) => dim + 0),
    values: valuesOf(datatype, flatten(data)),
  }));
  const outputs = request.outputs?.map(({ name, parameters }) => ({
    name,
    binary: parameters?.binary_data ?? undefined,
    classes: 0,
  }));
  const { timeout, priority } = request.parameters ?? {};
  return {
    id: request.id === null || request.id === '' ? undefined : request.id,
    inputs,
    outputs: outputs?.length ? outputs : undefined,
    timeoutMs: timeout ? timeout / 1000 : undefined,
    priority: typeof priority === 'number' ? priority + 0 : undefined,
  };
}

function flatten(data: unknown): unknown[] {
  return Array.isArray(data) ? data.flatMap(flatten) : [data];
}

function valuesOf(datatype: string, values: readonly unknown[]): unknown[] {
  const numbers = values.map((value) => (value === null ? Number.NaN : Number(value)));
  switch (datatype) {
    case 'BYTES':
      return [...values];
    case 'FP32':
      return [...new Uint8Array(Float32Array.from(numbers).buffer)];
    case 'FP64':
      return [...new Uint8Array(Float64Array.from(numbers).buffer)];
    case 'INT16':
      return [...new Uint8Array(Int16Array.from(numbers).buffer)];
    case 'INT64':
      return [...new Uint8Array(BigInt64Array.from(values, (value) => BigInt(String(value))).buffer)];
    default:
      // Integers have no −0.
      return numbers.map((value) => value + 0);
  }
}
