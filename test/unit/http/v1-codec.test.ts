import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Reply } from '../../../src/batching/request.ts';
import { ShoalError } from '../../../src/errors.ts';
import { V1_DIALECT } from '../../../src/http/v1-dialect.ts';
import { decodePredictRequest, type PredictCall } from '../../../src/http/v1-request.ts';
import type { Signature, TensorSpec } from '../../../src/tensor/signature.ts';
import { type Datatype, elementCount, type Tensor } from '../../../src/tensor/tensor.ts';
import { makeTensor, readTensor } from '../../../src/tensor/typed.ts';

function signature(...inputs: readonly (readonly [name: string, datatype: Datatype])[]): Signature {
  const spec = ([name, datatype]: readonly [string, Datatype]): TensorSpec => ({
    name,
    datatype,
    shape: [-1],
    batchAxis: 0,
  });
  return { inputs: inputs.map(spec), outputs: [], batched: true };
}

/** Runs a generator through; how often it paused. */
function run<T>(work: Generator<void, T, void>): { result: T; pauses: number; longestMs: number } {
  let longestMs = 0;
  for (let pauses = 0; ; pauses++) {
    const start = performance.now();
    const next = work.next();
    longestMs = Math.max(longestMs, performance.now() - start);
    if (next.done) return { result: next.value, pauses, longestMs };
  }
}

function decode(text: string | Buffer, of: Signature): PredictCall {
  return run(decodePredictRequest(Buffer.from(text as string), of)).result;
}

function refuse(text: string | Buffer, of: Signature, message: RegExp): void {
  assert.throws(
    () => decode(text, of),
    (error) => {
      assert.ok(error instanceof ShoalError && error.code === 'INVALID_REQUEST', String(error));
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /\n/);
      return true;
    },
  );
}

/** The reply to row or column form, as text. */
function encode(names: readonly string[], outputs: readonly Tensor[], rows?: number): string {
  const specs = names.map((name) => ({ name }));
  const answer = { outputs } as unknown as Reply;
  const model = { signature: { outputs: specs } } as unknown as Parameters<typeof V1_DIALECT.encode>[2];
  const { body, contentType } = run(
    V1_DIALECT.encode({ inputs: new Map(), remote: undefined, rows }, answer, model),
  ).result;
  assert.equal(contentType, 'application/json');
  return body.toString();
}

/** Arrays of one shape, with its values drawn from `leaf`. */
const nested = (leaf: fc.Arbitrary<unknown>, maxRank = 4): fc.Arbitrary<unknown> =>
  fc
    .array(fc.integer({ min: 1, max: 4 }), { maxLength: maxRank })
    .chain((shape) =>
      shape.reduceRight<fc.Arbitrary<unknown>>(
        (inner, length) => fc.array(inner, { minLength: length, maxLength: length }),
        leaf,
      ),
    );

function shapeOf(value: unknown): number[] {
  return Array.isArray(value) ? [value.length, ...(value.length > 0 ? shapeOf(value[0]) : [])] : [];
}

const flat = (value: unknown): unknown[] => (Array.isArray(value) ? value.flatMap(flat) : [value]);

/** JSON with white space wherever it may be. */
const spaced = (value: unknown, indent: number): string =>
  indent === 0 ? JSON.stringify(value) : `\t${JSON.stringify(value, null, indent).replace(/,/g, '\r\n ,')} `;

// JSON.stringify writes −0 as 0.
const DOUBLE = fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => x + 0);

describe('predict requests', () => {
  it('columns of any shape are what JSON.parse makes of them', () => {
    fc.assert(
      fc.property(
        nested(DOUBLE),
        nested(fc.string({ unit: 'grapheme' }).filter((s) => !/[\0,]/.test(s))),
        fc.constantFrom(0, 1, 3),
        (x, s, indent) => {
          const { inputs, rows } = decode(
            spaced({ inputs: { s, x } }, indent),
            signature(['x', 'FP64'], ['s', 'BYTES']),
          );
          assert.equal(rows, undefined);
          assert.deepEqual([...inputs.keys()], ['x', 's']);
          const [decodedX, decodedS] = [inputs.get('x')!, inputs.get('s')!];
          assert.deepEqual(decodedX.shape, shapeOf(x));
          assert.deepEqual([...readTensor(decodedX)], flat(x));
          assert.deepEqual(decodedS.shape, shapeOf(s));
          assert.deepEqual(readTensor(decodedS), flat(s));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('rows are stacked, in whatever order their keys come', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6 }).chain((rows) => {
          const shape = fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 });
          const stack = (leaf: fc.Arbitrary<unknown>): fc.Arbitrary<unknown[]> =>
            shape.chain((dims) =>
              fc.array(
                dims.reduceRight<fc.Arbitrary<unknown>>(
                  (inner, n) => fc.array(inner, { minLength: n, maxLength: n }),
                  leaf,
                ),
                { minLength: rows, maxLength: rows },
              ),
            );
          return fc.record({
            a: stack(DOUBLE),
            b: stack(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String)),
            c: stack(fc.boolean()),
            order: fc.array(fc.boolean(), { minLength: rows, maxLength: rows }),
          });
        }),
        ({ a, b, c, order }) => {
          const text = (value: unknown): string => JSON.stringify(value).replaceAll('"', '');
          const objects = a.map((_, i) => {
            const members = [`"a":${text(a[i])}`, `"b":${text(b[i])}`, `"c" : ${text(c[i])}`];
            return `{${(order[i] ? members : members.reverse()).join(', ')}}`;
          });
          const of = signature(['a', 'FP64'], ['b', 'INT64'], ['c', 'BOOL']);
          const { inputs, rows } = decode(`{"instances":[${objects.join(',')}]}`, of);
          assert.equal(rows, a.length);
          assert.deepEqual(inputs.get('a')!.shape, shapeOf(a));
          assert.deepEqual([...readTensor(inputs.get('a')!)], flat(a));
          assert.deepEqual(inputs.get('b')!.shape, shapeOf(b));
          assert.deepEqual(
            [...readTensor(inputs.get('b')!)],
            flat(b).map((digits) => BigInt(digits as string)),
          );
          assert.deepEqual([...readTensor(inputs.get('c')!)], flat(c).map(Number));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('a request cut anywhere is refused, and so is one with a byte too many', () => {
    const of = signature(['x', 'FP32'], ['s', 'BYTES']);
    const whole =
      '{"a":[{"b":null}],"signature_name":"","instances":[{"x":[1,-2.5e1],"s":"\\u00e9"},{"s":{"b64":"YQ=="},"x":[NaN,null]}]}';
    assert.equal(decode(whole, of).rows, 2);
    for (let end = 0; end < whole.length; end++) refuse(whole.slice(0, end), of, /./);
    for (let at = 0; at < whole.length; at++) {
      for (const extra of ['[', ']', '{', '}', '"', ',', ':', 'x', '\u0001']) {
        const text = whole.slice(0, at) + extra + whole.slice(at);
        try {
          decode(text, of);
        } catch (error) {
          assert.ok(error instanceof ShoalError && error.code === 'INVALID_REQUEST', `${text}: ${error}`);
        }
      }
    }
  });

  it('what is no text, no shape or too deep is refused', () => {
    const x = signature(['x', 'FP32']);
    refuse(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), x, /not valid UTF-8/);
    refuse(Buffer.from('\ufeff{"instances":[1]}'), x, /byte order mark/);
    refuse('{"instances":[[1],[[1]]]}', x, /ragged/);
    refuse('{"instances":[[[]],[1]]}', x, /ragged/);
    refuse('{"instances":[[],[1]]}', x, /ragged/);
    refuse('{"instances":[[],1]}', x, /ragged.*an element stands where an array is expected/);
    refuse('{"instances":[1,[]]}', x, /ragged.*an array stands where an element is expected/);
    refuse('{"instances":[1,,2]}', x, /malformed JSON at byte 16/);
    refuse('{"instances":[1,]}', x, /malformed JSON at byte 16/);
    refuse('{"instances":[1 2]}', x, /malformed JSON at byte 16/);
    refuse('{"instances":[01]}', x, /no digit after a leading 0/);
    refuse('{"instances":[tru]}', x, /element 0 of input 'x' is tru/);
    refuse('{"instances":[nul]}', x, /malformed JSON at byte 14/);
    refuse('{"instances":[1e39]}', x, /range of FP32/);
    refuse(`{"instances":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, x, /nested more than 99 deep/);
    refuse(`{"y":${'['.repeat(100_000)}${']'.repeat(100_000)},"instances":[1]}`, x, /nested more than 99 deep/);
    refuse(`{"y":"${'x'.repeat(1_100_000)}","instances":[1]}`, x, /longer than 1048576 bytes/);
    refuse('{"inputs":[1],"inputs":[1]}', x, /'inputs' twice/);
    refuse('{"instances":[1]}', signature(['x', 'BYTES']), /element 0 of input 'x' is 1, expected a string/);
    refuse('{"instances":["\\ud800"]}', signature(['x', 'BYTES']), /half of a surrogate pair/);
    refuse('{"instances":["a\nb"]}', signature(['x', 'BYTES']), /control character/);
    refuse('{"inputs":{}}', signature(['x', 'FP32']), /'inputs' has no key 'x'/);
  });

  it('names that objects of JavaScript have themselves are names like others', () => {
    const of = signature(['__proto__', 'FP32'], ['constructor', 'FP32']);
    const { inputs } = decode('{"instances":[{"__proto__":1,"constructor":2}]}', of);
    assert.deepEqual([...readTensor(inputs.get('__proto__')!)], [1]);
    refuse('{"instances":[{"__proto__":1,"toString":2}]}', of, /has the key 'toString'/);
    const { inputs: escaped } = decode('{"instances":[{"\\u0078":1}]}', signature(['x', 'FP32']));
    assert.deepEqual([...readTensor(escaped.get('x')!)], [1]);
  });

  it('an input may be called b64', () => {
    assert.deepEqual(
      [...readTensor(decode('{"instances":[{"b64":5}]}', signature(['b64', 'INT8'])).inputs.get('b64')!)],
      [5],
    );
  });

  it('work pauses, whatever the form, and takes as much text as the body has', () => {
    const of = signature(['x', 'FP32']);
    const many = Array.from({ length: 200_000 }, (_, i) => i / 4);
    const forms: [string, Signature][] = [
      [JSON.stringify({ instances: many }), of],
      [JSON.stringify({ inputs: { x: many } }), of],
      [JSON.stringify({ instances: many.map((x) => ({ x })) }), of],
      [JSON.stringify({ instances: many.map((x) => [x]) }), signature(['x', 'FP16'])],
      [
        JSON.stringify({ instances: many.map((x) => ({ s: String(x), x })) }, null, 2),
        signature(['x', 'FP64'], ['s', 'BYTES']),
      ],
      [
        JSON.stringify({ instances: [{ b64: Buffer.alloc(1_000_000, 'text').toString('base64') }] }),
        signature(['x', 'BYTES']),
      ],
      [`{"instances":[${' '.repeat(1_000_000)}1]}`, of],
    ];
    for (const [text, sig] of forms) {
      const { result, pauses } = run(decodePredictRequest(Buffer.from(text), sig));
      assert.ok(pauses >= text.length / 65_536 - 2, `${pauses} pauses for ${text.length} bytes: ${text.slice(0, 40)}`);
      assert.ok(result.inputs.size > 0);
    }
  });
});

describe('predict replies', () => {
  it('are nested as the shapes say, and read back as what they were', () => {
    fc.assert(
      fc.property(nested(DOUBLE, 5), (value) => {
        const tensor = makeTensor('FP64', shapeOf(value), Float64Array.from(flat(value) as number[]));
        assert.deepEqual(JSON.parse(encode(['y'], [tensor])), { outputs: value });
        if (!Array.isArray(value)) return;
        assert.deepEqual(JSON.parse(encode(['y'], [tensor], value.length)), { predictions: value });
        const both = JSON.parse(encode(['y', 'z_bytes'], [tensor, tensor], value.length));
        assert.deepEqual(both, { predictions: value.map((row: unknown) => ({ y: row, z_bytes: row })) });
      }),
      { numRuns: 300 },
    );
  });

  it('tensors without elements keep their outer dimensions', () => {
    const empty = (shape: readonly number[]): Tensor => ({ datatype: 'FP32', shape, bytes: new Uint8Array(0) });
    for (const [shape, text] of [
      [[0], '[]'],
      [[2, 0], '[[],[]]'],
      [[0, 2], '[]'],
      [[2, 0, 3], '[[],[]]'],
      [[1, 2, 0], '[[[],[]]]'],
    ] as const) {
      assert.equal(elementCount(shape), 0);
      assert.equal(encode(['y'], [empty(shape)]), `{"outputs":${text}}`);
    }
    assert.equal(
      encode(['y', 'z'], [empty([2, 0]), empty([2, 0, 1])], 2),
      '{"predictions":[{"y":[],"z":[]},{"y":[],"z":[]}]}',
    );
    const text = makeTensor('BYTES', [2, 0], []);
    assert.equal(encode(['y_bytes'], [text], 2), '{"predictions":[[],[]]}');
  });

  it('bytes that are no text become base64, element by element', () => {
    const tensor = (...elements: (string | number[])[]): Tensor => {
      const parts = elements.map((element) => Buffer.from(element as string));
      const bytes = Buffer.concat(parts.flatMap((part) => [Buffer.from(Uint32Array.of(part.length).buffer), part]));
      return { datatype: 'BYTES', shape: [elements.length], bytes };
    };
    assert.equal(encode(['y'], [tensor('é', [0xff, 0xfe], '')]), '{"outputs":["é",{"b64":"//4="},""]}');
    assert.equal(encode(['y_bytes'], [tensor('é', '')]), '{"outputs":[{"b64":"w6k="},{"b64":""}]}');
    const [first, second] = [tensor('a', [0x80]), tensor('b', 'c')];
    assert.equal(
      encode(['p', 'q'], [first, second], 2),
      '{"predictions":[{"p":"a","q":"b"},{"p":{"b64":"gA=="},"q":"c"}]}',
    );
  });

  it('every value of FP16 is written so that it reads back as itself', () => {
    const bits = Uint16Array.from({ length: 65_536 }, (_, i) => i);
    const { outputs } = JSON.parse(encode(['y'], [makeTensor('FP16', [65_536], bits)])) as {
      outputs: (number | null)[];
    };
    const finite = [...bits].filter((half) => ((half >> 10) & 0x1f) !== 0x1f);
    const text = JSON.stringify({ instances: finite.map((half) => outputs[half]) });
    const { inputs } = decode(text, signature(['x', 'FP16']));
    // JSON.stringify writes −0 as 0.
    assert.deepEqual(
      [...readTensor(inputs.get('x')!)],
      finite.map((half) => (half === 0x8000 ? 0 : half)),
    );
    for (const half of bits) if (((half >> 10) & 0x1f) === 0x1f) assert.equal(outputs[half], null);
  });

  it('an output that is no row for each instance is refused', () => {
    const four = makeTensor('FP32', [4], new Float32Array(4));
    assert.throws(
      () => encode(['y'], [four], 2),
      /output 'y' has shape \[4\], which is no row for each of 2 instances/,
    );
    assert.throws(() => encode(['y'], [makeTensor('FP32', [], new Float32Array(1))], 1), /shape \[\]/);
  });

  it('work pauses', () => {
    const wide = makeTensor(
      'FP32',
      [300_000, 1],
      Float32Array.from({ length: 300_000 }, (_, i) => i / 3),
    );
    const text = makeTensor('BYTES', [1], ['x'.repeat(2_000_000)]);
    for (const [names, outputs, rows] of [
      [['y'], [wide], 300_000],
      [['y', 'z'], [wide, wide], 300_000],
      [['y'], [text], undefined],
      [['y_bytes'], [text], undefined],
    ] as const) {
      const answer = { outputs } as unknown as Reply;
      const model = { signature: { outputs: names.map((name) => ({ name })) } } as unknown as Parameters<
        typeof V1_DIALECT.encode
      >[2];
      const { pauses, result } = run(V1_DIALECT.encode({ inputs: new Map(), remote: undefined, rows }, answer, model));
      assert.ok(pauses > 10, `${pauses} pauses`);
      JSON.parse(result.body.toString());
    }
  });
});
