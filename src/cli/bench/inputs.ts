import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { ConfigError } from '../../config-error.ts';
import { messageOf } from '../../errors.ts';
import { decodeInferRequest } from '../../http/v2-codec.ts';
import { generateProfileRows } from '../../serving/profile/profile-rows.ts';
import { reshape, type Signature, type TensorSpec } from '../../tensor/signature.ts';
import type { Datatype, Tensor } from '../../tensor/tensor.ts';

/** Inputs of a request, by name. */
export type Inputs = Readonly<Record<string, Tensor>>;

/** What the metadata of a model say of an input or output. */
export interface DescribedTensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
}

/**
 * A signature from metadata, which do not say which axis counts the rows: it is the first wherever that is free
 * everywhere.
 */
export function signatureOf(inputs: readonly DescribedTensor[]): Signature {
  const batched = inputs.every(({ shape }) => shape[0] === -1);
  const specs = inputs.map((input): TensorSpec => ({ ...input, batchAxis: batched ? 0 : null }));
  return { batched, inputs: specs, outputs: [] };
}

/**
 * Made-up inputs that the model takes.
 *
 * @param tryRun rejects when the model refuses them.
 * @throws {ShoalError} INVALID_REQUEST when no kind of made-up inputs is taken.
 */
export async function generateInputs(
  signature: Signature,
  rows: number,
  tryRun: (inputs: Inputs) => Promise<unknown>,
): Promise<Inputs> {
  const named = (tensors: readonly Tensor[]): Inputs =>
    Object.fromEntries(
      signature.inputs.map(({ name, shape, modelShape }, i) => [
        name,
        modelShape === undefined ? tensors[i]! : reshape(tensors[i]!, modelShape, shape),
      ]),
    );
  const make = await generateProfileRows(signature, ({ tensors }) => tryRun(named(tensors)));
  return named(make(rows).tensors);
}

/**
 * The inputs of a request in a file: the body of an infer request in JSON.
 *
 * @throws {ConfigError} when it cannot be read.
 */
export function readInputs(file: string, cwd: string): Inputs {
  try {
    const decoder = decodeInferRequest(readFileSync(resolve(cwd, file)), undefined);
    for (;;) {
      const { done, value } = decoder.next();
      if (done === true) return Object.fromEntries(value.inputs);
    }
  } catch (thrown) {
    throw new ConfigError('--input', file, `a file with the JSON body of an infer request (${messageOf(thrown)})`);
  }
}
