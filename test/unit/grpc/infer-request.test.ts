import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { ShoalError } from '../../../src/errors.ts';
import { loadDefinitions } from '../../../src/grpc/definitions.ts';
import { type InferCall, InferRequestReader } from '../../../src/grpc/infer-request.ts';
import { DATATYPE_NAMES, elementCount } from '../../../src/tensor/tensor.ts';
import { elementsOf } from './tensors.ts';

type Message = Readonly<Record<string, unknown>>;

const { requestSerialize } = loadDefinitions().inference['ModelInfer']!;

const { Writer } = protobuf;

/** What the reader makes of a message, and in how many slices. */
function read(bytes: Buffer): InferCall & { slices: number; id: string | undefined; model: string; version: string } {
  const reader = new InferRequestReader(bytes);
  let slices = 1;
  while (!reader.advance()) slices++;
  return {
    ...reader.finish(),
    slices,
    id: reader.id?.toString(),
    model: reader.modelName,
    version: reader.modelVersion,
  };
}

function readMessage(message: Message): ReturnType<typeof read> {
  return read(requestSerialize(message));
}

function refused(bytes: Buffer | Message, text: RegExp): void {
  assert.throws(
    () => read(Buffer.isBuffer(bytes) ? bytes : requestSerialize(bytes)),
    (thrown: unknown) => {
      assert.ok(thrown instanceof ShoalError, String(thrown));
      assert.equal(thrown.code, 'INVALID_REQUEST');
      assert.match(thrown.message, text);
      assert.doesNotMatch(thrown.message, /\n/);
      return true;
    },
  );
}

const FP32_ROW = { name: 'x', datatype: 'FP32', shape: [1, 2] };
const TWO_FLOATS = Buffer.from(Float32Array.of(1, 2).buffer);

/** Shapes with few elements, scalars and empty ones among them. */
const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 });

const inputs = fc.uniqueArray(
  fc
    .tuple(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }), fc.constantFrom(...DATATYPE_NAMES), shapes)
    .chain(([name, datatype, shape]) =>
      elementsOf(datatype, elementCount(shape)).map((elements) => ({ name, datatype, shape, elements })),
    ),
  { selector: (input) => input.name, maxLength: 4 },
);

describe('InferRequestReader', () => {
  it('reads typed requests as protobufjs writes them', () => {
    fc.assert(
      fc.property(inputs, fc.string(), (all, id) => {
        const typed = all.filter((input) => input.elements.field !== undefined);
        const call = readMessage({
          model_name: 'm',
          id,
          inputs: typed.map(({ name, datatype, shape, elements }) => ({
            name,
            datatype,
            shape,
            contents: { [elements.field!]: elements.values },
          })),
        });
        assert.equal(call.id ?? '', id);
        assert.equal(call.isRaw, false);
        assert.deepEqual(
          [...call.inputs.keys()],
          typed.map((input) => input.name),
        );
        for (const { name, datatype, shape, elements } of typed) {
          const tensor = call.inputs.get(name)!;
          assert.deepEqual([tensor.datatype, tensor.shape], [datatype, shape]);
          assert.ok(elements.bytes.equals(tensor.bytes), `${name}: ${elements.bytes.toString('hex')}`);
        }
      }),
      { numRuns: 400 },
    );
  });

  it('reads raw requests as protobufjs writes them, without copying', () => {
    fc.assert(
      fc.property(inputs, (all) => {
        const bytes = requestSerialize({
          model_name: 'm',
          inputs: all.map(({ name, datatype, shape }) => ({ name, datatype, shape })),
          raw_input_contents: all.map((input) => input.elements.bytes),
        });
        const call = read(bytes);
        assert.equal(call.isRaw, all.length > 0);
        for (const { name, elements } of all) {
          const tensor = call.inputs.get(name)!;
          assert.ok(elements.bytes.equals(tensor.bytes));
          assert.equal(tensor.bytes.buffer, bytes.buffer);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('takes the fields of an input in any order, packed or not, and passes over those it does not know', () => {
    const entry = (writer: protobuf.Writer): protobuf.Writer => writer.uint32(8 * 99 + 2).bytes(Buffer.from('new'));
    const input = new Writer();
    input.uint32(8 * 98).uint64(2 ** 40);
    // The contents before what they are: [3, -4], one packed, one not.
    input.uint32(8 * 5 + 2).fork();
    input
      .uint32(8 * 2 + 2)
      .fork()
      .int32(3)
      .ldelim();
    entry(input);
    input.uint32(8 * 2).int32(-4);
    input
      .uint32(8 * 6 + 2)
      .fork()
      .ldelim();
    input.ldelim();
    input
      .uint32(8 * 3)
      .int64(1)
      .uint32(8 * 3 + 2)
      .fork()
      .int64(2)
      .ldelim();
    input
      .uint32(8 * 2 + 2)
      .string('INT16')
      .uint32(8 * 1 + 2)
      .string('x');
    const message = new Writer();
    entry(message)
      .uint32(8 * 97 + 1)
      .fixed64(1)
      .uint32(8 * 96 + 5)
      .fixed32(1);
    message.uint32(8 * 5 + 2).bytes(input.finish());
    message.uint32(8 * 1 + 2).string('m');
    const { inputs: read1, model } = read(Buffer.from(message.finish()));
    assert.equal(model, 'm');
    assert.deepEqual(read1.get('x'), { datatype: 'INT16', shape: [1, 2], bytes: Uint8Array.of(3, 0, 0xfc, 0xff) });
  });

  it('takes raw tensors that stand before the inputs', () => {
    const message = new Writer().uint32(8 * 7 + 2).bytes(TWO_FLOATS);
    const input = new Writer()
      .uint32(8 * 1 + 2)
      .string('x')
      .uint32(8 * 2 + 2)
      .string('FP32')
      .uint32(8 * 3)
      .int64(2);
    message.uint32(8 * 5 + 2).bytes(input.finish());
    const { inputs: read1 } = read(Buffer.from(message.finish()));
    assert.ok(TWO_FLOATS.equals(read1.get('x')!.bytes));
  });

  it('keeps 64-bit integers exact', () => {
    const values = ['-9223372036854775808', '9223372036854775807', '9007199254740993', '-1', '0'];
    const { inputs: read1 } = readMessage({
      inputs: [{ name: 'x', datatype: 'INT64', shape: [5], contents: { int64_contents: values } }],
    });
    const { bytes } = read1.get('x')!;
    const read64 = new BigInt64Array(Uint8Array.from(bytes).buffer);
    assert.deepEqual([...read64].map(String), values);
  });

  it('reads parameters and requested outputs', () => {
    const call = readMessage({
      model_name: 'm',
      model_version: '3',
      parameters: {
        timeout: { int64_param: 1500 },
        priority: { uint64_param: 2 },
        sequence_id: { string_param: 'a' },
        sequence_start: { bool_param: true },
        binary_data_output: { bool_param: true },
        triton_enable_empty_final_response: { bool_param: true },
        own: { double_param: 1.5 },
        other: {},
      },
      outputs: [
        { name: 'b', parameters: { classification: { int64_param: 3 } } },
        { name: 'a', parameters: { binary_data: { bool_param: true }, own: { string_param: 'x' } } },
      ],
    });
    assert.equal(call.version, '3');
    assert.equal(call.timeoutMs, 1.5);
    assert.equal(call.priority, 2);
    assert.deepEqual(
      call.outputs!.map(({ name, binary, classes }) => ({ name, binary, classes })),
      [
        { name: 'b', binary: undefined, classes: 3 },
        { name: 'a', binary: true, classes: 0 },
      ],
    );
  });

  it('refuses wrong parameters by name', () => {
    const request = (name: string, value: Message): Message => ({ parameters: { [name]: value } });
    refused(
      request('timeout', { int64_param: -1 }),
      /^timeout of the request is -1, expected int64_param or uint64_param of 0 or more$/,
    );
    refused(
      request('priority', { string_param: '1' }),
      /^priority of the request is string_param "1", expected int64_param/,
    );
    refused(request('priority', {}), /^priority of the request is without a value/);
    refused(request('sequence_id', { double_param: 1.5 }), /^sequence_id of the request is double_param 1.5/);
    refused(request('sequence_end', { int64_param: 1 }), /^sequence_end of the request is 1, expected bool_param$/);
    refused(request('triton_x', { bool_param: true }), /^parameter 'triton_x' is reserved/);
    const shared = { shared_memory_region: { string_param: 'r' } };
    refused(
      { inputs: [{ ...FP32_ROW, parameters: shared }] },
      /^input 'x' has 'shared_memory_region': shared memory is not/,
    );
    refused({ outputs: [{ name: 'y', parameters: shared }] }, /^output 'y' has 'shared_memory_region'/);
    refused(
      { outputs: [{ name: 'y', parameters: { classification: { bool_param: true } } }] },
      /^classification of output 'y' is bool_param true/,
    );
  });

  it('refuses wrong tensors by name', () => {
    const one = (input: Message, raw?: Buffer[]): Message => ({
      inputs: [{ ...FP32_ROW, ...input }],
      ...(raw === undefined ? {} : { raw_input_contents: raw }),
    });
    refused(one({ name: '' }), /^inputs\[0\] has no name$/);
    refused(one({ datatype: '' }), /^input 'x' has no datatype$/);
    refused(one({ datatype: 'fp32' }), /^the datatype of input 'x' is 'fp32', expected one of BOOL, /);
    refused(one({ datatype: 'BF16' }), /^input 'x' is BF16, which ONNX Runtime for Node cannot carry$/);
    refused(one({ shape: [-1, 2] }), /^the shape of input 'x' is an array with -1, expected integers from 0/);
    refused(
      one({ shape: ['9007199254740992'] }),
      /an array with 9007199254740992, expected integers from 0, below 2\^53$/,
    );
    refused(one({ shape: Array(65).fill(1) }), /^the shape of input 'x' has more than 64 dimensions$/);
    refused(one({ shape: [2 ** 31, 2 ** 31] }), /^the shape \[2147483648,2147483648\] of input 'x' is too large$/);
    refused(one({ shape: [16, 2 ** 40] }, [TWO_FLOATS]), /^the raw contents of input 'x' has 8 bytes/);
    refused(one({}), /^input 'x' has no contents, and the request has no raw_input_contents$/);
    refused(
      one({}, [TWO_FLOATS.subarray(1)]),
      /^the raw contents of input 'x' has 7 bytes, its shape \[1,2\] of FP32 needs 8$/,
    );
    refused(
      one({}, [TWO_FLOATS, TWO_FLOATS]),
      /^the request has 2 raw_input_contents for 1 inputs, expected one for each$/,
    );
    refused(
      one({ contents: { fp32_contents: [1, 2] } }, [TWO_FLOATS]),
      /^the request has raw_input_contents, and input 'x' has contents, too$/,
    );
    refused({ inputs: [FP32_ROW, FP32_ROW] }, /^input 'x' stands in the request twice$/);
    refused({ outputs: [{ name: 'y' }, { name: 'y' }] }, /^output 'y' is asked for twice$/);
    refused({ outputs: [{}] }, /^outputs\[0\] has no name$/);
  });

  it('refuses wrong elements by their index', () => {
    const one = (datatype: string, contents: Message, shape = [2]): Message => ({
      inputs: [{ name: 'x', datatype, shape, contents }],
    });
    refused(
      one('FP32', { fp32_contents: [1] }),
      /^the contents of input 'x' have fewer elements than the 2 of its shape \[2\]$/,
    );
    refused(one('FP32', { fp32_contents: [1, 2, 3] }), /have more elements than the 2 of its shape/);
    refused(one('INT64', { int64_contents: [1, 2, 3] }), /have more elements/);
    refused(one('INT64', { int64_contents: ['1234567'] }), /have fewer elements/);
    refused(one('FP32', { fp32_contents: [1, 2] }, [2 ** 20, 2 ** 20]), /have fewer elements than the 1099511627776/);
    refused(
      one('FP32', { fp64_contents: [1, 2] }),
      /^input 'x' is FP32, which stands in fp32_contents, not in fp64_contents$/,
    );
    refused(one('FP16', { fp32_contents: [1, 2] }), /^input 'x' is FP16, which is taken in raw_input_contents only$/);
    for (const [datatype, field, values, text] of [
      ['INT8', 'int_contents', [0, 128], /^element 1 of input 'x' is 128, which INT8 cannot hold$/],
      ['INT8', 'int_contents', [-129, 0], /^element 0 of input 'x' is -129, which INT8 cannot hold$/],
      ['INT16', 'int_contents', [0, 32768], /is 32768, which INT16/],
      ['UINT8', 'uint_contents', [0, 256], /is 256, which UINT8/],
      ['UINT16', 'uint_contents', [4294967295, 0], /is 4294967295, which UINT16/],
    ] as const) {
      refused(one(datatype, { [field]: values }), text);
    }
    refused(
      one('BYTES', { bytes_contents: [Buffer.from('a\0'), Buffer.alloc(0)] }),
      /^the contents of input 'x' has a NUL in element 0/,
    );
    refused(one('BYTES', { bytes_contents: [Buffer.alloc(0), Buffer.of(0xff)] }), /element 1 that is not valid UTF-8$/);
  });

  it('refuses what is no message, and never does anything else with it', () => {
    refused(Buffer.of(0x0a, 0x05, 0x61), /^the message is not well-formed: it ends within field 1$/);
    refused(Buffer.of(0x0a), /it ends within a number$/);
    refused(Buffer.of(0x0a, 0x01, 0xff), /the string in field 1 is not valid UTF-8$/);
    refused(Buffer.of(0x1a, 0x01, 0xff), /the string in field 3 is not valid UTF-8$/);
    refused(Buffer.of(0x08, 0x01), /field 1 has wire type 0$/);
    refused(Buffer.of(0x0b), /field 1 has wire type 3$/);
    refused(Buffer.of(0x02, 0x00), /a tag is no field number$/);
    refused(Buffer.alloc(20, 0xff), /a number has more than ten bytes$/);
    const whole = requestSerialize({
      model_name: 'm',
      id: '7',
      parameters: { timeout: { int64_param: 5 }, s: { string_param: 'x' }, d: { double_param: 1 } },
      inputs: [
        { ...FP32_ROW, contents: { fp32_contents: [1, 2] } },
        { name: 'n', datatype: 'INT16', shape: [3], contents: { int_contents: [1, -2, 300] } },
        {
          name: 't',
          datatype: 'BYTES',
          shape: [2],
          contents: { bytes_contents: [Buffer.from('a'), Buffer.from('é')] },
        },
      ],
      outputs: [{ name: 'y', parameters: { classification: { int64_param: 3 } } }],
    });
    const attempt = (bytes: Buffer): void => {
      try {
        read(bytes);
      } catch (thrown) {
        assert.ok(
          thrown instanceof ShoalError && thrown.code === 'INVALID_REQUEST',
          `${thrown} for ${bytes.toString('hex')}`,
        );
      }
    };
    for (let end = 0; end < whole.length; end++) attempt(whole.subarray(0, end));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (changes) => {
          const changed = Buffer.from(whole);
          for (const [at, byte] of changes) changed[at] = byte;
          attempt(changed);
        },
      ),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => attempt(Buffer.from(bytes))),
      { numRuns: 3000 },
    );
  });

  it('bounds what a message of many small parts can make it keep', () => {
    const part = (tag: number, body: Uint8Array): Buffer => Buffer.from(new Writer().uint32(tag).bytes(body).finish());
    const named = (i: number): Buffer =>
      part(8 * 5 + 2, new Writer().uint32(10).string(`n${i}`).uint32(18).string('FP32').uint32(24).int64(0).finish());
    const many = Buffer.concat(Array.from({ length: 20_000 }, (_, i) => named(i)));
    refused(many, /^the request has more than 16384 inputs$/);
    refused(Buffer.concat(Array(20_000).fill(part(8 * 7 + 2, Buffer.alloc(0)))), /more than 16384 raw_input_contents$/);
  });

  it('works in slices, whatever a large message is made of', () => {
    const parameters = Buffer.concat(Array(200_000).fill(Buffer.of(0x22, 0x00)));
    assert.ok(read(parameters).slices > 20);
    const numbers = {
      name: 'x',
      datatype: 'INT64',
      shape: [200_000],
      contents: { int64_contents: Array(200_000).fill(1) },
    };
    assert.ok(readMessage({ inputs: [numbers] }).slices >= 3);
    const bools = {
      inputs: [{ name: 'x', datatype: 'BOOL', shape: [200_000] }],
      raw_input_contents: [Buffer.alloc(200_000, 7)],
    };
    const read1 = readMessage(bools);
    assert.ok(read1.slices >= 3);
    assert.ok(read1.inputs.get('x')!.bytes.every((byte) => byte === 1));
    const small = readMessage({ inputs: [{ ...FP32_ROW, contents: { fp32_contents: [1, 2] } }] });
    assert.equal(small.slices, 1);
  });
});
