import { ShoalError } from '../errors.ts';
import { filledWithBodies } from '../loading/assemble.ts';
import { tensorOfBytes, type WantedTensor } from '../loading/tensor-of-bytes.ts';
import type { RemoteElement } from '../tensor/json-strings.ts';
import { quoteName } from '../tensor/json-text.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { fetchingIsOff, type Gathered, type RemoteInputs, type RemoteNeed, type RemoteWait } from './remote-inputs.ts';
import { runSliced } from './sliced.ts';

type Values = Readonly<Record<string, unknown>>;

/** Stands for the value of a pipeline's field while it is not fetched. */
export class RemoteValue implements RemoteNeed {
  readonly name: string;
  readonly addresses: readonly string[];
  /** Makes the value, in slices. @throws {ShoalError} INVALID_REQUEST when what was fetched is none. */
  readonly assemble: (bodies: readonly Buffer[]) => Buffer | Generator<void, Tensor, void>;

  private constructor(name: string, addresses: readonly string[], assemble: RemoteValue['assemble']) {
    this.name = name;
    this.addresses = addresses;
    this.assemble = assemble;
  }

  /** Bytes as they are. */
  static bytes(name: string, address: string): RemoteValue {
    return new RemoteValue(name, [address], ([body]) => body!);
  }

  /** A tensor of numbers as a whole. */
  static tensor(name: string, address: string, wanted: WantedTensor): RemoteValue {
    return new RemoteValue(name, [address], ([body]) => tensorOfBytes(body!, wanted));
  }

  /** A tensor of BYTES some elements of which are to be fetched; in `tensor` they are empty. */
  static elements(name: string, tensor: Tensor, elements: readonly RemoteElement[]): RemoteValue {
    const indices = elements.map(({ index }) => index);
    const addresses = elements.map(({ url }) => url);
    const what = `input ${quoteName(name)}`;
    return new RemoteValue(name, addresses, (bodies) => filledWithBodies(tensor, indices, bodies, what, true));
  }
}

/** Values that are all there. */
export interface CompleteValues extends Pick<Gathered, 'fetchMs' | 'release'> {
  readonly calls: readonly Values[];
}

/** Whether something is to be fetched for a call. */
export function hasRemoteValues(calls: readonly Values[]): boolean {
  return calls.some((values) => Object.values(values).some((value) => value instanceof RemoteValue));
}

/**
 * Fetches what calls of a pipeline need.
 *
 * @param remote undefined where nothing is fetched.
 * @param calls the values of each by field.
 * @throws {ShoalError} as {@link RemoteInputs.gather}; INVALID_REQUEST where nothing is fetched, or what was fetched is
 * not what its field takes.
 */
export async function completeValues(
  remote: RemoteInputs | undefined,
  calls: readonly Values[],
  wait: RemoteWait,
): Promise<CompleteValues> {
  const wanted: RemoteValue[] = [];
  let localBytes = 0;
  for (const values of calls) {
    for (const value of Object.values(values)) {
      if (value instanceof RemoteValue) wanted.push(value);
      else localBytes += bytesOf(value);
    }
  }
  if (remote === undefined) throw fetchingIsOff(wanted);
  const { bodies, fetchMs, release } = await remote.gather(wanted, localBytes, wait);
  try {
    let next = 0;
    const complete: Values[] = [];
    for (const values of calls) {
      const all: Record<string, unknown> = { ...values };
      for (const [name, value] of Object.entries(values)) {
        if (!(value instanceof RemoteValue)) continue;
        const made = value.assemble(bodies[next++]!);
        all[name] = Buffer.isBuffer(made) ? made : await runSliced(made);
      }
      complete.push(all);
    }
    if (wait.signal.aborted) throw new ShoalError('CANCELLED', 'the caller left');
    return { calls: complete, fetchMs, release };
  } catch (thrown) {
    release();
    throw thrown;
  }
}

/** What tensors and bytes hold; other values are small. */
function bytesOf(value: unknown): number {
  if (value instanceof Uint8Array) return value.length;
  const isTensor = typeof value === 'object' && value !== null && 'bytes' in value;
  return isTensor && value.bytes instanceof Uint8Array ? value.bytes.length : 0;
}
