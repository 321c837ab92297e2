import { invalid } from '../errors.ts';
import { quoteName } from '../tensor/json-text.ts';

/** Reserved, but what clients send anyway has a meaning for other servers only. */
const IGNORED_RESERVED = 'triton_enable_empty_final_response';

/**
 * Refuses the name of a request's own parameter that is reserved.
 *
 * @throws {ShoalError} INVALID_REQUEST.
 */
export function refuseReserved(name: string): void {
  if (name.startsWith('triton_') && name !== IGNORED_RESERVED) {
    throw invalid(`parameter ${quoteName(name)} is reserved: names may not begin with triton_`);
  }
}

/**
 * Refuses the parameters of a tensor that would have it in shared memory.
 *
 * @param what what messages call the tensor.
 * @throws {ShoalError} INVALID_REQUEST.
 */
export function refuseSharedMemory(name: string, { what }: { readonly what: string }): void {
  if (name.startsWith('shared_memory_')) {
    throw invalid(`${what} has ${quoteName(name)}: shared memory is not supported`);
  }
}
