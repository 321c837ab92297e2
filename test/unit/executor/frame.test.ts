import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  decodeControl,
  decodeTensors,
  encodeControl,
  encodeTensors,
  type Frame,
  FrameAssembler,
  FrameError,
  HEADER_BYTES,
  readHeader,
  type SegmentedTensor,
  type TensorsMessage,
} from '../../../src/executor/frame.ts';
import { DATATYPE_NAMES, DATATYPES, type Datatype, elementCount, encodeStrings } from '../../../src/tensor/tensor.ts';

/** A frame of tensors as it is written, and what has to come out of it. */
interface Message {
  readonly session: number;
  readonly id: number;
  readonly numbers: readonly [number, number];
  readonly outputs: readonly number[];
  readonly tensors: readonly SegmentedTensor[];
}

const uint32 = fc.nat(2 ** 32 - 1);

/** Bytes in pieces, cut anywhere; some pieces are empty. */
function cut(bytes: Uint8Array, at: readonly number[]): Uint8Array[] {
  const cuts = [0, ...at.map((n) => n % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return cuts.slice(1).map((end, i) => bytes.subarray(cuts[i], end));
}

function bytesFor(datatype: Datatype, shape: readonly number[], seed: number): Uint8Array {
  const count = elementCount(shape);
  if (datatype === 'BYTES') return encodeStrings(Array.from({ length: count }, (_, i) => 'é'.repeat((seed + i) % 5)));
  return Uint8Array.from({ length: count * DATATYPES[datatype].size }, (_, i) => seed + i * 31);
}

const segmented: fc.Arbitrary<SegmentedTensor> = fc
  .record({
    index: fc.nat(2 ** 16 - 1),
    datatype: fc.constantFrom(...DATATYPE_NAMES),
    shape: fc.array(fc.nat(4), { maxLength: 4 }),
    seed: fc.nat(255),
    cuts: fc.array(fc.nat(100), { maxLength: 3 }),
  })
  .map(({ index, datatype, shape, seed, cuts }) => ({
    index,
    datatype,
    shape,
    segments: cut(bytesFor(datatype, shape, seed), cuts),
  }));

const message: fc.Arbitrary<Message> = fc.record({
  session: uint32,
  id: uint32,
  numbers: fc.tuple(fc.double({ noNaN: true }), fc.double({ noNaN: true })),
  outputs: fc.array(fc.nat(2 ** 16 - 1), { maxLength: 5 }),
  tensors: fc.array(segmented, { maxLength: 4 }),
});

function encode({ session, id, numbers, outputs, tensors }: Message): Buffer {
  return Buffer.concat(encodeTensors('run', session, id, numbers, outputs, tensors));
}

function assertMessage(frame: Frame, expected: Message): void {
  assert.equal(frame.kind, 'run');
  assert.deepEqual([frame.session, frame.id], [expected.session, expected.id]);
  const { numbers, outputs, tensors } = decodeTensors(frame);
  assert.deepEqual(numbers, expected.numbers);
  assert.deepEqual(outputs, expected.outputs);
  assert.equal(tensors.length, expected.tensors.length);
  for (const [i, { index, tensor }] of tensors.entries()) {
    const { index: wanted, datatype, shape, segments } = expected.tensors[i]!;
    assert.deepEqual([index, tensor.datatype, tensor.shape], [wanted, datatype, shape]);
    assert.deepEqual(Buffer.from(tensor.bytes), Buffer.concat(segments));
    // ONNX Runtime's sums depend in the last bit on how their input is aligned.
    assert.equal((HEADER_BYTES + frame.headBytes + tensor.bytes.byteOffset - frame.body.byteOffset) % 16, 0);
  }
}

/** Everything a stream gives, with the frames' contents read; throws what reading throws. */
function readAll(chunks: readonly Buffer[]): { frame: Frame; content: unknown }[] {
  const assembler = new FrameAssembler();
  return chunks.flatMap((chunk) =>
    assembler.push(chunk).map((frame) => {
      const { kind } = frame;
      return { frame, content: kind === 'run' || kind === 'result' ? decodeTensors(frame) : decodeControl(frame) };
    }),
  );
}

/** Reads a stream that may be broken: a FrameError, or frames whose tensors are what their tables say. */
function readBroken(chunks: readonly Buffer[]): void {
  let frames: ReturnType<typeof readAll>;
  try {
    frames = readAll(chunks);
  } catch (error) {
    assert.ok(error instanceof FrameError, `${error}`);
    return;
  }
  for (const { frame, content } of frames) {
    if (frame.kind !== 'run' && frame.kind !== 'result') continue;
    for (const { tensor } of (content as TensorsMessage).tensors) {
      const { datatype, shape, bytes } = tensor;
      assert.ok(shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0));
      const count = elementCount(shape);
      if (datatype === 'BYTES') assert.ok(bytes.byteLength >= 4 * count);
      else assert.equal(bytes.byteLength, count * DATATYPES[datatype].size);
    }
  }
}

const SAMPLE: Message = {
  session: 1,
  id: 7,
  numbers: [1.5, -0.25],
  outputs: [0, 2, 1],
  tensors: [
    { index: 0, datatype: 'FP32', shape: [2, 3], segments: cut(bytesFor('FP32', [2, 3], 9), [5, 6]) },
    { index: 1, datatype: 'BYTES', shape: [3], segments: [bytesFor('BYTES', [3], 3)] },
    { index: 2, datatype: 'UINT8', shape: [], segments: [Uint8Array.of(255)] },
  ],
};

describe('frames', () => {
  it('of tensors come back as they were, however they are cut and chunked', () => {
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 3 }), fc.array(fc.nat(5000)), (messages, cuts) => {
        const stream = Buffer.concat(messages.map(encode));
        const frames = readAll(cut(stream, cuts).map((chunk) => Buffer.from(chunk)));
        assert.equal(frames.length, messages.length);
        for (const [i, { frame }] of frames.entries()) assertMessage(frame, messages[i]!);
      }),
      { numRuns: 1000, includeErrorInReport: true },
    );
  });

  it('of control messages come back as they were', () => {
    fc.assert(
      fc.property(fc.jsonValue(), uint32, uint32, (value, session, id) => {
        const [one] = readAll([encodeControl('load', session, value, id)]);
        assert.deepEqual([one!.frame.kind, one!.frame.session, one!.frame.id], ['load', session, id]);
        // What JSON does not tell apart is not ours to keep.
        assert.deepEqual(one!.content, JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('are found at every boundary of chunks', () => {
    const stream = Buffer.concat([encode(SAMPLE), encodeControl('failed', 1, { message: 'grüß' }, 8), encode(SAMPLE)]);
    for (let first = 0; first <= stream.length; first++) {
      const frames = readAll([stream.subarray(0, first), stream.subarray(first)]);
      assert.equal(frames.length, 3);
      assertMessage(frames[0]!.frame, SAMPLE);
      assert.deepEqual(frames[1]!.content, { message: 'grüß' });
      assertMessage(frames[2]!.frame, SAMPLE);
    }
    const single = Array.from(stream, (_, i) => stream.subarray(i, i + 1));
    assert.equal(readAll(single).length, 3);
  });

  it('give tensors whose bytes lie at multiples of 16 in the body', () => {
    const { frame } = readAll([encode(SAMPLE)])[0]!;
    const { tensors } = decodeTensors(frame);
    assert.ok(tensors.length > 1);
    for (const { tensor } of tensors) assert.equal((tensor.bytes.byteOffset - frame.body.byteOffset) % 16, 0);
  });

  it('borrow the segments they are made of', () => {
    const segment = new Uint8Array(64 * 1024);
    const pieces = encodeTensors(
      'run',
      1,
      1,
      [0, 0],
      [],
      [{ index: 0, datatype: 'UINT8', shape: [segment.length], segments: [segment] }],
    );
    assert.ok(pieces.includes(segment));
  });

  it('of random bytes are errors and nothing else', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), (chunks) =>
        readBroken(chunks.map((chunk) => Buffer.from(chunk))),
      ),
      { numRuns: 2000, includeErrorInReport: true },
    );
  });

  it('with random tables are errors, or what their tables say', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 24, maxLength: 160 }),
        fc.uint8Array({ maxLength: 80 }),
        (table, bytes) => {
          const head = Buffer.from(table.subarray(0, table.length & ~7));
          const body = Buffer.from(bytes.subarray(0, bytes.length & ~7));
          // Few tensors, or the first would always be said to be missing.
          head.writeUInt32LE(head[16]! % 4, 16);
          head.writeUInt32LE(head[20]! % 4, 20);
          const header = encode(SAMPLE).subarray(0, HEADER_BYTES);
          header.writeUInt32LE(head.length, 16);
          header.writeDoubleLE(body.length, 24);
          readBroken([Buffer.concat([header, head, body])]);
        },
      ),
      { numRuns: 3000, includeErrorInReport: true },
    );
  });

  it('that are cut short are waited for', () => {
    const stream = encode(SAMPLE);
    for (let length = 0; length < stream.length; length++) {
      assert.deepEqual(new FrameAssembler().push(stream.subarray(0, length)), []);
    }
  });

  it('with any single bit flipped are errors, or what their tables say', () => {
    const stream = Buffer.concat([encode(SAMPLE), encodeControl('failed', 1, { message: 'x' })]);
    for (let bit = 0; bit < 8 * stream.length; bit++) {
      const flipped = Buffer.from(stream);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      readBroken([flipped]);
    }
  });

  it('with a table that does not fit the body are errors', () => {
    const break_ = (offset: number, value: number): Buffer => {
      const frame = encode({ ...SAMPLE, outputs: [], tensors: SAMPLE.tensors.slice(0, 1) });
      frame.writeDoubleLE(value, HEADER_BYTES + offset);
      return frame;
    };
    // Behind the two numbers and counts (24 bytes): 8 bytes of index, type and rank, the size, the two dimensions.
    const [size, dims] = [32, 40];
    readAll([break_(size, 24)]);
    for (const wrong of [-8, 16, 32, 23.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(() => readAll([break_(size, wrong)]), FrameError, `size ${wrong}`);
    }
    for (const wrong of [-2, 1, 2.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60]) {
      assert.throws(() => readAll([break_(dims, wrong)]), FrameError, `dimension ${wrong}`);
    }
  });

  it('that claim to be huge are not allocated for', () => {
    const header = Buffer.from(encode(SAMPLE).subarray(0, HEADER_BYTES));
    const before = process.memoryUsage().arrayBuffers;
    const assemblers = Array.from({ length: 64 }, () => new FrameAssembler());
    header.writeDoubleLE(4 * 2 ** 30, 24);
    for (const assembler of assemblers) assert.deepEqual(assembler.push(header), []);
    assert.ok(process.memoryUsage().arrayBuffers - before < 2 ** 20);
    for (const wrong of [4 * 2 ** 30 + 8, Number.NaN, -8, 12, 2 ** 60, Number.POSITIVE_INFINITY]) {
      header.writeDoubleLE(wrong, 24);
      assert.throws(() => readHeader(header, 0), FrameError, String(wrong));
    }
    header.writeDoubleLE(0, 24);
    for (const wrong of [2 ** 24 + 8, 2 ** 32 - 8, 12]) {
      header.writeUInt32LE(wrong, 16);
      assert.throws(() => readHeader(header, 0), FrameError, String(wrong));
    }
  });

  it('of control messages that hold no JSON are errors', () => {
    const frame = encodeControl('failed', 1, { message: 'x' });
    frame.write('}', HEADER_BYTES);
    assert.throws(() => readAll([frame]), FrameError);
  });
});
