import { ByteWriter } from '../tensor/byte-writer.ts';
import { estimateJsonBytes, JsonTensorEncoder } from '../tensor/json-encode.ts';
import { SLICE_BYTES } from '../tensor/json-text.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type InferCall, InferRequestParser } from './v2-request.ts';
import { jsonLength } from './v2-sections.ts';

export type { InferCall, RequestedOutput } from './v2-request.ts';

/** A tensor of a reply. */
export interface NamedTensor {
  readonly name: string;
  readonly tensor: Tensor;
}

/** What a reply says. */
export interface InferReply {
  readonly modelName: string;
  readonly modelVersion: string;
  /** The caller's; undefined when there was none. */
  readonly id: string | undefined;
  readonly outputs: readonly (NamedTensor & { readonly binary: boolean })[];
}

/** A reply's body with the headers that explain it. */
export interface EncodedReply {
  /** The caller owns it. */
  readonly body: Buffer;
  readonly contentType: 'application/json' | 'application/octet-stream';
  /** The value of `Inference-Header-Content-Length`; undefined when no output is binary. */
  readonly headerLength: number | undefined;
}

/**
 * Reads the body of an infer request of the Open Inference Protocol v2: JSON, or JSON and binary sections.
 *
 * A generator that pauses about once per {@link SLICE_BYTES} of work, so that large bodies do not hold the event loop;
 * small ones run through at once. Drive it with `runSliced`.
 * Tensors that came in binary are views of `body`, which therefore must not change.
 *
 * @param headerLength the header `Inference-Header-Content-Length` as received.
 * @param opaque names of inputs of BYTES whose elements are any bytes; in JSON they are base64.
 * @throws {ShoalError} INVALID_REQUEST that names the field, what came and what was expected.
 */
export function* decodeInferRequest(
  body: Buffer,
  headerLength: string | undefined,
  opaque?: ReadonlySet<string>,
): Generator<void, InferCall, void> {
  const jsonBytes = jsonLength(headerLength, body.length);
  const parser = new InferRequestParser(body, jsonBytes, headerLength !== undefined, opaque);
  while (!parser.advance()) yield;
  return parser.finish();
}

/**
 * Writes the reply to an infer request, as one Buffer, in the same slices.
 *
 * @throws {ShoalError} INVALID_REQUEST when an output was asked for in JSON that JSON cannot carry: FP16, or BYTES that
 * are not UTF-8.
 */
export function* encodeInferReply(reply: InferReply): Generator<void, EncodedReply, void> {
  let expected = 256;
  let binaryBytes = 0;
  let anyBinary = false;
  for (const { tensor, binary } of reply.outputs) {
    expected += 128;
    if (binary) {
      anyBinary = true;
      binaryBytes += tensor.bytes.length;
    } else expected += estimateJsonBytes(tensor);
  }
  const writer = new ByteWriter(Math.ceil(expected) + binaryBytes);
  const id = reply.id === undefined ? '' : `"id":${JSON.stringify(reply.id)},`;
  let text = `{${id}"model_name":${quote(reply.modelName)},"model_version":${quote(reply.modelVersion)},"outputs":[`;
  let pause = SLICE_BYTES;
  let separator = '';
  for (const { name, tensor, binary } of reply.outputs) {
    text += `${separator}{"name":${quote(name)},"datatype":"${tensor.datatype}","shape":[${tensor.shape.join(',')}],`;
    separator = ',';
    if (binary) {
      text += `"parameters":{"binary_data_size":${tensor.bytes.length}}}`;
      continue;
    }
    const encoder = new JsonTensorEncoder(tensor, name);
    writer.text(`${text}"data":[`);
    for (let start = performance.now(); !encoder.advance(writer); ) {
      // By the clock, too: some floats need a hundred times longer than others.
      if (writer.length < pause && performance.now() - start < SLICE_MS) continue;
      pause = writer.length + SLICE_BYTES;
      yield;
      start = performance.now();
    }
    text = ']}';
  }
  writer.text(`${text}]}`);
  if (!anyBinary) return { body: writer.finish(), contentType: 'application/json', headerLength: undefined };
  const headerLength = writer.length;
  for (const { tensor, binary } of reply.outputs) {
    if (!binary) continue;
    for (let start = 0; start < tensor.bytes.length; start += COPY_BYTES) {
      if (start > 0) yield;
      writer.append(tensor.bytes, start, Math.min(tensor.bytes.length, start + COPY_BYTES));
    }
  }
  return { body: writer.finish(), contentType: 'application/octet-stream', headerLength };
}

const SLICE_MS = 1;

// Copying this much takes well below a millisecond.
const COPY_BYTES = 1_048_576;

const MAX_QUOTED_NAMES = 1024;
const quotedNames = new Map<string, string>();

/** A name as a JSON string. Names are few and come with every reply, so they are kept. */
function quote(name: string): string {
  const known = quotedNames.get(name);
  if (known !== undefined) return known;
  const quoted = JSON.stringify(name);
  if (quotedNames.size >= MAX_QUOTED_NAMES) quotedNames.clear();
  quotedNames.set(name, quoted);
  return quoted;
}
