import { invalid } from '../errors.ts';
import { formatShape } from './tensor.ts';

/** More dimensions than any model has; it bounds what a caller can make the server keep per tensor. */
export const MAX_RANK = 64;

const MAX_ELEMENT_BYTES = 8;

/**
 * The product of a shape that a caller sent.
 *
 * @throws {ShoalError} INVALID_REQUEST when it is beyond all memory, even where a dimension of 0 makes it nothing.
 */
export function countElements({ what, shape }: { readonly what: string; readonly shape: readonly number[] }): number {
  let count = 1;
  let empty = false;
  for (const dim of shape) {
    if (dim === 0) empty = true;
    else count *= dim;
  }
  if (count * MAX_ELEMENT_BYTES > Number.MAX_SAFE_INTEGER) {
    throw invalid(`the shape ${formatShape(shape)} of ${what} is too large`);
  }
  return empty ? 0 : count;
}
