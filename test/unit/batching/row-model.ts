import type { Batch } from '../../../src/batching/batch.ts';
import { ShoalError } from '../../../src/errors.ts';
import type { Signature } from '../../../src/tensor/signature.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { makeTensor, readTensor } from '../../../src/tensor/typed.ts';

/**
 * A fake model whose answers tell for each row which row they belong to. It has all there is: batch axes 0 and 1, an
 * input without rows, strings, several inputs and outputs.
 *
 * - `id` INT32 [rows, 2]: a number, and what the row does ({@link DEEDS});
 * - `wave` INT16 [2, rows, width]; `text` BYTES [rows]; `key` INT64 [1], the same for all rows of a run.
 */
export const ROW_SIGNATURE: Signature = {
  batched: true,
  inputs: [
    { name: 'id', datatype: 'INT32', shape: [-1, 2], batchAxis: 0 },
    { name: 'wave', datatype: 'INT16', shape: [2, -1, -1], batchAxis: 1 },
    { name: 'text', datatype: 'BYTES', shape: [-1], batchAxis: 0 },
    { name: 'key', datatype: 'INT64', shape: [1], batchAxis: null },
  ],
  outputs: [
    { name: 'sum', datatype: 'INT32', shape: [-1], batchAxis: 0 },
    { name: 'wave', datatype: 'INT16', shape: [2, -1, -1], batchAxis: 1 },
    { name: 'text', datatype: 'BYTES', shape: [-1], batchAxis: 0 },
  ],
};

/** What a row does to its run: nothing, has the model refuse it, or ends the executor. */
export const DEEDS = { innocent: 0, poison: 1, killer: 2 } as const;
export type Deed = keyof typeof DEEDS;

/** Rows to send: `first` is the number of the first one, so that no two requests have a row in common. */
export interface RowsSpec {
  readonly first: number;
  readonly deeds: readonly Deed[];
  readonly width: number;
  readonly key: number;
}

/** The inputs of a request, by name. */
export function rowInputs({ first, deeds, width, key }: RowsSpec): Map<string, Tensor> {
  const rows = deeds.length;
  const numbers = deeds.map((_, r) => first + r);
  const wave = Int16Array.from({ length: 2 * rows * width }, (_, i) => {
    const [outer, row, j] = [Math.floor(i / (rows * width)), Math.floor(i / width) % rows, i % width];
    return numbers[row]! * 7 + outer * 5 + j;
  });
  return new Map<string, Tensor>([
    ['id', makeTensor('INT32', [rows, 2], Int32Array.from(deeds.flatMap((deed, r) => [numbers[r]!, DEEDS[deed]])))],
    ['wave', makeTensor('INT16', [2, rows, width], wave)],
    [
      'text',
      makeTensor(
        'BYTES',
        [rows],
        numbers.map((n) => 'é'.repeat(n % 4) + n),
      ),
    ],
    ['key', makeTensor('INT64', [1], BigInt64Array.of(BigInt(key)))],
  ]);
}

/** The answer to all rows of these inputs; rows do not meet. */
export function answerRows([id, wave, text, key]: readonly Tensor[]): ReadonlyMap<number, Tensor> {
  const ids = readTensor(id!) as Int32Array;
  const waves = readTensor(wave!) as Int16Array;
  const texts = readTensor(text!) as readonly string[];
  const shift = Number((readTensor(key!) as BigInt64Array)[0]);
  const rows = id!.shape[0]!;
  const width = wave!.shape[2]!;
  const sums = Int32Array.from({ length: rows }, (_, r) => {
    let sum = ids[2 * r]! * 31 + shift;
    for (let outer = 0; outer < 2; outer++) {
      for (let j = 0; j < width; j++) sum = (Math.imul(sum, 33) + waves[(outer * rows + r) * width + j]!) | 0;
    }
    for (const char of texts[r]!) sum = (Math.imul(sum, 33) + char.codePointAt(0)!) | 0;
    return sum;
  });
  return new Map<number, Tensor>([
    [0, makeTensor('INT32', [rows], sums)],
    [
      1,
      makeTensor(
        'INT16',
        wave!.shape,
        waves.map((value) => ~value),
      ),
    ],
    [
      2,
      makeTensor(
        'BYTES',
        [rows],
        texts.map((one, r) => `${ids[2 * r]}:${one}`),
      ),
    ],
  ]);
}

/** Runs a batch of the model; killers come before poison, as an executor that is gone refuses nothing. */
export function runRows(batch: Batch): ReadonlyMap<number, Tensor> {
  const tensors = batch
    .inputs()
    .map(({ datatype, shape, segments }) => ({ datatype, shape, bytes: Buffer.concat(segments) }));
  const ids = readTensor(tensors[0]!) as Int32Array;
  const deeds = Array.from({ length: ids.length / 2 }, (_, r) => ids[2 * r + 1]);
  if (deeds.includes(DEEDS.killer)) throw new ShoalError('EXECUTOR_LOST', 'the executor was lost');
  if (deeds.includes(DEEDS.poison)) throw new ShoalError('INVALID_REQUEST', 'the model refused it');
  const wanted = batch.outputs();
  const all = answerRows(tensors);
  return wanted.length === 0 ? all : new Map(wanted.map((index) => [index, all.get(index)!]));
}
