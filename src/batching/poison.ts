import { createHash } from 'node:crypto';
import type { CheckedInputs } from '../tensor/signature.ts';

/** Fingerprints kept; the oldest is forgotten first. */
const REMEMBERED = 1024;

/** Inputs that have killed an executor twice. They are refused at the door, so that they cannot do it for ever. */
export class PoisonList {
  /** Each with the bytes of its inputs. */
  readonly #fingerprints: Map<string, number> = new Map();
  /** How many of those have so many bytes; only inputs of such a size need to be hashed. */
  readonly #sizes: Map<number, number> = new Map();

  add(inputs: CheckedInputs): void {
    const print = fingerprint(inputs);
    if (this.#fingerprints.has(print)) return;
    this.#fingerprints.set(print, inputs.bytes);
    this.#count(inputs.bytes, 1);
    if (this.#fingerprints.size <= REMEMBERED) return;
    const [oldest, bytes] = this.#fingerprints.entries().next().value!;
    this.#fingerprints.delete(oldest);
    this.#count(bytes, -1);
  }

  /** Costs a hash of the inputs, but only when some of their size have been added. */
  has(inputs: CheckedInputs): boolean {
    return this.#sizes.has(inputs.bytes) && this.#fingerprints.has(fingerprint(inputs));
  }

  #count(bytes: number, change: 1 | -1): void {
    const count = (this.#sizes.get(bytes) ?? 0) + change;
    if (count > 0) this.#sizes.set(bytes, count);
    else this.#sizes.delete(bytes);
  }
}

function fingerprint({ tensors }: CheckedInputs): string {
  const hash = createHash('sha256');
  for (const { shape, bytes } of tensors) hash.update(`${shape.join(',')};`).update(bytes);
  return hash.digest('base64');
}
