import { bytesOf, encodeModel, type Initializer, type Node, node, type TensorData, tensor } from '../onnx-builder.ts';

/** Generated perceptrons: FP32 `x` [N, widths[0]] → `y` [N, last width], ReLU between layers, seeded weights. */

/** The sizes that benchmarks use; `big` is bound by memory (117 MB of weights). */
export const MLP_WIDTHS = {
  tiny: [4, 16, 3],
  mlp: [784, 512, 512, 10],
  big: [2048, 4096, 4096, 1000],
} as const;

/** An MLP in one file. The same widths and seed always give the same bytes. */
export function mlp(widths: readonly number[], seed = 1): Buffer {
  return encodeMlp(widths, seed, (weights) => ({ raw: weights }));
}

/** An MLP whose weights lie beside it: put both files into the version's folder. */
export function externalMlp(widths: readonly number[], seed = 1): { 'model.onnx': Buffer; 'model.bin': Buffer } {
  const pieces: Uint8Array[] = [];
  let offset = 0;
  const model = encodeMlp(widths, seed, (weights) => {
    const external = { location: 'model.bin', offset, length: weights.byteLength };
    pieces.push(weights);
    offset += weights.byteLength;
    return { external };
  });
  return { 'model.onnx': model, 'model.bin': Buffer.concat(pieces) };
}

function encodeMlp(widths: readonly number[], seed: number, store: (bytes: Uint8Array) => TensorData): Buffer {
  const random = xorshift32(seed);
  const nodes: Node[] = [];
  const initializers: Initializer[] = [];
  let value = 'x';
  for (let layer = 0; layer + 1 < widths.length; layer++) {
    const [from, to] = [widths[layer]!, widths[layer + 1]!];
    const isLast = layer + 2 === widths.length;
    // He's bound keeps the activations of any depth at the same size.
    const weights = fillUniform(new Float32Array(from * to), Math.sqrt(6 / from), random);
    const biases = fillUniform(new Float32Array(to), 0.1, random);
    initializers.push(
      { name: `w${layer}`, element: 'FP32', dims: [to, from], data: store(bytesOf(weights)) },
      { name: `b${layer}`, element: 'FP32', dims: [to], data: store(bytesOf(biases)) },
    );
    const sums = isLast ? 'y' : `sums${layer}`;
    nodes.push(node('Gemm', [value, `w${layer}`, `b${layer}`], [sums], { transB: { int: 1 } }));
    if (!isLast) nodes.push(node('Relu', [sums], [`layer${layer}`]));
    value = `layer${layer}`;
  }
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', widths[0]!])],
    outputs: [tensor('y', 'FP32', ['N', widths.at(-1)!])],
    nodes,
    initializers,
  });
}

/** Marsaglia's xorshift with shifts 13, 17, 5: a number from −2^31 to 2^31 − 1 at each call. */
function xorshift32(seed: number): () => number {
  let state = seed | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  };
}

function fillUniform(array: Float32Array, bound: number, random: () => number): Float32Array {
  const scale = bound / 2 ** 31;
  for (let i = 0; i < array.length; i++) array[i] = random() * scale;
  return array;
}
