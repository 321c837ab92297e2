import { invalid } from '../errors.ts';
import { withLength } from '../tensor/bytes-element.ts';
import { RawTensorReader } from '../tensor/raw-tensor.ts';
import { DATATYPES, type Datatype, elementCount, formatShape, type Tensor } from '../tensor/tensor.ts';
import { isNpy, parseNpyHeader } from './npy.ts';

/** A tensor that is to be made of bytes that came without a word about them. */
export interface WantedTensor {
  /** What messages call it. */
  readonly what: string;
  readonly datatype: Datatype;
  /** −1 stands for a dimension of any size. */
  readonly shape: readonly number[];
}

/** What messages call the bytes. */
const LABEL = 'the remote body';

/**
 * The tensor that bytes from elsewhere are. Of BYTES with one element they are that element; otherwise a file of
 * NumPy's array format, or nothing but the elements: row-major, little-endian, BYTES with a length before each. Of the
 * latter, one dimension may follow from their number.
 *
 * A generator that pauses now and then; where nothing has to be changed, the tensor is a view of `body`.
 *
 * @param isText whether elements of BYTES have to be texts that ONNX Runtime can take.
 * @throws {ShoalError} INVALID_REQUEST when the bytes are not such a tensor.
 */
export function* tensorOfBytes(body: Buffer, wanted: WantedTensor, isText = true): Generator<void, Tensor, void> {
  const { what, datatype } = wanted;
  let bytes = body;
  let shape = wanted.shape;
  if (datatype !== 'BYTES' && isNpy(body)) {
    const header = parseNpyHeader(body, `${LABEL} of ${what}`);
    checkHeader(header, wanted);
    bytes = body.subarray(header.offset);
    shape = header.shape;
  } else if (datatype === 'BYTES' && elementCount(shape.map(Math.abs)) === 1) {
    shape = shape.map(Math.abs);
    bytes = yield* withLength(body);
  } else shape = sizedShape(body, wanted);
  const reader = new RawTensorReader(bytes, datatype, { what, shape, count: elementCount(shape) }, LABEL, isText);
  while (!reader.advance()) yield;
  return reader.finish();
}

/** The fewest bytes that such a tensor may come in. */
export function leastBytesOf({ datatype, shape }: WantedTensor): number {
  return elementCount(shape.map((dim) => Math.max(0, dim))) * DATATYPES[datatype].size;
}

function checkHeader(
  header: { readonly datatype: Datatype; readonly shape: readonly number[] },
  wanted: WantedTensor,
): void {
  const { what, datatype, shape } = wanted;
  const fits = header.shape.length === shape.length && shape.every((dim, i) => dim < 0 || dim === header.shape[i]);
  if (header.datatype === datatype && fits) return;
  throw invalid(
    `${LABEL} of ${what} is an array of ${header.datatype} ${formatShape(header.shape)}, expected ${datatype} ${formatShape(shape)}`,
  );
}

/** The shape that makes use of every byte. */
function sizedShape({ length }: Buffer, { what, datatype, shape }: WantedTensor): readonly number[] {
  const free = shape.indexOf(-1);
  if (free < 0) return shape;
  const expected = `${datatype} ${formatShape(shape)}`;
  if (datatype === 'BYTES' || free !== shape.lastIndexOf(-1)) {
    throw invalid(`${LABEL} of ${what} does not say its shape, which ${expected} leaves open`);
  }
  const unitBytes = shape.reduce((product, dim) => (dim < 0 ? product : product * dim), DATATYPES[datatype].size);
  if (unitBytes === 0 || length % unitBytes !== 0) {
    throw invalid(`${LABEL} of ${what} has ${length} bytes, ${expected} needs a multiple of ${unitBytes}`);
  }
  return shape.with(free, length / unitBytes);
}
