import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DATATYPE_NAMES, DATATYPES, encodeStrings } from '../../../src/tensor/tensor.ts';
import { bytesOf } from '../../support/onnx-builder.ts';
import {
  type Answer,
  binaryBody,
  expectError,
  HEADER_LENGTH,
  type InferRequest,
  parseBinaryReply,
  parseReply,
  useServer,
} from '../../support/server.ts';
import { fixtures } from './fixtures.ts';

/** Inference with binary tensors; the numbers are those of the protocol's conformance list. */

const floats = (...values: number[]): Uint8Array => bytesOf(Float32Array.from(values));
const binary = (size: number): { parameters: { binary_data_size: number } } => ({
  parameters: { binary_data_size: size },
});

const HEAD = { datatype: 'FP32', shape: [1, 4] };
const A = { name: 'a', ...HEAD, ...binary(16) };
const B = { name: 'b', ...HEAD, ...binary(16) };
const B_JSON = { name: 'b', ...HEAD, data: [10, 20, 30, 40] };
const A_JSON = { name: 'a', ...HEAD, data: [1, 2, 3, 4] };
const SECTIONS = [floats(1, 2, 3, 4), floats(10, 20, 30, 40)];
const SUM = Buffer.from(floats(11, 22, 33, 44));
const DIFF = Buffer.from(floats(-9, -18, -27, -36));

describe('inference with binary tensors', () => {
  const running = useServer(fixtures);

  const refuse = async (
    request: InferRequest | string,
    sections: readonly Uint8Array[],
    text: RegExp,
    { model = 'add2', headers = {} as Record<string, string> } = {},
  ): Promise<void> => {
    expectError(await running().inferBinary(model, request, sections, headers), 'INVALID_REQUEST', text);
  };

  it('case 37: binary in and out, sections in the order of the outputs', async () => {
    const request = { id: '7', parameters: { binary_data_output: true }, inputs: [A, B] };
    const { reply, sections } = parseBinaryReply(await running().inferBinary('add2', request, SECTIONS));
    assert.deepEqual(reply, {
      id: '7',
      model_name: 'add2',
      model_version: '2',
      outputs: [
        { name: 'sum', ...HEAD, ...binary(16) },
        { name: 'diff', ...HEAD, ...binary(16) },
      ],
    });
    assert.deepEqual(sections, [SUM, DIFF]);
  });

  it('sections come in the order of the inputs, not of the model', async () => {
    const request = { parameters: { binary_data_output: true }, inputs: [B, A], outputs: [{ name: 'diff' }] };
    const { sections } = parseBinaryReply(await running().inferBinary('add2', request, SECTIONS.toReversed()));
    assert.deepEqual(sections, [DIFF]);
  });

  it('case 38: one input binary, one in JSON', async () => {
    const answer = await running().inferBinary('add2', { inputs: [A, B_JSON] }, [SECTIONS[0]!]);
    assert.deepEqual(parseReply(answer).outputs[0]!.data, [11, 22, 33, 44]);
    const other = await running().inferBinary('add2', { inputs: [A_JSON, B] }, [SECTIONS[1]!]);
    assert.deepEqual(parseReply(other).outputs[1]!.data, [-9, -18, -27, -36]);
  });

  it('case 39: binary in, JSON out', async () => {
    const outputs = [{ name: 'sum', parameters: { binary_data: false } }];
    const request = { parameters: { binary_data_output: true }, inputs: [A, B], outputs };
    const answer = await running().inferBinary('add2', request, SECTIONS);
    assert.deepEqual(parseReply(answer).outputs, [{ name: 'sum', ...HEAD, data: [11, 22, 33, 44] }]);
  });

  it('case 40: a listed output follows the request where it says nothing itself', async () => {
    const request = { parameters: { binary_data_output: true }, inputs: [A, B], outputs: [{ name: 'diff' }] };
    assert.deepEqual(parseBinaryReply(await running().inferBinary('add2', request, SECTIONS)).sections, [DIFF]);
  });

  it('case 41: one output binary, one in JSON', async () => {
    const outputs = [{ name: 'diff' }, { name: 'sum', parameters: { binary_data: true } }];
    const answer = await running().inferBinary('add2', { inputs: [A, B], outputs }, SECTIONS);
    const { reply, sections } = parseBinaryReply(answer);
    assert.deepEqual(reply.outputs, [
      { name: 'diff', ...HEAD, data: [-9, -18, -27, -36] },
      { name: 'sum', ...HEAD, ...binary(16) },
    ]);
    assert.deepEqual(sections, [undefined, SUM]);
  });

  it('case 42: every datatype makes the round trip bit for bit, at every alignment', async () => {
    for (const datatype of DATATYPE_NAMES) {
      const { size } = DATATYPES[datatype];
      const texts = ['é', '', 'x'.repeat(300), '😀', 'b', '\n', 'ö'];
      // All bit patterns but the NaNs that a processor may quieten; booleans are 0 or 1.
      const pattern = Uint8Array.from({ length: 7 * size }, (_, i) =>
        datatype === 'BOOL' ? i & 1 : (i * 37 + 11) & 0x7b,
      );
      const section = datatype === 'BYTES' ? encodeStrings(texts) : pattern;
      const x = { name: 'x', datatype, shape: [1, 7], ...binary(section.length) };
      for (let pad = 0; pad < 8; pad++) {
        const request = { id: 'i'.repeat(pad + 1), parameters: { binary_data_output: true }, inputs: [x] };
        const { reply, sections } = parseBinaryReply(
          await running().inferBinary(`ident_${datatype}`, request, [section]),
        );
        assert.deepEqual(sections, [Buffer.from(section)], `${datatype}, ${pad} bytes of padding`);
        assert.deepEqual(reply.outputs[0]!.shape, [1, 7]);
      }
    }
  });

  it('case 29: what is not finite keeps its bits', async () => {
    const bits = Buffer.from(Uint32Array.of(0x7fc00001, 0x7f800000, 0xff800000, 0x80000000, 0xffc12345).buffer);
    const x = { name: 'x', datatype: 'FP32', shape: [1, 5], ...binary(20) };
    const request = { parameters: { binary_data_output: true }, inputs: [x] };
    assert.deepEqual(parseBinaryReply(await running().inferBinary('ident_FP32', request, [bits])).sections, [bits]);
    const tokens =
      '{"parameters":{"binary_data_output":true},"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[Infinity,-Infinity]}]}';
    const { sections } = parseBinaryReply(await running().infer('ident_FP32', tokens));
    assert.deepEqual(sections, [bits.subarray(4, 12)]);
  });

  it('booleans other than 0 and 1 count as true', async () => {
    const x = { name: 'x', datatype: 'BOOL', shape: [1, 4], ...binary(4) };
    const answer = await running().inferBinary('ident_BOOL', { inputs: [x] }, [Buffer.of(0, 1, 2, 255)]);
    assert.deepEqual(parseReply(answer).outputs[0]!.data, [false, true, true, true]);
  });

  it('case 43: a header length that is the whole body', async () => {
    const answer = await running().inferBinary('add2', { inputs: [A_JSON, B_JSON] }, []);
    assert.deepEqual(parseReply(answer).outputs[0]!.data, [11, 22, 33, 44]);
  });

  it('case 44: a header length that is none is refused', async () => {
    const { length } = binaryBody({ inputs: [A, B] }, SECTIONS);
    for (const value of ['-1', 'abc', '12abc', '', ' ', '0x10', '1e2', '+5', '1.0', '999999', `${length}, ${length}`])
      await refuse({ inputs: [A, B] }, SECTIONS, /./, { headers: { [HEADER_LENGTH]: value } });
    await refuse({ inputs: [A, B] }, SECTIONS, /./, { headers: { [HEADER_LENGTH]: '9'.repeat(400) } });
    for (const value of [String(length - 1), String(length + 1)])
      await refuse({ inputs: [A, B] }, SECTIONS, /./, { headers: { [HEADER_LENGTH]: value } });
  });

  it('case 50: a body without JSON is the only input of its model, and is answered in binary', async () => {
    const raw = async (model: string, body: Uint8Array | string, length = '0'): Promise<Answer> =>
      running().send('POST', `/v2/models/${model}/infer`, body, { [HEADER_LENGTH]: length });
    const bytes = Buffer.from(floats(1, 2, 3, 4, 5, 6, 7, 8));
    for (const length of ['0', '000']) {
      const { reply, sections } = parseBinaryReply(await raw('ident_FP32', bytes, length));
      assert.deepEqual(reply, {
        model_name: 'ident_FP32',
        model_version: '1',
        outputs: [{ name: 'y', datatype: 'FP32', shape: [1, 8], ...binary(32) }],
      });
      assert.deepEqual(sections, [bytes]);
    }
    for (const [model, body, text] of [
      ['ident_FP32', bytes.subarray(0, 30), /'x'.*30 bytes.*multiple of 4/],
      ['ident_FP32', '', /no body/],
      ['mat2', bytes, /'x'.*more than one dimension/],
      ['add2', bytes, /'add2' has 2 inputs/],
      ['ident_BYTES', 'text', /'x'.*BYTES \[-1,-1\].*one element/],
      ['flat0', bytes, /'x'.*32 bytes.*\[2,2\].*16/],
      ['str1', Buffer.of(0xff), /UTF-8/],
      ['str1', 'a\0b', /NUL/],
    ] as const)
      expectError(await raw(model, body), 'INVALID_REQUEST', text);
    expectError(await raw('nope', bytes), 'MODEL_NOT_FOUND');

    for (const text of ['427', 'ü'.repeat(100_000)]) {
      const { reply, sections } = parseBinaryReply(await raw('str1', text));
      const element = encodeStrings([text]);
      assert.deepEqual(reply.outputs, [{ name: 'y', datatype: 'BYTES', shape: [1, 1], ...binary(element.length) }]);
      assert.deepEqual(sections, [Buffer.from(element)]);
    }
    for (const [model, body, shape] of [
      ['flat0', bytes.subarray(0, 16), [2, 2]],
      ['scalar0', bytes.subarray(0, 4), []],
      ['ident_FP16', bytes, [1, 16]],
      ['ident_INT64', bytes, [1, 4]],
    ] as const) {
      const { reply, sections } = parseBinaryReply(await raw(model, body));
      assert.deepEqual(reply.outputs[0]!.shape, shape);
      assert.deepEqual(sections, [body]);
    }
    const { sections } = parseBinaryReply(await raw('ident_BOOL', Buffer.of(0, 1, 2, 255)));
    assert.deepEqual(sections, [Buffer.of(0, 1, 1, 1)]);
  });

  it('case 45: a section is as long as the shape and the size say', async () => {
    await refuse({ inputs: [A, B] }, [SECTIONS[0]!, floats(1, 2, 3)], /'b'/);
    await refuse({ inputs: [A, B] }, [...SECTIONS, Buffer.of(0)], /./);
    await refuse({ inputs: [A, B] }, [], /'a'/);
    await refuse({ inputs: [{ ...A, ...binary(12) }, B] }, [floats(1, 2, 3), SECTIONS[1]!], /'a'/);
    for (const size of [-16, 16.5, '16', null, 1e300, true])
      await refuse(
        { inputs: [{ ...A, parameters: { binary_data_size: size } }, B_JSON] },
        size === null ? [] : [SECTIONS[0]!],
        /'a'/,
      );
  });

  it('case 46: an input has either data or a section', async () => {
    await refuse({ inputs: [{ ...A_JSON, ...binary(16) }, B_JSON] }, [SECTIONS[0]!], /'a'/);
    await refuse({ inputs: [{ name: 'a', ...HEAD }, B_JSON] }, [], /'a'/);
  });

  it('case 47: a section without a header length is refused', async () => {
    const { bytes } = binaryBody({ inputs: [A, B] }, SECTIONS);
    expectError(await running().send('POST', '/v2/models/add2/infer', bytes), 'INVALID_REQUEST');
    expectError(await running().infer('add2', { inputs: [A, B_JSON] }), 'INVALID_REQUEST', /'a'/);
  });

  it('case 48: texts are whole, of UTF-8 and without NUL', async () => {
    const whole = encodeStrings(['ab', 'c']);
    const cases: [Uint8Array, number[]][] = [
      [whole, [1, 3]],
      [whole, [1, 1]],
      [whole.subarray(0, -1), [1, 2]],
      [whole.subarray(0, 2), [1, 1]],
      [Buffer.concat([whole, Buffer.of(0)]), [1, 2]],
      [Buffer.concat([whole, encodeStrings([''])]), [1, 2]],
      [encodeStrings(['a\0b', 'c']), [1, 2]],
      [encodeStrings([Buffer.of(0xff), 'c']), [1, 2]],
      [encodeStrings([Buffer.of(0xc3), Buffer.of(0xa9)]), [1, 2]],
      [encodeStrings([Buffer.of(0xed, 0xa0, 0x80), 'c']), [1, 2]],
      [Buffer.of(0xff, 0xff, 0xff, 0xff, 0x61), [1, 1]],
    ];
    for (const [section, shape] of cases) {
      const x = { name: 'x', datatype: 'BYTES', shape, ...binary(section.length) };
      await refuse({ inputs: [x] }, [section], /'x'/, { model: 'ident_BYTES' });
    }
  });

  it('case 49: an empty tensor, also as the clients that send data null and no header length', async () => {
    const x = { name: 'x', datatype: 'FP32', shape: [1, 0], ...binary(0) };
    const request = { parameters: { binary_data_output: true }, inputs: [x] };
    for (const answer of [
      await running().inferBinary('ident_FP32', request, []),
      await running().infer('ident_FP32', request),
      await running().infer('ident_FP32', { ...request, inputs: [{ ...x, data: null }] }),
    ]) {
      const { reply, sections } = parseBinaryReply(answer);
      assert.deepEqual(reply.outputs, [{ name: 'y', datatype: 'FP32', shape: [1, 0], ...binary(0) }]);
      assert.deepEqual(sections, [Buffer.alloc(0)]);
    }
  });

  it('case 51: the header length counts bytes, not characters', async () => {
    const request = { id: 'größer 日本 😀', parameters: { binary_data_output: true }, inputs: [A, B] };
    const { reply, sections } = parseBinaryReply(await running().inferBinary('add2', request, SECTIONS));
    assert.equal(reply.id, request.id);
    assert.deepEqual(sections, [SUM, DIFF]);
  });

  it('white space around the JSON is no part of a section', async () => {
    const text = `  ${JSON.stringify({ inputs: [A, B] })}\n `;
    assert.deepEqual(
      parseReply(await running().inferBinary('add2', text, SECTIONS)).outputs[0]!.data,
      [11, 22, 33, 44],
    );
  });

  it('binary_data of an output is a boolean', async () => {
    for (const value of [1, 'true', []])
      await refuse(
        { inputs: [A, B], outputs: [{ name: 'sum', parameters: { binary_data: value } }] },
        SECTIONS,
        /'sum'/,
      );
  });
});
