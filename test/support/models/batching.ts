import { bytesOf, encodeModel, fp32, type Initializer, int64, node, tensor } from '../onnx-builder.ts';

/** Models whose rows are not what they seem: they look batchable and are not, or only in part. */

/** FP32 `x` [N, 4] → `y`, the softmax down each column: every row changes all others. */
export function softmaxAxis0(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    nodes: [node('Softmax', ['x'], ['y'], { axis: { int: 0 } })],
  });
}

/** FP32 `x` [N, 4] → `y`, normalised by statistics of the batch itself, as an export in training mode does. */
export function batchNormTraining(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    initializers: [
      fp32('scale', [1, 1, 1, 1]),
      fp32('bias', [0, 0, 0, 0]),
      fp32('mean', [0, 0, 0, 0]),
      fp32('variance', [1, 1, 1, 1]),
    ],
    nodes: [
      node('BatchNormalization', ['x', 'scale', 'bias', 'mean', 'variance'], ['y', 'newMean', 'newVariance'], {
        training_mode: { int: 1 },
      }),
    ],
  });
}

/** Integer weights [8, 4] of {@link dynamicQuantized} and of its twin, and the step that makes them real numbers. */
const QUANTIZED_WEIGHTS = Int8Array.from({ length: 32 }, (_, i) => ((i * 37) % 255) - 127);
const WEIGHT_STEP = 1 / 64;

/**
 * FP32 `x` [N, 8] → `y` [N, 4]: quantised with one step for the whole batch, so that a neighbour of a much larger
 * scale takes away a row's precision. {@link dynamicQuantizedTwin} is the same in FP32.
 */
export function dynamicQuantized(): Buffer {
  const weights: Initializer = { name: 'w', element: 'INT8', dims: [8, 4], data: { raw: bytesOf(QUANTIZED_WEIGHTS) } };
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 8])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    initializers: [weights, fp32('weightStep', [WEIGHT_STEP], [])],
    nodes: [
      node('DynamicQuantizeLinear', ['x'], ['xq', 'step', 'zeroPoint']),
      node('MatMulInteger', ['xq', 'w', 'zeroPoint'], ['products']),
      node('Cast', ['products'], ['productsFloat'], { to: { int: 1 } }),
      node('Mul', ['step', 'weightStep'], ['bothSteps']),
      node('Mul', ['productsFloat', 'bothSteps'], ['y']),
    ],
  });
}

/** FP32 `x` [N, 8] → `y` [N, 4] with the weights of {@link dynamicQuantized}: rows do not meet. */
export function dynamicQuantizedTwin(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 8])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    initializers: [
      fp32(
        'w',
        Float32Array.from(QUANTIZED_WEIGHTS, (q) => q * WEIGHT_STEP),
        [8, 4],
      ),
    ],
    nodes: [node('MatMul', ['x', 'w'], ['y'])],
  });
}

/** FP32 `x` [N, 4] → `y` = x + noise: differs at every run, batched or not. */
export function randomNormal(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    nodes: [node('RandomNormalLike', ['x'], ['noise']), node('Add', ['x', 'noise'], ['y'])],
  });
}

/** FP32 `x` [N, 4] → `y` [4], the mean of all rows: an output without rows. */
export function reduceMeanBatch(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', [4])],
    initializers: [int64('axis', [0])],
    nodes: [node('ReduceMean', ['x', 'axis'], ['y'], { keepdims: { int: 0 } })],
  });
}

/** FP32 `x` [N, 4] → `y` [N, N], each row's product with each other: two axes grow. */
export function pairwise(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 'N'])],
    nodes: [node('Transpose', ['x'], ['xt'], { perm: { ints: [1, 0] } }), node('MatMul', ['x', 'xt'], ['y'])],
  });
}

/** FP32 `x` [N, 4] → `y` = x, INT64 `rows` [1] = N: one output depends on the batch without having rows. */
export function rowCount(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4]), tensor('rows', 'INT64', [1])],
    nodes: [node('Identity', ['x'], ['y']), node('Shape', ['x'], ['rows'], { start: { int: 0 }, end: { int: 1 } })],
  });
}

/** FP32 `x` [N, 4] → `y` [2N, 4], the batch twice: two output rows for each input row. */
export function duplicateRows(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['M', 4])],
    nodes: [node('Concat', ['x', 'x'], ['y'], { axis: { int: 0 } })],
  });
}

/**
 * INT64 `ids` [N, 4] → FP32 `y` [N, 4, 2] from a table of ten rows, whose ids begin at 1000: small numbers, as one makes
 * up, are out of range. Where `leaks`, the largest id of the batch is added to everyone's answer.
 */
export function largeIds({ leaks = false }: { leaks?: boolean } = {}): Buffer {
  return encodeModel({
    inputs: [tensor('ids', 'INT64', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4, 2])],
    initializers: [
      fp32(
        'table',
        Float32Array.from({ length: 20 }, (_, i) => Math.sin(i)),
        [10, 2],
      ),
      int64('first', [1000], []),
    ],
    nodes: [
      node('Sub', ['ids', 'first'], ['indices']),
      node('Gather', ['table', 'indices'], leaks ? ['rows'] : ['y'], { axis: { int: 0 } }),
      ...(leaks
        ? [
            node('ReduceMax', ['ids'], ['most'], { keepdims: { int: 0 } }),
            node('Cast', ['most'], ['mostFloat'], { to: { int: 1 } }),
            node('Add', ['rows', 'mostFloat'], ['y']),
          ]
        : []),
    ],
  });
}

/** FP32 `x` [N, 4] → `y` = x + what the largest value of the batch has above 5000: rows leak where no probe looks. */
export function leaksAbove5000(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    initializers: [fp32('bound', [5000], [])],
    nodes: [
      node('ReduceMax', ['x'], ['most'], { keepdims: { int: 0 } }),
      node('Sub', ['most', 'bound'], ['above']),
      node('Relu', ['above'], ['leak']),
      node('Add', ['x', 'leak'], ['y']),
    ],
  });
}

/** FP32 `x` [N, 4] → `y` [N, 4] from a table of five numbers: its floating-point input is used as an index. */
export function floatIndex(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    initializers: [fp32('table', [0.5, 1.5, -2, 3, 7])],
    nodes: [node('Cast', ['x'], ['index'], { to: { int: 7 } }), node('Gather', ['table', 'index'], ['y'])],
  });
}

/** FP32 `x` [N, 256] → `y` [N, 33], a sum of so many products that its order, which hangs on the rows of a run, shows. */
export function sumsByKernel(): Buffer {
  const weights = Float32Array.from({ length: 256 * 33 }, (_, i) => Math.sin(i * 1.7));
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 256])],
    outputs: [tensor('y', 'FP32', ['N', 33])],
    // As a product of two computed tensors it is not packed ahead, and one row takes another kernel than several.
    initializers: [fp32('w', weights, [256, 33]), fp32('zero', [0], [])],
    nodes: [
      node('ReduceMax', ['x'], ['most'], { keepdims: { int: 0 } }),
      node('Mul', ['most', 'zero'], ['nothing']),
      node('Add', ['w', 'nothing'], ['v']),
      node('MatMul', ['x', 'v'], ['y']),
    ],
  });
}

/** FP32 `x` [N, 4] → `y` = 2x and INT64 `kind` [N], which is the same for every row. */
export function constantKind(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4]), tensor('kind', 'INT64', ['N'])],
    initializers: [fp32('two', [2], []), fp32('zero', [0], []), int64('last', [1])],
    nodes: [
      node('Mul', ['x', 'two'], ['y']),
      node('ReduceSum', ['x', 'last'], ['sum'], { keepdims: { int: 0 } }),
      node('Mul', ['sum', 'zero'], ['nothing']),
      node('Cast', ['nothing'], ['kind'], { to: { int: 7 } }),
    ],
  });
}
