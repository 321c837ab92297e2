import { JsonTensorDecoder } from '../../../src/tensor/json-decode.ts';
import { elementCount, isDatatype, type Tensor } from '../../../src/tensor/tensor.ts';

/** What surrounds data in a request; its end gives the decoder room to read ahead, as real requests do. */
const AFTER = '}]}';

/** Decodes the text of a JSON array into a tensor of one dimension, or of `shape`. */
export function decodeData(data: string | Buffer, datatype: string, shape: readonly number[]): Tensor {
  const bytes = Buffer.concat([Buffer.from(data), Buffer.from(AFTER)]);
  if (!isDatatype(datatype) || datatype === 'FP16') throw new Error(`no datatype for JSON: ${datatype}`);
  const target = { what: "input 'x'", shape, count: elementCount(shape) };
  const decoder = new JsonTensorDecoder({ bytes, end: bytes.length }, 0, datatype, target);
  while (!decoder.advance());
  return decoder.finish();
}

/** Decodes texts of elements, joined by commas. */
export function decodeElements(elements: readonly string[], datatype: string): Tensor {
  return decodeData(`[${elements.join(',')}]`, datatype, [elements.length]);
}

/** The floats of an FP32 tensor. */
export function float32sOf({ bytes }: Tensor): Float32Array {
  return new Float32Array(Uint8Array.from(bytes).buffer);
}

/** The floats of an FP64 tensor. */
export function float64sOf({ bytes }: Tensor): Float64Array {
  return new Float64Array(Uint8Array.from(bytes).buffer);
}

/** Reproducible random numbers in [0, 1): mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
