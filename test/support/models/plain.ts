import { DATATYPE_NAMES, type Datatype } from '../../../src/tensor/tensor.ts';
import { encodeModel, fp32, int64, node, tensor } from '../onnx-builder.ts';

/** Models that behave. The first ones are the fixtures that protocol tests speak of. */

/** FP32 `a`, `b` [N, 4] → `sum` = a + b, `diff` = a − b. */
export function add2(): Buffer {
  return encodeModel({
    inputs: [tensor('a', 'FP32', ['N', 4]), tensor('b', 'FP32', ['N', 4])],
    outputs: [tensor('sum', 'FP32', ['N', 4]), tensor('diff', 'FP32', ['N', 4])],
    nodes: [node('Add', ['a', 'b'], ['sum']), node('Sub', ['a', 'b'], ['diff'])],
  });
}

/** `x` [N, ?] → `y` = x, of any datatype. */
export function ident(datatype: Datatype): Buffer {
  return encodeModel({
    inputs: [tensor('x', datatype, ['N', ''])],
    outputs: [tensor('y', datatype, ['N', ''])],
    nodes: [node('Identity', ['x'], ['y'])],
  });
}

/** {@link ident} of each datatype under the names `ident_BOOL` … `ident_BYTES`. */
export function idents(): Record<string, Buffer> {
  return Object.fromEntries(DATATYPE_NAMES.map((datatype) => [`ident_${datatype}`, ident(datatype)]));
}

/** FP32 `x` [?, ?] → `y` = x, no dimension has a name. */
export function mat2(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['', ''])],
    outputs: [tensor('y', 'FP32', ['', ''])],
    nodes: [node('Identity', ['x'], ['y'])],
  });
}

/** FP32 `x` [2, 2] → `y` = x: no batch dimension at all. */
export function flat0(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', [2, 2])],
    outputs: [tensor('y', 'FP32', [2, 2])],
    nodes: [node('Identity', ['x'], ['y'])],
  });
}

/** FP32 `x` [] → `y` = x: rank 0. */
export function scalar0(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', [])],
    outputs: [tensor('y', 'FP32', [])],
    nodes: [node('Identity', ['x'], ['y'])],
  });
}

/** BYTES `x` [N, 1] → `y` = x. */
export function str1(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'BYTES', ['N', 1])],
    outputs: [tensor('y', 'BYTES', ['N', 1])],
    nodes: [node('Identity', ['x'], ['y'])],
  });
}

/** FP32 `x` [1, 4] → `y` = 2x: a batch of exactly one row. */
export function fixedBatch(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', [1, 4])],
    outputs: [tensor('y', 'FP32', [1, 4])],
    nodes: [node('Add', ['x', 'x'], ['y'])],
  });
}

/** FP32 `a` [A, 3], `b` [B, 3] → `y` [C, 3] = a + b: one batch dimension under three names. */
export function multiInput(): Buffer {
  return encodeModel({
    inputs: [tensor('a', 'FP32', ['A', 3]), tensor('b', 'FP32', ['B', 3])],
    outputs: [tensor('y', 'FP32', ['C', 3])],
    nodes: [node('Add', ['a', 'b'], ['y'])],
  });
}

/** FP32 `image` [N, 3, H, W] → `features` [N, 2, H, W] (3×3 convolution), `pooled` [N, 2] (their means). */
export function imageNchw(): Buffer {
  return encodeModel({
    inputs: [tensor('image', 'FP32', ['N', 3, 'H', 'W'])],
    outputs: [tensor('features', 'FP32', ['N', 2, 'H', 'W']), tensor('pooled', 'FP32', ['N', 2])],
    initializers: [
      fp32(
        'kernel',
        Array.from({ length: 2 * 3 * 9 }, (_, i) => ((i % 7) - 3) / 8),
        [2, 3, 3, 3],
      ),
      int64('space', [2, 3]),
    ],
    nodes: [
      node('Conv', ['image', 'kernel'], ['features'], { pads: { ints: [1, 1, 1, 1] } }),
      node('ReduceMean', ['features', 'space'], ['pooled'], { keepdims: { int: 0 } }),
    ],
  });
}

/** Rows of the table of {@link tokenIds}; ids from −100 to 99 are in range. */
export const TOKEN_TABLE_ROWS = 100;

/**
 * INT64 `input_ids`, `attention_mask` [N, S] → FP32 `embedding` [N, 8]: the sum of the table rows of unmasked tokens,
 * where table[t][j] = t + j / 8. An id out of range makes ONNX Runtime refuse the whole run.
 */
export function tokenIds(): Buffer {
  return encodeModel({
    inputs: [tensor('input_ids', 'INT64', ['N', 'S']), tensor('attention_mask', 'INT64', ['N', 'S'])],
    outputs: [tensor('embedding', 'FP32', ['N', 8])],
    initializers: [
      fp32(
        'table',
        Array.from({ length: TOKEN_TABLE_ROWS * 8 }, (_, i) => (i >> 3) + (i & 7) / 8),
        [TOKEN_TABLE_ROWS, 8],
      ),
      int64('one', [1]),
      int64('two', [2]),
    ],
    nodes: [
      node('Gather', ['table', 'input_ids'], ['tokens'], { axis: { int: 0 } }),
      node('Cast', ['attention_mask'], ['weights'], { to: { int: 1 } }),
      node('Unsqueeze', ['weights', 'two'], ['weights3']),
      node('Mul', ['tokens', 'weights3'], ['kept']),
      node('ReduceSum', ['kept', 'one'], ['embedding'], { keepdims: { int: 0 } }),
    ],
  });
}

/**
 * A stateful model in the shape of Silero's voice detector: FP32 `input` [?, ?], `state` [2, ?, 8], INT64 scalar `sr` →
 * `output` [?, 1], `stateN` [2, ?, 8]. The batch axis of the state is 1, dimensions have no names.
 *
 * stateN[l, n, j] = tanh(state[l, n, j] / 2 + mean(input[n]) · sr / 16000 · (j + 1) / 8 + l / 4);
 * output[n] = sigmoid(mean over l, j of stateN[l, n, j]).
 */
export function stateModel(): Buffer {
  return encodeModel({
    inputs: [tensor('input', 'FP32', ['', '']), tensor('state', 'FP32', [2, '', 8]), tensor('sr', 'INT64', [])],
    outputs: [tensor('output', 'FP32', ['', 1]), tensor('stateN', 'FP32', [2, '', 8])],
    initializers: [
      int64('axis1', [1]),
      int64('axes02', [0, 2]),
      int64('column', [-1, 1]),
      fp32('rate', [16_000], []),
      fp32('half', [0.5], []),
      fp32(
        'weights',
        Array.from({ length: 8 }, (_, j) => (j + 1) / 8),
        [1, 8],
      ),
      fp32('layers', [0, 0.25], [2, 1, 1]),
    ],
    nodes: [
      node('ReduceMean', ['input', 'axis1'], ['mean'], { keepdims: { int: 1 } }),
      node('Cast', ['sr'], ['srFloat'], { to: { int: 1 } }),
      node('Div', ['srFloat', 'rate'], ['speed']),
      node('Mul', ['mean', 'speed'], ['level']),
      node('MatMul', ['level', 'weights'], ['drive']),
      node('Mul', ['state', 'half'], ['kept']),
      node('Add', ['kept', 'drive'], ['mixed']),
      node('Add', ['mixed', 'layers'], ['raised']),
      node('Tanh', ['raised'], ['stateN']),
      node('ReduceMean', ['stateN', 'axes02'], ['score'], { keepdims: { int: 0 } }),
      node('Reshape', ['score', 'column'], ['scores']),
      node('Sigmoid', ['scores'], ['output']),
    ],
  });
}

/**
 * FP32 `x` [N, 4] → `y` = x, after `iterations` multiplications of a 64×64 matrix, whatever the number of rows.
 * One iteration takes some microseconds; `iterationsFor` measures how many make a given time on this machine.
 */
export function slow(iterations: number): Buffer {
  const size = 64;
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    initializers: [
      int64('trips', [iterations], []),
      fp32('start', new Float32Array(size * size).fill(1), [size, size]),
      fp32('zero', [0], []),
    ],
    nodes: [
      node('Loop', ['trips', '', 'start'], ['end'], { body: { graph: averagingBody(size) } }),
      // The loop's result has to reach the output, or the optimiser drops the loop.
      node('ReduceMax', ['end'], ['top'], { keepdims: { int: 0 } }),
      node('Mul', ['top', 'zero'], ['nothing']),
      node('Add', ['x', 'nothing'], ['y']),
    ],
  });
}

/** The body of a `Loop` that multiplies its state by a matrix of averages: real work whose values stay what they are. */
function averagingBody(size: number): Parameters<typeof encodeModel>[0] {
  return {
    inputs: [tensor('i', 'INT64', []), tensor('goOn', 'BOOL', []), tensor('m', 'FP32', [size, size])],
    outputs: [tensor('goOnStill', 'BOOL', []), tensor('next', 'FP32', [size, size])],
    initializers: [fp32('averages', new Float32Array(size * size).fill(1 / size), [size, size])],
    nodes: [node('Identity', ['goOn'], ['goOnStill']), node('MatMul', ['m', 'averages'], ['next'])],
  };
}
