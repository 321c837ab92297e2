import { invalid } from '../errors.ts';
import { DATATYPES, elementCount, formatShape, isDatatype, skipBytesElements, type Tensor } from '../tensor/tensor.ts';

/**
 * Checks that tensors made by a program have as many bytes as their shapes say; a protocol's decoder makes no others.
 * In a batch, a tensor that has not would shift the rows of its neighbours.
 *
 * @throws {ShoalError} INVALID_REQUEST that names the input, what came and what was expected.
 */
export function checkTensors(inputs: ReadonlyMap<string, Tensor>): void {
  for (const [name, tensor] of inputs) {
    if (!isTensor(tensor)) throw invalid(`input '${name}' is no tensor, expected { datatype, shape, bytes }`);
    const { datatype, shape, bytes } = tensor;
    // What is none of ours cannot be an input's datatype either, and is refused for that.
    if (!isDatatype(datatype)) continue;
    if (!shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) {
      throw invalid(`input '${name}' has shape ${formatShape(shape)}, expected whole numbers from 0`);
    }
    const count = elementCount(shape);
    const end =
      datatype === 'BYTES' ? skipBytesElements(bytes, 0, count, `input '${name}'`) : count * DATATYPES[datatype].size;
    if (bytes.byteLength !== end) {
      throw invalid(
        `input '${name}' has ${bytes.byteLength} bytes, ${datatype} of shape ${formatShape(shape)} has ${end}`,
      );
    }
  }
}

/** Programs without types give anything. */
function isTensor(value: unknown): value is Tensor {
  if (typeof value !== 'object' || value === null) return false;
  const { datatype, shape, bytes } = value as Partial<Tensor>;
  return typeof datatype === 'string' && Array.isArray(shape) && bytes instanceof Uint8Array;
}
