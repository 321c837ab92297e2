import { ShoalError } from '../errors.ts';

/**
 * Messages of ONNX Runtime that are about the values or shapes a caller gave, which checks against the signature
 * cannot see: ids out of range, dimensions that the graph cannot take.
 */
const CALLERS_FAULT =
  /out of (data )?(bounds|range)|invalid (rank|dimension|index|indices)|got invalid dimensions|cannot be reshaped|could ?n.?t (be )?(broadcast|reshape)|broadcast|reshape|mismatch|dimension|must be (within|in the (inclusive )?range)|axis|not (a )?valid|indices element|cannot split|incompatible|size\b.*(must|should)|invalid (value|argument|input)|kernel (shape|size)|divisib|must have shape|negative|(can ?not|should not) be (0|zero|greater)|by zero|should be greater|not equal to|^sto[a-z]+$/i;

/** The part of a message that speaks of the failing node, and the one that says what was wrong. */
const NODE = /while running (\w+) node/;
const STATUS = /Status Message: (.*)$/;

/** Longest text that is passed on. */
const MOST_CHARACTERS = 500;

/** A message of ONNX Runtime without the source locations and signatures of which it is full. */
export function withoutLocations(message: string): string {
  const text = message
    .replace(/\/onnxruntime_src\/\S+:\d+\s+.*?\)( const)?( \[with [^\]]*\])?(?=\s|$)/g, '')
    .replace(/\[ONNXRuntimeError\] : \d+ : \w+ : /g, '')
    .replace(/\b[\w-]+\.(cc|h):\d+ \w+ /g, '')
    .replace(/\s+/g, ' ')
    .trim();
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text;
}

/**
 * The error for a run that ONNX Runtime refused: INVALID_REQUEST when it is about the caller's values, else
 * INFERENCE_FAILED. Paths and source locations, of which its messages are full, are left out.
 */
export function explainFailure(model: string, message: string): ShoalError {
  const status = STATUS.exec(message)?.[1] ?? message;
  const text = withoutLocations(status);
  const node = NODE.exec(message)?.[1];
  const where = node === undefined ? '' : ` in a ${node} node`;
  const code = CALLERS_FAULT.test(text) && !/allocat|memory/i.test(text) ? 'INVALID_REQUEST' : 'INFERENCE_FAILED';
  return new ShoalError(code, `model '${model}' could not run these inputs${where}: ${text || 'no reason given'}`);
}
