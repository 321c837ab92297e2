import {
  decodeInferRequest,
  type EncodedReply,
  encodeInferReply,
  type InferCall,
  type InferReply,
} from '../../../src/http/v2-codec.ts';

/** Runs sliced work to its end at once. */
export function runThrough<T>(work: Generator<void, T, void>): T {
  for (;;) {
    const next = work.next();
    if (next.done) return next.value;
  }
}

/** Decodes a request; `headerLength` is the header, as text. */
export function decode(body: string | Buffer, headerLength?: string): InferCall {
  return runThrough(decodeInferRequest(Buffer.from(body), headerLength));
}

/** Decodes a request given as an object, with binary sections behind its JSON. */
export function decodeBinary(request: unknown, ...sections: readonly Uint8Array[]): InferCall {
  const json = Buffer.from(JSON.stringify(request));
  return decode(Buffer.concat([json, ...sections]), String(json.length));
}

/** Encodes a reply. */
export function encode(reply: InferReply): EncodedReply {
  return runThrough(encodeInferReply(reply));
}

/** An input in JSON. */
export function input(datatype: string, shape: readonly unknown[], data: unknown, name = 'x'): Record<string, unknown> {
  return { name, datatype, shape, data };
}

/** An input whose bytes follow the JSON. */
export function binaryInput(
  datatype: string,
  shape: readonly number[],
  size: unknown,
  name = 'x',
): Record<string, unknown> {
  return { name, datatype, shape, parameters: { binary_data_size: size } };
}
