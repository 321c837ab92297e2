import { type PendingRequest, PendingRequest as Request, type Submission } from '../../src/batching/request.ts';
import type { Signature, TensorSpec } from '../../src/tensor/signature.ts';
import { checkInputs } from '../../src/tensor/signature.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';
import { makeTensor, readTensor } from '../../src/tensor/typed.ts';

/** Requests to a fake model with one FP32 input `x` and one FP32 output `y`, both [rows, width]. */

/** The signature of that model. */
export function signatureOf(options: { batched?: boolean; shape?: readonly number[]; axis?: number } = {}): Signature {
  const { batched = true, shape = [-1, -1], axis = 0 } = options;
  const spec = (name: string): TensorSpec => ({ name, datatype: 'FP32', shape, batchAxis: batched ? axis : null });
  return { inputs: [spec('x')], outputs: [spec('y')], batched };
}

/** A FP32 tensor of rows of equal length. */
export function rowsOf(...rows: readonly (readonly number[])[]): Tensor {
  return makeTensor('FP32', [rows.length, rows[0]!.length], Float32Array.from(rows.flat()));
}

/** The rows of a FP32 tensor of rank 2. */
export function rowsIn(tensor: Tensor): number[][] {
  const values = [...(readTensor(tensor) as Float32Array)];
  const [count, width] = [tensor.shape[0]!, tensor.shape[1]!];
  return Array.from({ length: count }, (_, i) => values.slice(i * width, (i + 1) * width));
}

/** What a caller hands in for a tensor `x`; times are far away unless given. */
export function submissionOf(
  x: Tensor,
  options: { signature?: Signature; outputs?: readonly number[] } & Partial<
    Pick<Submission, 'priority' | 'receivedMs' | 'deadlineMs' | 'queueDeadlineMs'>
  > = {},
): Submission {
  const { signature = signatureOf(), outputs, receivedMs = 0, priority = 0 } = options;
  const { deadlineMs = 1e9, queueDeadlineMs = Number.POSITIVE_INFINITY } = options;
  const inputs = checkInputs('fake', signature, new Map([['x', x]]), 1e9);
  return { inputs, outputs, priority, receivedMs, deadlineMs, queueDeadlineMs };
}

/** A pending request that belongs to no batcher. */
export function makeRequest(x: Tensor, options: Parameters<typeof submissionOf>[1] = {}): PendingRequest {
  const submission = submissionOf(x, options);
  return new Request(submission, submission.inputs.laneKey, 0);
}
