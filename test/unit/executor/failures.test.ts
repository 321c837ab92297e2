import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { messageOf, ShoalError } from '../../../src/errors.ts';
import { explainFailure, withoutLocations } from '../../../src/executor/failures.ts';

/** A message as ONNX Runtime 1.30 gives it for a node, and as it leaves the executor. */
function said(op: string, status: string): string {
  const text = `Non-zero status code returned while running ${op} node. Name:'' Status Message: ${status}`;
  return messageOf(new Error(text));
}

const BROADCAST =
  '/onnxruntime_src/onnxruntime/core/providers/cpu/math/element_wise_ops.h:583 void onnxruntime::BroadcastIterator::Append(ptrdiff_t, ptrdiff_t) axis == 1 || axis == largest was false. Attempting to broadcast an axis by a dimension other than 1. 2 by 3\n';
const RESHAPE =
  '/onnxruntime_src/onnxruntime/core/providers/cpu/tensor/reshape_helper.h:84 onnxruntime::ReshapeHelper::ReshapeHelper(const onnxruntime::TensorShape&, onnxruntime::TensorShapeVector&, bool) size != 0 && (input_shape_size % size) == 0 was false. The input tensor cannot be reshaped to the requested shape. Input shape:{1,4}, requested shape:{-1,7}\n';
const GATHER_ELEMENTS =
  '/onnxruntime_src/onnxruntime/core/providers/cpu/tensor/gather_elements.cc:150 void onnxruntime::core_impl(const Tensor*, const Tensor*, Tensor*, int64_t, concurrency::ThreadPool*) [with Tin = long int; int64_t = long int] GatherElements op: Out of range value in index tensor\n';
const NEGATIVE =
  '/onnxruntime_src/onnxruntime/core/framework/op_kernel.cc:83 virtual OrtValue* onnxruntime::OpKernelContext::OutputMLValue(int, const onnxruntime::TensorShape&) [ONNXRuntimeError] : 1 : FAIL : tensor.cc:57 CalculateTensorStorageSize Tensor shape.Size() must be >= 0\n';
const POOL =
  '/onnxruntime_src/onnxruntime/core/providers/cpu/nn/pool_attributes.h:236 int64_t onnxruntime::PoolAttributes::ComputeOutputSize(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t) const out_size >= 0 was false. Calculated output dimension is negative. Check kernel_shape, pads, strides and dilations.\n';
const ALLOCATE =
  '/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for requested buffer of size 40000000000000\n';

describe('failures of runs', () => {
  const callers: [op: string, status: string, text?: string][] = [
    ['Gather', 'indices element out of data bounds, idx=99 must be within the inclusive range [-10,9]'],
    ['GatherElements', GATHER_ELEMENTS, 'GatherElements op: Out of range value in index tensor'],
    ['GatherND', 'invalid index found, index = 7'],
    [
      'Mul',
      BROADCAST,
      'axis == 1 || axis == largest was false. Attempting to broadcast an axis by a dimension other than 1. 2 by 3',
    ],
    [
      'Reshape',
      RESHAPE,
      'size != 0 && (input_shape_size % size) == 0 was false. The input tensor cannot be reshaped to the requested shape. Input shape:{1,4}, requested shape:{-1,7}',
    ],
    ['ConstantOfShape', NEGATIVE, 'Tensor shape.Size() must be >= 0'],
    [
      'Concat',
      'concatbase.h:133 PrepareForComputeImpl Non concat axis dimensions must match: Axis 0 has mismatched dimensions of 2 and 1',
      'Non concat axis dimensions must match: Axis 0 has mismatched dimensions of 2 and 1',
    ],
    ['MatMul', 'matmul_helper.h:59 Compute MatMul dimension mismatch', 'MatMul dimension mismatch'],
    ['Gemm', 'GEMM: Dimension mismatch, W: {2,2} K: 3 N:2'],
    ['Conv', 'Invalid input shape: {2,2}'],
    ['Conv', 'Input channels C is not equal to kernel channels * group. C: 2 kernel channels: 1 group: 1'],
    [
      'MaxPool',
      POOL,
      'out_size >= 0 was false. Calculated output dimension is negative. Check kernel_shape, pads, strides and dilations.',
    ],
    ['Cast', 'stod'],
    ['Split', "Invalid value in 'split'. Split size 3 exceeds the remaining size of the selected axis, 2."],
    ['TopK', 'k argument [9] should not be greater than specified axis dim value [4]'],
    ['OneHot', 'Depth is negative.'],
    ['Range', 'delta in Range operator can not be zero!'],
    ['Tile', 'Tile repeat value must be non-negative, got: -1'],
    ['Slice', "'step' value cannot be 0"],
    ['LSTM', 'Input W must have shape {1,8,5}. Actual:{1,8,3}'],
    [
      'Resize',
      'upsamplebase.h:548 ScalesValidation Scale value should be greater than 0.',
      'Scale value should be greater than 0.',
    ],
    ['Div', 'element_wise_ops.cc:692 Compute Integer division by zero', 'Integer division by zero'],
  ];
  for (const [op, status, text = status] of callers) {
    it(`in ${op} nodes are the caller's fault: ${text.slice(0, 40)}`, () => {
      const error = explainFailure('m', said(op, status));
      assert.ok(error instanceof ShoalError);
      assert.equal(error.code, 'INVALID_REQUEST');
      assert.equal(error.message, `model 'm' could not run these inputs in a ${op} node: ${text}`);
    });
  }

  it('outside of nodes are the caller’s fault when they speak of its dimensions', () => {
    const message =
      'Got invalid dimensions for input: x for the following indices\n index: 0 Got: 2 Expected: 1\n Please fix either the inputs/outputs or the model.';
    const error = explainFailure('m', messageOf(new Error(message)));
    assert.equal(error.code, 'INVALID_REQUEST');
    assert.match(error.message, /^model 'm' could not run these inputs: Got invalid dimensions for input: x/);
  });

  it('for want of memory are the server’s, whatever else they speak of', () => {
    const error = explainFailure('m', said('ConstantOfShape', ALLOCATE));
    assert.equal(error.code, 'INFERENCE_FAILED');
    assert.equal(
      error.message,
      "model 'm' could not run these inputs in a ConstantOfShape node: Failed to allocate memory for requested buffer of size 40000000000000",
    );
  });

  it('that nobody has seen before are the server’s', () => {
    assert.equal(explainFailure('m', 'Exception during run').code, 'INFERENCE_FAILED');
    assert.equal(explainFailure('m', '').message, "model 'm' could not run these inputs: no reason given");
  });

  it('are told on one line, without endless detail', () => {
    const text = withoutLocations(`a\n b\t c ${'x'.repeat(1000)}`);
    assert.ok(text.startsWith('a b c x'));
    assert.equal(text.length, 501);
  });
});
