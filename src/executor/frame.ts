import { DATATYPE_NAMES, DATATYPES, type Datatype, elementCount, type Tensor } from '../tensor/tensor.ts';

/**
 * The wire format between the front and an executor.
 *
 * A frame is a header of 32 bytes, a head and a body, all little-endian:
 *
 * | offset | type | |
 * | --- | --- | --- |
 * | 0 | u32 | magic |
 * | 4 | u8 | kind, then three zero bytes |
 * | 8 | u32 | session: which loaded model the frame is about |
 * | 12 | u32 | id: which run (0 for control frames) |
 * | 16 | u32 | bytes of the head, a multiple of 16 |
 * | 20 | u32 | zero |
 * | 24 | f64 | bytes of the body, a multiple of 16 |
 *
 * Control frames (`load`, `loaded`, `probe`, `probed`, `check`, `checked`, `failed`) have a head of JSON padded with
 * blanks and no body. `run` and `result` have a table of tensors as head and the tensors' bytes as body, each padded to a multiple of 16: the receiver can
 * put typed arrays over them where they lie, and ONNX Runtime finds them aligned as memory of their own would be. Some
 * of its sums depend on that in the last bit, and answers shall be those that a program of one's own gets.
 */
export const HEADER_BYTES = 32;
const MAGIC = 0x4c414f53;

/** Nothing legal comes near these; a larger number means that the stream is broken. */
const MAX_HEAD_BYTES = 16 * 2 ** 20;
const MAX_BODY_BYTES = 4 * 2 ** 30;

export const FRAME_KINDS = {
  load: 1,
  loaded: 2,
  probe: 3,
  probed: 4,
  run: 5,
  result: 6,
  failed: 7,
  check: 8,
  checked: 9,
} as const;
export type FrameKind = keyof typeof FRAME_KINDS;
const KIND_NAMES: Readonly<Record<number, FrameKind>> = Object.fromEntries(
  Object.entries(FRAME_KINDS).map(([name, code]) => [code, name as FrameKind]),
);

export interface FrameHeader {
  readonly kind: FrameKind;
  readonly session: number;
  readonly id: number;
  readonly headBytes: number;
  readonly bodyBytes: number;
}

/** A frame that has arrived whole. `head` and `body` are views of the receiver's memory. */
export interface Frame extends FrameHeader {
  readonly head: Buffer;
  readonly body: Buffer;
}

/** A stream that does not follow the format. The executor it comes from cannot be trusted any more. */
export class FrameError extends Error {
  override name = 'FrameError';
}

/** One tensor of a table: which input or output it is, and what its bytes mean. */
export interface TensorEntry {
  /** Position in the signature's inputs or outputs. */
  readonly index: number;
  readonly tensor: Tensor;
}

/** A tensor to be written, its bytes given in pieces that lie in several callers' buffers. */
export interface SegmentedTensor {
  readonly index: number;
  readonly datatype: Tensor['datatype'];
  readonly shape: readonly number[];
  readonly segments: readonly Uint8Array[];
}

/** Every part of a frame starts at a multiple of this. */
const ALIGNMENT = 16;

const ZEROES = new Uint8Array(ALIGNMENT);

function padding(bytes: number): number {
  return -bytes & (ALIGNMENT - 1);
}

function writeHeader(to: Buffer, kind: FrameKind, session: number, id: number, head: number, body: number): void {
  to.writeUInt32LE(MAGIC, 0);
  to.writeUInt32LE(FRAME_KINDS[kind], 4);
  to.writeUInt32LE(session, 8);
  to.writeUInt32LE(id, 12);
  to.writeUInt32LE(head, 16);
  to.writeUInt32LE(0, 20);
  to.writeDoubleLE(body, 24);
}

/**
 * Reads the header at `offset`, where 32 bytes must lie.
 *
 * @throws {FrameError} when it is none.
 */
export function readHeader(from: Buffer, offset: number): FrameHeader {
  const kind = KIND_NAMES[from.readUInt32LE(offset + 4)];
  const headBytes = from.readUInt32LE(offset + 16);
  const bodyBytes = from.readDoubleLE(offset + 24);
  if (
    from.readUInt32LE(offset) !== MAGIC ||
    kind === undefined ||
    headBytes > MAX_HEAD_BYTES ||
    headBytes % ALIGNMENT !== 0 ||
    !(bodyBytes >= 0 && bodyBytes <= MAX_BODY_BYTES && bodyBytes % ALIGNMENT === 0)
  ) {
    throw new FrameError('what came is not a frame header');
  }
  return {
    kind,
    session: from.readUInt32LE(offset + 8),
    id: from.readUInt32LE(offset + 12),
    headBytes,
    bodyBytes,
  };
}

/** A control frame whose head is `message` as JSON. */
export function encodeControl(kind: FrameKind, session: number, message: unknown, id = 0): Buffer {
  const text = JSON.stringify(message);
  const length = Buffer.byteLength(text);
  const head = length + padding(length);
  const frame = Buffer.alloc(HEADER_BYTES + head, ' ');
  writeHeader(frame, kind, session, id, head, 0);
  frame.write(text, HEADER_BYTES);
  return frame;
}

/**
 * The message of a control frame.
 *
 * @throws {FrameError} when the head is not JSON.
 */
export function decodeControl(frame: Frame): unknown {
  try {
    return JSON.parse(frame.head.toString());
  } catch (cause) {
    throw new FrameError('a control frame does not hold JSON', { cause });
  }
}

/**
 * A frame of tensors as a list of pieces for one `writev`: header and table first, then the segments as they lie.
 *
 * @param numbers two instants (`result`); or how many runs are to be kept, and zero (`run`).
 * @param outputs indices of the outputs a `run` shall give; empty stands for all.
 * @returns pieces that borrow the segments' memory: it must not change until they are written.
 */
export function encodeTensors(
  kind: 'run' | 'result',
  session: number,
  id: number,
  numbers: readonly [number, number],
  outputs: readonly number[],
  tensors: readonly SegmentedTensor[],
): Uint8Array[] {
  const outputBytes = outputs.length * 2;
  let headBytes = 24 + outputBytes + padding(outputBytes);
  for (const tensor of tensors) headBytes += 16 + 8 * tensor.shape.length;
  headBytes += padding(headBytes);
  const head = Buffer.allocUnsafe(HEADER_BYTES + headBytes);
  const pieces: Uint8Array[] = [head];

  let at = HEADER_BYTES;
  at = head.writeDoubleLE(numbers[0], at);
  at = head.writeDoubleLE(numbers[1], at);
  at = head.writeUInt32LE(tensors.length, at);
  at = head.writeUInt32LE(outputs.length, at);
  for (const index of outputs) at = head.writeUInt16LE(index, at);
  for (let i = padding(outputBytes); i > 0; i--) at = head.writeUInt8(0, at);

  let bodyBytes = 0;
  for (const tensor of tensors) {
    let bytes = 0;
    for (const segment of tensor.segments) {
      if (segment.byteLength === 0) continue;
      pieces.push(segment);
      bytes += segment.byteLength;
    }
    at = head.writeUInt16LE(tensor.index, at);
    at = head.writeUInt8(DATATYPE_NAMES.indexOf(tensor.datatype), at);
    at = head.writeUInt8(tensor.shape.length, at);
    at = head.writeUInt32LE(0, at);
    at = head.writeDoubleLE(bytes, at);
    for (const dim of tensor.shape) at = head.writeDoubleLE(dim, at);
    const pad = padding(bytes);
    if (pad > 0) pieces.push(ZEROES.subarray(0, pad));
    bodyBytes += bytes + pad;
  }
  head.fill(0, at);
  writeHeader(head, kind, session, id, headBytes, bodyBytes);
  return pieces;
}

/** What a `run` or `result` frame says. */
export interface TensorsMessage {
  readonly numbers: readonly [number, number];
  readonly outputs: readonly number[];
  readonly tensors: readonly TensorEntry[];
}

/**
 * The table of a `run` or `result` frame; the tensors are views of the frame's body.
 *
 * @throws {FrameError} when table and body do not agree.
 */
export function decodeTensors(frame: Frame): TensorsMessage {
  const { head, body } = frame;
  if (head.length < 24) throw new FrameError('a table of tensors is cut short');
  const numbers: [number, number] = [head.readDoubleLE(0), head.readDoubleLE(8)];
  const count = head.readUInt32LE(16);
  const outputCount = head.readUInt32LE(20);
  let at = 24;
  const need = (bytes: number): void => {
    if (at + bytes > head.length) throw new FrameError('a table of tensors is cut short');
  };
  need(outputCount * 2);
  const outputs: number[] = [];
  for (let i = 0; i < outputCount; i++) outputs.push(head.readUInt16LE(at + 2 * i));
  at += 2 * outputCount + padding(2 * outputCount);

  const tensors: TensorEntry[] = [];
  let bodyAt = 0;
  for (let i = 0; i < count; i++) {
    need(16);
    const index = head.readUInt16LE(at);
    const datatype = DATATYPE_NAMES[head.readUInt8(at + 2)];
    const rank = head.readUInt8(at + 3);
    const bytes = head.readDoubleLE(at + 8);
    at += 16;
    need(8 * rank);
    const shape: number[] = [];
    for (let d = 0; d < rank; d++) shape.push(head.readDoubleLE(at + 8 * d));
    at += 8 * rank;
    if (datatype === undefined || !isSizeOf(bytes, datatype, shape) || bodyAt + bytes > body.length) {
      throw new FrameError('a table of tensors does not fit its body');
    }
    tensors.push({ index, tensor: { datatype, shape, bytes: body.subarray(bodyAt, bodyAt + bytes) } });
    bodyAt += bytes + padding(bytes);
  }
  if (bodyAt !== body.length) throw new FrameError('a frame has more body than its table says');
  return { numbers, outputs, tensors };
}

/** Whether so many bytes can be a tensor's; strings have at least their lengths. */
function isSizeOf(bytes: number, datatype: Datatype, shape: readonly number[]): boolean {
  if (!shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) return false;
  const count = elementCount(shape);
  return datatype === 'BYTES'
    ? Number.isSafeInteger(bytes) && bytes >= 4 * count
    : bytes === count * DATATYPES[datatype].size;
}

/** Puts frames together from the chunks of a stream, for a receiver that is event-driven. */
export class FrameAssembler {
  #chunks: Buffer[] = [];
  #length = 0;
  #header: FrameHeader | undefined;

  /**
   * Takes the next chunk and gives the frames that it completes. A frame that lies within one chunk is a view of it.
   *
   * @throws {FrameError} when the stream is broken; nothing may be pushed afterwards.
   */
  push(chunk: Buffer): Frame[] {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    const frames: Frame[] = [];
    for (;;) {
      if (this.#header === undefined) {
        if (this.#length < HEADER_BYTES) return frames;
        this.#header = readHeader(this.#contiguous(HEADER_BYTES), 0);
      }
      const total = HEADER_BYTES + this.#header.headBytes + this.#header.bodyBytes;
      if (this.#length < total) return frames;
      const bytes = this.#contiguous(total);
      const bodyAt = HEADER_BYTES + this.#header.headBytes;
      frames.push({
        ...this.#header,
        head: bytes.subarray(HEADER_BYTES, bodyAt),
        body: bytes.subarray(bodyAt, total),
      });
      this.#header = undefined;
      this.#length -= total;
      this.#chunks = this.#length === 0 ? [] : [bytes.subarray(total)];
    }
  }

  /** All that is held as one buffer of at least `bytes`; joined at most twice a frame. */
  #contiguous(bytes: number): Buffer {
    const first = this.#chunks[0]!;
    if (first.length >= bytes) return first.length === this.#length ? first : this.#join();
    return this.#join();
  }

  #join(): Buffer {
    const joined = Buffer.concat(this.#chunks, this.#length);
    this.#chunks = [joined];
    return joined;
  }
}
