import { bytesOf, encodeModel, fp32, type Initializer, int64, type Node, node, tensor } from '../onnx-builder.ts';

/** Models that crash, hang, refuse or give what a server cannot carry. Load and run them in child processes only. */

/** Not a model. */
export function broken(): Buffer {
  return Buffer.from('this is no protobuf: \xff\xfe\x00garbage', 'latin1');
}

/** INT32 `a`, `b` [N] → `y` = a / b: the smallest integer by −1 raises SIGFPE inside ONNX Runtime. */
export function intDivide(): Buffer {
  return encodeModel({
    inputs: [tensor('a', 'INT32', ['N']), tensor('b', 'INT32', ['N'])],
    outputs: [tensor('y', 'INT32', ['N'])],
    nodes: [node('Div', ['a', 'b'], ['y'])],
  });
}

/** INT64 `ids` [N] → FP32 `y` [N, 3] from a table of 10 rows (id·10 + j): an id beyond fails the whole run. */
export function gatherPoison(): Buffer {
  return encodeModel({
    inputs: [tensor('ids', 'INT64', ['N'])],
    outputs: [tensor('y', 'FP32', ['N', 3])],
    initializers: [
      fp32(
        'table',
        Array.from({ length: 30 }, (_, i) => Math.floor(i / 3) * 10 + (i % 3)),
        [10, 3],
      ),
    ],
    nodes: [node('Gather', ['table', 'ids'], ['y'], { axis: { int: 0 } })],
  });
}

/**
 * INT64 `trips` [N] → INT64 `y` [N] = trips, after as many iterations of an empty loop as the largest of them says:
 * a huge number hangs the process.
 */
export function loopHang(): Buffer {
  return encodeModel({
    inputs: [tensor('trips', 'INT64', ['N'])],
    outputs: [tensor('y', 'INT64', ['N'])],
    initializers: [int64('start', [0], []), int64('zero', [0], [])],
    nodes: [
      node('ReduceMax', ['trips'], ['most'], { keepdims: { int: 0 } }),
      node('Loop', ['most', '', 'start'], ['end'], {
        body: {
          graph: {
            inputs: [tensor('i', 'INT64', []), tensor('goOn', 'BOOL', []), tensor('count', 'INT64', [])],
            outputs: [tensor('goOnStill', 'BOOL', []), tensor('next', 'INT64', [])],
            initializers: [int64('one', [1], [])],
            nodes: [node('Identity', ['goOn'], ['goOnStill']), node('Add', ['count', 'one'], ['next'])],
          },
        },
      }),
      node('Mul', ['end', 'zero'], ['nothing']),
      node('Add', ['trips', 'nothing'], ['y']),
    ],
  });
}

/**
 * FP32 `x` [N, 4] → `y` = x, in a file of a kilobyte that takes long to load: the optimiser computes constants ahead,
 * here a non-maximum suppression over `boxes` boxes that never overlap, which is quadratic in time and linear in memory.
 *
 * @param boxes 40,000 take a second or two, ten times as many a hundred times as long, the default most of an hour.
 */
export function hangLoad(boxes = 2_000_000): Buffer {
  const constants: Node[] = [
    // Box i is [i, 0, i + 0.5, 1].
    node('Range', ['zero', 'count', 'one'], ['left']),
    node('Reshape', ['left', 'column'], ['lefts']),
    node('Concat', ['lefts', 'lefts', 'lefts', 'lefts'], ['spread'], { axis: { int: 1 } }),
    node('Mul', ['spread', 'pick'], ['corners']),
    node('Add', ['corners', 'shift'], ['flat']),
    node('Reshape', ['flat', 'boxesShape'], ['boxes']),
    node('Reshape', ['left', 'scoresShape'], ['scores']),
    node('NonMaxSuppression', ['boxes', 'scores', 'most', 'overlap', 'least'], ['kept']),
    node('ReduceMax', ['kept'], ['top'], { keepdims: { int: 0 } }),
    node('Cast', ['top'], ['topFloat'], { to: { int: 1 } }),
    node('Mul', ['topFloat', 'zero'], ['nothing']),
  ];
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    initializers: [
      fp32('zero', [0], []),
      fp32('one', [1], []),
      fp32('count', [boxes], []),
      int64('column', [-1, 1]),
      fp32('pick', [1, 0, 1, 0], [1, 4]),
      fp32('shift', [0, 0, 0.5, 1], [1, 4]),
      int64('boxesShape', [1, -1, 4]),
      int64('scoresShape', [1, 1, -1]),
      int64('most', [boxes]),
      fp32('overlap', [0.5]),
      fp32('least', [-1]),
    ],
    nodes: [...constants, node('Add', ['x', 'nothing'], ['y'])],
  });
}

/** INT64 `size` [1] → FP32 `y` [size] of ones: asks for as much memory as the request says. */
export function hugeOutput(): Buffer {
  return encodeModel({
    inputs: [tensor('size', 'INT64', [1])],
    outputs: [tensor('y', 'FP32', [''])],
    nodes: [node('ConstantOfShape', ['size'], ['y'], { value: { tensor: fp32('value', [1]) } })],
  });
}

/** FP32 `x` [N, 1], INT64 `width` [1] → FP32 `y` [N, width]: batchable, and as wide as a request says. */
export function wideOutput(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 1]), tensor('width', 'INT64', [1])],
    outputs: [tensor('y', 'FP32', ['N', ''])],
    initializers: [int64('one', [1])],
    nodes: [node('Concat', ['one', 'width'], ['shape'], { axis: { int: 0 } }), node('Expand', ['x', 'shape'], ['y'])],
  });
}

/** FP32 `x` [N, 4] → INT4 `y` [N, 4]: loads, and aborts the process at the first run. */
export function int4Output(): Buffer {
  return encodeModel({
    opset: 21,
    irVersion: 10,
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'INT4', ['N', 4])],
    nodes: [node('Cast', ['x'], ['y'], { to: { int: 22 } })],
  });
}

/** INT4 `x` [N, 4] → FP32 `y` [N, 4]: loads, cannot be fed. */
export function int4Input(): Buffer {
  return encodeModel({
    opset: 21,
    irVersion: 10,
    inputs: [tensor('x', 'INT4', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    nodes: [node('Cast', ['x'], ['y'], { to: { int: 1 } })],
  });
}

/** FP32 `x` [N, 4] → FP32 `y` = x and `pair`, a sequence of two tensors. */
export function sequenceOutput(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [
      tensor('y', 'FP32', ['N', 4]),
      { name: 'pair', type: { kind: 'sequence', of: { kind: 'tensor', element: 'FP32' } } },
    ],
    nodes: [node('Identity', ['x'], ['y']), node('SequenceConstruct', ['x', 'x'], ['pair'])],
  });
}

/** FP32 `x` [N, 2] → `probabilities`, a sequence of maps by class as scikit-learn's converter makes them. */
export function zipMapOutput(): Buffer {
  return encodeModel({
    domains: { 'ai.onnx.ml': 3 },
    inputs: [tensor('x', 'FP32', ['N', 2])],
    outputs: [
      {
        name: 'probabilities',
        type: { kind: 'sequence', of: { kind: 'map', key: 'INT64', value: { kind: 'tensor', element: 'FP32' } } },
      },
    ],
    nodes: [node('ZipMap', ['x'], ['probabilities'], { classlabels_int64s: { ints: [0, 1] } }, 'ai.onnx.ml')],
  });
}

/** BF16 `x` [N, 4] → `y` = x: ONNX Runtime for Node refuses to load it. */
export function bf16(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'BF16', ['N', 4])],
    outputs: [tensor('y', 'BF16', ['N', 4])],
    nodes: [node('Identity', ['x'], ['y'])],
  });
}

/** A model whose only operator does not exist. */
export function unknownOp(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    nodes: [node('NoSuchOperator', ['x'], ['y'])],
  });
}

/** A model of a future version of the standard operators. */
export function opset99(): Buffer {
  return encodeModel({
    opset: 99,
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    nodes: [node('Identity', ['x'], ['y'])],
  });
}

/**
 * INT32 `ids` [N, 1] → FP32 `y` [N, 1, 2] from a table of ten rows, whose ids begin at 1000, so that made-up ones do not run it;
 * two rows in one run raise SIGFPE inside ONNX Runtime.
 */
export function diesTogether(): Buffer {
  const int32 = (name: string, value: number): Initializer => ({
    name,
    element: 'INT32',
    dims: [],
    data: { raw: bytesOf(Int32Array.of(value)) },
  });
  return encodeModel({
    inputs: [tensor('ids', 'INT32', ['N', 1])],
    outputs: [tensor('y', 'FP32', ['N', 1, 2])],
    initializers: [
      fp32(
        'table',
        Array.from({ length: 20 }, (_, i) => i / 8),
        [10, 2],
      ),
      int32('first', 1000),
      int32('two', 2),
      int32('three', 3),
      int32('smallest', -(2 ** 31)),
      fp32('zero', [0], []),
    ],
    nodes: [
      node('Sub', ['ids', 'first'], ['indices']),
      node('Gather', ['table', 'indices'], ['rows'], { axis: { int: 0 } }),
      // 3 − 2N is 1 for one row and −1 for two.
      node('Shape', ['ids'], ['count'], { start: { int: 0 }, end: { int: 1 } }),
      node('Cast', ['count'], ['n'], { to: { int: 6 } }),
      node('Mul', ['n', 'two'], ['double']),
      node('Sub', ['three', 'double'], ['divisor']),
      node('Div', ['smallest', 'divisor'], ['quotient']),
      node('Cast', ['quotient'], ['float'], { to: { int: 1 } }),
      node('Mul', ['float', 'zero'], ['nothing']),
      node('Add', ['rows', 'nothing'], ['y']),
    ],
  });
}
