import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ShoalError } from '../../../src/errors.ts';
import { loadDefinitions } from '../../../src/grpc/definitions.ts';
import { encodeInferReply, encodeStreamError, type InferReply } from '../../../src/grpc/infer-reply.ts';
import { DATATYPE_NAMES, elementCount, type Tensor } from '../../../src/tensor/tensor.ts';
import { elementsOf } from './tensors.ts';

type Message = Readonly<Record<string, unknown>>;

interface DecodedReply {
  readonly model_name: string;
  readonly model_version: string;
  readonly id: string;
  readonly parameters: Message;
  readonly outputs: readonly (Message & { readonly contents: Message | null })[];
  readonly raw_output_contents: readonly Buffer[];
}

const { ModelInfer, ModelStreamInfer } = loadDefinitions().inference;

const LIMIT = { inStream: false, limitBytes: 2 ** 26 };

function encode(reply: InferReply, options: { inStream: boolean; limitBytes: number } = LIMIT): Buffer {
  const work = encodeInferReply(reply, options);
  for (;;) {
    const { done, value } = work.next();
    if (done === true) return value;
  }
}

const outputs = fc.array(
  fc
    .tuple(
      fc.string({ unit: 'grapheme', maxLength: 12 }),
      fc.constantFrom(...DATATYPE_NAMES),
      fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 2 }).filter((shape) => elementCount(shape) < 500),
    )
    .chain(([name, datatype, shape]) =>
      elementsOf(datatype, elementCount(shape)).map((elements) => ({ name, datatype, shape, elements })),
    ),
  { maxLength: 3 },
);

describe('encodeInferReply', () => {
  it('writes replies as protobufjs reads them, typed and raw, alone and in a stream', () => {
    fc.assert(
      fc.property(outputs, fc.boolean(), fc.boolean(), fc.string({ unit: 'grapheme' }), (all, raw, inStream, id) => {
        const isRaw = raw || all.some((one) => one.datatype === 'FP16');
        const bytes = encode(
          {
            modelName: 'modèle',
            modelVersion: '12',
            id: Buffer.from(id),
            isRaw,
            outputs: all.map(({ name, datatype, shape, elements }) => ({
              name,
              tensor: { datatype, shape, bytes: elements.bytes },
            })),
          },
          { inStream, limitBytes: 2 ** 26 },
        );
        const decoded = inStream
          ? (ModelStreamInfer!.responseDeserialize(bytes) as { infer_response: DecodedReply }).infer_response
          : (ModelInfer!.responseDeserialize(bytes) as DecodedReply);
        assert.deepEqual([decoded.model_name, decoded.model_version, decoded.id], ['modèle', '12', id]);
        assert.deepEqual(Object.keys(decoded.parameters), inStream ? ['triton_final_response'] : []);
        assert.equal(decoded.outputs.length, all.length);
        for (const [i, { name, datatype, shape, elements }] of all.entries()) {
          const output = decoded.outputs[i]!;
          assert.deepEqual([output['name'], output['datatype'], output['shape']], [name, datatype, shape.map(String)]);
          if (isRaw) assert.ok(elements.bytes.equals(decoded.raw_output_contents[i]!));
          else assert.deepEqual(output.contents![elements.field!], elements.values);
        }
        if (!isRaw) assert.equal(decoded.raw_output_contents.length, 0);
      }),
      { numRuns: 600 },
    );
  });

  it('writes large tensors in slices', () => {
    const tensor: Tensor = { datatype: 'INT32', shape: [2 ** 20], bytes: new Uint8Array(2 ** 22).fill(0xfe) };
    for (const isRaw of [true, false]) {
      const reply = { modelName: 'm', modelVersion: '1', id: undefined, isRaw, outputs: [{ name: 'y', tensor }] };
      const work = encodeInferReply(reply, LIMIT);
      let slices = 1;
      while (work.next().done !== true) slices++;
      assert.ok(slices >= (isRaw ? 4 : 60), `${slices} slices`);
    }
  });

  it('refuses what is over the limit', () => {
    const tensor: Tensor = { datatype: 'FP32', shape: [25], bytes: Buffer.alloc(100) };
    const reply = { modelName: 'm', modelVersion: '1', id: undefined, isRaw: true, outputs: [{ name: 'y', tensor }] };
    const { length } = encode(reply);
    assert.equal(encode(reply, { inStream: false, limitBytes: length }).length, length);
    assert.throws(
      () => encode(reply, { inStream: false, limitBytes: length - 1 }),
      (thrown: unknown) => thrown instanceof ShoalError && thrown.code === 'BODY_TOO_LARGE',
    );
  });
});

describe('encodeStreamError', () => {
  it('has the text and the id', () => {
    const decode = (bytes: Buffer): Message => ModelStreamInfer!.responseDeserialize(bytes) as Message;
    const full = decode(encodeStreamError('naïve', Buffer.from('7')));
    assert.equal(full['error_message'], 'naïve');
    assert.equal((full['infer_response'] as DecodedReply).id, '7');
    assert.equal(decode(encodeStreamError('no', undefined))['infer_response'], null);
  });
});
