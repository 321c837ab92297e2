import type { BenchModel, Encoding } from './cases.ts';
import { mulberry32 } from './statistics.ts';

/** Request bodies and replies of the Open Inference Protocol, as a client library makes and reads them. */

/** The header that says how long the JSON in front of binary tensors is. */
export const HEADER_LENGTH = 'Inference-Header-Content-Length';

/** A request's body and the headers that belong to it. */
export interface Body {
  readonly bytes: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

/** `count` rows for a model, values from 0 to 1, always the same. */
export function makeRows({ dims }: BenchModel, count: number): Float32Array[] {
  const random = mulberry32(count);
  const size = dims.reduce((product, dim) => product * dim, 1);
  return Array.from({ length: count }, () => Float32Array.from({ length: size }, random));
}

/**
 * A request with one row. JSON numbers are written as JavaScript and Python write a float32 that they hold as a double:
 * with up to 17 digits.
 */
export function encodeRequest(model: BenchModel, encoding: Encoding, row: Float32Array): Body {
  const input = { name: model.input, shape: [1, ...model.dims], datatype: 'FP32' };
  if (encoding === 'json') {
    const text = JSON.stringify({ inputs: [{ ...input, data: Array.from(row) }] });
    return { bytes: Buffer.from(text), headers: { 'Content-Type': 'application/json' } };
  }
  const head = Buffer.from(
    JSON.stringify({
      inputs: [{ ...input, parameters: { binary_data_size: row.byteLength } }],
      outputs: [{ name: model.output, parameters: { binary_data: true } }],
    }),
  );
  const tail = Buffer.from(row.buffer, row.byteOffset, row.byteLength);
  return {
    bytes: Buffer.concat([head, tail]),
    headers: { 'Content-Type': 'application/octet-stream', [HEADER_LENGTH]: String(head.length) },
  };
}

/**
 * The values of a reply's only output.
 *
 * @param headerLength the value of {@link HEADER_LENGTH} in the reply; undefined when all of it is JSON.
 * @throws {Error} when the reply is not one output with one row.
 */
export function decodeReply(body: Buffer, headerLength: string | undefined): Float32Array {
  const end = headerLength === undefined ? body.length : Number(headerLength);
  const reply: unknown = JSON.parse(body.toString('utf8', 0, end));
  const output = firstOutput(reply);
  if (output.shape[0] !== 1) throw new Error(`the reply has ${output.shape[0]} rows`);
  if (headerLength === undefined) return Float32Array.from(output.data ?? []);
  return new Float32Array(Uint8Array.from(body.subarray(end)).buffer);
}

interface Output {
  readonly shape: readonly number[];
  readonly data?: readonly number[];
}

function firstOutput(reply: unknown): Output {
  const { outputs } = reply as { readonly outputs?: readonly Output[] };
  if (outputs?.length !== 1) throw new Error(`the reply has ${outputs?.length ?? 'no'} outputs`);
  return outputs[0]!;
}
