import { encodeModel, fp32, type Initializer, type Node, node, tensor } from '../onnx-builder.ts';

/**
 * Models whose cost by rows is known from how they are made. The one that is bound by memory is `mlp(MLP_WIDTHS.big)`:
 * its 117 MB of weights are read once for a run of any size.
 */

/** The size of {@link wideConvolution}: one row of it takes some milliseconds on one thread. */
const CONVOLUTION = { channels: 64, side: 32, layers: 3 } as const;

/**
 * FP32 `x` [N, 64, 32, 32] → `y` of the same shape: three 3 × 3 convolutions with a ReLU behind each. A weight is used
 * 1,024 times for a single row, so that there is nothing to share among rows.
 */
export function wideConvolution(): Buffer {
  const { channels, side, layers } = CONVOLUTION;
  const nodes: Node[] = [];
  const initializers: Initializer[] = [];
  let value = 'x';
  for (let layer = 0; layer < layers; layer++) {
    const weights = Float32Array.from({ length: channels * channels * 9 }, (_, i) => (((i * 31) % 17) - 8) / 200);
    initializers.push(fp32(`w${layer}`, weights, [channels, channels, 3, 3]));
    const next = layer + 1 === layers ? 'y' : `layer${layer}`;
    nodes.push(node('Conv', [value, `w${layer}`], [`sums${layer}`], { pads: { ints: [1, 1, 1, 1] } }));
    nodes.push(node('Relu', [`sums${layer}`], [next]));
    value = next;
  }
  const shape = ['N', channels, side, side];
  return encodeModel({
    inputs: [tensor('x', 'FP32', shape)],
    outputs: [tensor('y', 'FP32', shape)],
    nodes,
    initializers,
  });
}

/** The size of {@link linearRows}: elements of a row, and operators that go over all of them. */
const LINEAR = { elements: 131_072, operators: 16 } as const;

/**
 * FP32 `x` [N, 131072] → `y` of the same shape: 16 times the hyperbolic tangent. There are no weights, each element is
 * worked on for itself, and an operator works on a single row for some fifty times what starting it costs: the time is
 * the number of rows times that of one.
 */
export function linearRows(): Buffer {
  const { elements, operators } = LINEAR;
  const nodes = Array.from({ length: operators }, (_, i) =>
    node('Tanh', [i === 0 ? 'x' : `v${i}`], [i + 1 === operators ? 'y' : `v${i + 1}`]),
  );
  const shape = ['N', elements];
  return encodeModel({ inputs: [tensor('x', 'FP32', shape)], outputs: [tensor('y', 'FP32', shape)], nodes });
}
