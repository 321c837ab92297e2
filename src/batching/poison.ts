import { createHash } from 'node:crypto';
import type { CheckedInputs } from '../tensor/signature.ts';

/** Fingerprints kept; the oldest is forgotten first. */
const REMEMBERED = 1024;

/** Inputs that have killed an executor twice. They are refused at the door, so that they cannot do it for ever. */
export class PoisonList {
  readonly #fingerprints: Set<string> = new Set();

  add(inputs: CheckedInputs): void {
    this.#fingerprints.add(fingerprint(inputs));
    if (this.#fingerprints.size > REMEMBERED) this.#fingerprints.delete(this.#fingerprints.values().next().value!);
  }

  /** Costs a hash of the inputs, but only once anything has been added. */
  has(inputs: CheckedInputs): boolean {
    return this.#fingerprints.size > 0 && this.#fingerprints.has(fingerprint(inputs));
  }
}

function fingerprint({ tensors }: CheckedInputs): string {
  const hash = createHash('sha256');
  for (const { shape, bytes } of tensors) hash.update(`${shape.join(',')};`).update(bytes);
  return hash.digest('base64');
}
