import { encodeModel, fp32, node, tensor } from '../onnx-builder.ts';

/** Numbers of a row of {@link featured}. */
export const FEATURED_INPUTS = 4;
export const FEATURED_CLASSES = 3;

/**
 * FP32 `x` [N, 4] → `probabilities` [N, 3], `features` [N, 24], INT64 `best` [N]: which of the first three numbers is
 * largest, told from features that are good enough for it by weights that are not. `best` is made from `probabilities`.
 */
export function featured(): Buffer {
  let state = 7;
  const random = (): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (2 * state) / 0x7fffffff - 1;
  };
  const fill = (count: number): Float32Array => Float32Array.from({ length: count }, random);
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', FEATURED_INPUTS])],
    outputs: [
      tensor('probabilities', 'FP32', ['N', FEATURED_CLASSES]),
      tensor('features', 'FP32', ['N', 24]),
      tensor('best', 'INT64', ['N']),
    ],
    nodes: [
      node('Gemm', ['x', 'w', 'b'], ['sums']),
      node('Tanh', ['sums'], ['features']),
      node('MatMul', ['features', 'v'], ['logits']),
      node('Softmax', ['logits'], ['probabilities'], { axis: { int: 1 } }),
      node('ArgMax', ['probabilities'], ['best'], { axis: { int: 1 }, keepdims: { int: 0 } }),
    ],
    initializers: [fp32('w', fill(96), [4, 24]), fp32('b', fill(24)), fp32('v', fill(72), [24, 3])],
  });
}
