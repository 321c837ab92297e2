import { ShoalError } from '../errors.ts';

/**
 * Messages of ONNX Runtime that are about the values or shapes a caller gave, which checks against the signature
 * cannot see: ids out of range, dimensions that the graph cannot take.
 */
const CALLERS_FAULT =
  /out of (data )?(bounds|range)|invalid (rank|dimension|index|indices)|got invalid dimensions|cannot be reshaped|could ?n.?t (be )?(broadcast|reshape)|broadcast|reshape|mismatch|dimension|must be (within|in the (inclusive )?range)|axis|not (a )?valid|indices element|cannot split|incompatible|size .*(must|should)|invalid (value|argument|input)|kernel (shape|size)|divisib/i;

/** The part of a message that speaks of the failing node, and the one that says what was wrong. */
const NODE = /while running (\w+) node/;
const STATUS = /Status Message: (.*)$/;

/**
 * The error for a run that ONNX Runtime refused: INVALID_REQUEST when it is about the caller's values, else
 * INFERENCE_FAILED. Paths and source locations, of which its messages are full, are left out.
 */
export function explainFailure(model: string, message: string): ShoalError {
  const status = STATUS.exec(message)?.[1] ?? message;
  const text = status
    .replace(/\S*\/\S+:\d+\s+\S*(\([^)]*\))?/g, '')
    .replace(/\s+/g, ' ')
    .trim();
  const node = NODE.exec(message)?.[1];
  const where = node === undefined ? '' : ` in a ${node} node`;
  const code = CALLERS_FAULT.test(status) && !/allocat|memory/i.test(status) ? 'INVALID_REQUEST' : 'INFERENCE_FAILED';
  return new ShoalError(code, `model '${model}' could not run these inputs${where}: ${text || 'no reason given'}`);
}
