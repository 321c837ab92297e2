import { ShoalError } from '../errors.ts';
import { SLICE_BYTES } from '../tensor/json-text.ts';
import { asBuffer, type Datatype, type Tensor } from '../tensor/tensor.ts';
import { FIELD_OF } from './typed-contents.ts';
import { delimitedSize, varintSize, WireWriter } from './wire-writer.ts';

/** What a reply says. */
export interface InferReply {
  readonly modelName: string;
  readonly modelVersion: string;
  /** The caller's, as bytes; undefined or empty when there was none. */
  readonly id: Uint8Array | undefined;
  readonly outputs: readonly { readonly name: string; readonly tensor: Tensor }[];
  /** Whether tensors go into `raw_output_contents`, and not each into its own typed `contents`. */
  readonly isRaw: boolean;
}

/** How it is written. */
export interface ReplyOptions {
  /** As the `infer_response` of a `ModelStreamInferResponse`; otherwise as the `ModelInferResponse` itself. */
  readonly inStream: boolean;
  /** Most bytes of the message. */
  readonly limitBytes: number;
}

// Copying this much takes well below a millisecond.
const COPY_BYTES = 1_048_576;

/** `parameters { key: "triton_final_response" value { bool_param: true } }`, which Triton's streams have. */
const FINAL = Buffer.from('\x22\x1b\x0a\x15triton_final_response\x12\x02\x08\x01', 'latin1');

/**
 * Writes a `ModelInferResponse`. A generator that pauses about once a millisecond, to be driven by `runSliced`.
 *
 * @returns the message; the caller owns it.
 * @throws {ShoalError} BODY_TOO_LARGE when it would be larger than the limit.
 */
export function* encodeInferReply(reply: InferReply, options: ReplyOptions): Generator<void, Buffer, void> {
  const { modelName, modelVersion, id, outputs, isRaw } = reply;
  const { inStream, limitBytes } = options;
  const idLength = id?.length ?? 0;
  const nameLength = Buffer.byteLength(modelName);
  let size = delimitedSize(nameLength) + delimitedSize(modelVersion.length) + (inStream ? FINAL.length : 0);
  if (idLength > 0) size += delimitedSize(idLength);
  const parts: OutputPart[] = [];
  for (const { name, tensor } of outputs) {
    const contents = isRaw ? undefined : yield* typedContents(tensor);
    const part = measureOutput(name, tensor, contents);
    parts.push(part);
    size += delimitedSize(part.size);
    if (isRaw) size += delimitedSize(tensor.bytes.length);
  }
  const total = inStream ? delimitedSize(size) : size;
  if (total > limitBytes) {
    throw new ShoalError('BODY_TOO_LARGE', `the reply has ${total} bytes, more than the ${limitBytes} of --body-limit`);
  }
  const writer = new WireWriter(total + SPARE_BYTES);
  if (inStream) writer.delimited(2, size);
  writer.string(1, modelName, nameLength);
  writer.string(2, modelVersion, modelVersion.length);
  if (id !== undefined && idLength > 0) {
    writer.delimited(3, idLength);
    writer.append(id, 0, idLength);
  }
  if (inStream) writer.append(FINAL, 0, FINAL.length);
  for (const part of parts) yield* writeOutput(writer, part);
  if (!isRaw) return writer.finish();
  for (const { tensor } of outputs) {
    writer.delimited(6, tensor.bytes.length);
    yield* copy(writer, tensor.bytes);
  }
  return writer.finish();
}

/** Writes the `ModelStreamInferResponse` of a request that was refused or failed. */
export function encodeStreamError(message: string, id: Uint8Array | undefined): Buffer {
  const length = Buffer.byteLength(message);
  const idLength = id?.length ?? 0;
  const writer = new WireWriter(length + idLength + 32);
  writer.string(1, message, length);
  if (id !== undefined && idLength > 0) {
    writer.delimited(2, delimitedSize(idLength));
    writer.delimited(3, idLength);
    writer.append(id, 0, idLength);
  }
  return writer.finish();
}

// The writer asks for room for the longest number before each one.
const SPARE_BYTES = 10;

/** An output and the sizes of what is written of it. */
interface OutputPart {
  readonly name: string;
  readonly nameLength: number;
  readonly tensor: Tensor;
  readonly shapeSize: number;
  readonly contents: Contents | undefined;
  readonly size: number;
}

/** The fields of an `InferTensorContents`. */
interface Contents {
  /** The field, when `bytes` is what is packed into it; undefined when `bytes` has the tags, too. */
  readonly field: number | undefined;
  readonly bytes: Uint8Array;
}

function measureOutput(name: string, tensor: Tensor, contents: Contents | undefined): OutputPart {
  const { datatype, shape } = tensor;
  const nameLength = Buffer.byteLength(name);
  let shapeSize = 0;
  for (const dim of shape) shapeSize += varintSize(dim);
  let size = delimitedSize(nameLength) + delimitedSize(datatype.length);
  if (shapeSize > 0) size += delimitedSize(shapeSize);
  if (contents !== undefined) size += delimitedSize(contentsSize(contents));
  return { name, nameLength, tensor, shapeSize, contents, size };
}

function contentsSize({ field, bytes }: Contents): number {
  return field === undefined || bytes.length === 0 ? bytes.length : delimitedSize(bytes.length);
}

function* writeOutput(writer: WireWriter, part: OutputPart): Generator<void, void, void> {
  const { name, nameLength, tensor, shapeSize, contents, size } = part;
  writer.delimited(5, size);
  writer.string(1, name, nameLength);
  writer.string(2, tensor.datatype, tensor.datatype.length);
  if (shapeSize > 0) {
    writer.delimited(3, shapeSize);
    for (const dim of tensor.shape) writer.varint(dim);
  }
  if (contents === undefined) return;
  writer.delimited(5, contentsSize(contents));
  if (contents.bytes.length === 0) return;
  if (contents.field !== undefined) writer.delimited(contents.field, contents.bytes.length);
  yield* copy(writer, contents.bytes);
}

function* copy(writer: WireWriter, bytes: Uint8Array): Generator<void, void, void> {
  for (let start = 0; start < bytes.length; start += COPY_BYTES) {
    if (start > 0) yield;
    writer.append(bytes, start, Math.min(bytes.length, start + COPY_BYTES));
  }
}

/** The elements of a tensor as a typed field has them. */
function* typedContents({ datatype, bytes }: Tensor): Generator<void, Contents, void> {
  if (datatype === 'BYTES') return { field: undefined, bytes: yield* textFields(bytes) };
  const field = FIELD_OF[datatype];
  // These are packed as they lie in memory: little-endian, and a BOOL is a varint of one byte.
  if (datatype === 'FP32' || datatype === 'FP64' || datatype === 'BOOL') return { field, bytes };
  return { field, bytes: yield* packIntegers(datatype, asBuffer(bytes)) };
}

function* textFields(bytes: Uint8Array): Generator<void, Buffer, void> {
  const buffer = asBuffer(bytes);
  const writer = new WireWriter(bytes.length + SPARE_BYTES);
  let pause = SLICE_BYTES;
  for (let pos = 0; pos < bytes.length; ) {
    const length = buffer.readUInt32LE(pos);
    pos += 4;
    writer.delimited(FIELD_OF.BYTES, length);
    writer.append(bytes, pos, pos + length);
    pos += length;
    if (pos < pause) continue;
    pause = pos + SLICE_BYTES;
    yield;
  }
  return writer.finish();
}

const WIDTHS: Readonly<Partial<Record<Datatype, number>>> = {
  INT8: 1,
  UINT8: 1,
  INT16: 2,
  UINT16: 2,
  INT32: 4,
  UINT32: 4,
};

function* packIntegers(datatype: Datatype, bytes: Buffer): Generator<void, Buffer, void> {
  const width = WIDTHS[datatype] ?? 8;
  const isSigned = datatype.startsWith('INT');
  const writer = new WireWriter(bytes.length + SPARE_BYTES);
  for (let pos = 0; pos < bytes.length; pos += width) {
    if (pos > 0 && pos % SLICE_BYTES === 0) yield;
    if (width === 8) writer.varint64(bytes.readInt32LE(pos), bytes.readInt32LE(pos + 4));
    else if (isSigned) {
      const value = bytes.readIntLE(pos, width);
      writer.varint64(value, value >> 31);
    } else writer.varint64(bytes.readUIntLE(pos, width), 0);
  }
  return writer.finish();
}
