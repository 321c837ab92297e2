import type { Servable } from '../serving/servable.ts';
import { classify, refuseUnrankable } from '../tensor/classify.ts';
import type { TensorSpec } from '../tensor/signature.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** An output that was asked for; `classes` is the parameter `classification`, 0 where it is off. */
export interface AskedClasses {
  readonly name: string;
  readonly classes: number;
}

/**
 * Refuses classifications that cannot work, before anything runs. Outputs the model does not have are passed over.
 *
 * @throws {ShoalError} INVALID_REQUEST for datatypes that are not ranked, and for outputs that never have elements.
 */
export function checkClassification(outputs: readonly TensorSpec[], asked: readonly AskedClasses[]): void {
  for (const { name, classes } of asked) {
    const spec = classes > 0 ? outputs.find((one) => one.name === name) : undefined;
    if (spec !== undefined) refuseUnrankable(name, spec.datatype, spec.shape);
  }
}

/**
 * What goes into a reply in place of an output: its classes, `value:index[:label]`, where they were asked for, and
 * else the output itself. Each row of a model whose rows are known is ranked for itself. (Triton's classification
 * extension.) To be driven by `runSliced`.
 *
 * @throws {ShoalError} INVALID_REQUEST when the output has no elements.
 */
export function* classifyOutput(
  model: Pick<Servable, 'signature' | 'labels'>,
  { name, classes }: AskedClasses,
  tensor: Tensor,
): Generator<void, Tensor, void> {
  if (classes === 0) return tensor;
  const batchAxis = model.signature?.outputs.find((spec) => spec.name === name)?.batchAxis ?? null;
  return yield* classify(tensor, { name, batchAxis, classes, labels: model.labels.get(name) ?? [] });
}
