import { type InputTensor, toHalf } from '../../src/client/index.ts';

/** A tensor to send to a model that gives it back. */
export interface InferTensorCase {
  readonly input: InputTensor;
  /** The elements that come back, where they are not those that were sent. */
  readonly back?: unknown;
}

/** Each datatype with elements that lose something when they are not carried exactly, and what comes back. */
export const SAMPLES: Readonly<Record<string, InferTensorCase>> = {
  BOOL: { input: { data: [true, false, true, true], shape: [2, 2] }, back: Uint8Array.of(1, 0, 1, 1) },
  UINT8: { input: { data: Uint8Array.of(0, 255), shape: [1, 2] } },
  UINT16: { input: { data: Uint16Array.of(0, 65_535), shape: [2, 1] } },
  UINT32: { input: { data: Uint32Array.of(0, 4_294_967_295), shape: [1, 2] } },
  UINT64: { input: { data: BigUint64Array.of(0n, 18_446_744_073_709_551_615n), shape: [1, 2] } },
  INT8: { input: { data: Int8Array.of(-128, 127), shape: [1, 2] } },
  INT16: { input: { data: Int16Array.of(-32_768, 32_767), shape: [1, 2] } },
  INT32: { input: { data: Int32Array.of(-2_147_483_648, 2_147_483_647), shape: [1, 2] } },
  INT64: { input: { data: BigInt64Array.of(-9_223_372_036_854_775_808n, 9_007_199_254_740_993n, 7n), shape: [1, 3] } },
  FP16: { input: { data: toHalf([1.5, -65_504, 2 ** -24]), shape: [1, 3], datatype: 'FP16' } },
  FP32: { input: { data: Float32Array.of(0.1, -0, 3.4e38, 1e-45), shape: [2, 2] } },
  FP64: { input: { data: Float64Array.of(0.1, Number.MAX_VALUE, 1_234_567_890_123_456_800), shape: [1, 3] } },
  BYTES: { input: { data: ['é', '', '{"a":[1]}'], shape: [1, 3] } },
};
