import { invalid, messageOf } from '../../errors.ts';
import { generateRow, RECIPES, type Recipe } from '../../executor/generate.ts';
import type { DeclaredTensor } from '../../executor/session.ts';
import { rowOf, stackRows } from '../../tensor/rows.ts';
import { type CheckedInputs, checkInputs, type Signature } from '../../tensor/signature.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** So many rows are made up; larger batches have them several times. */
const DISTINCT_ROWS = 8;

/** Rows to measure a model with: inputs for batches of any size, in the shapes of the model file. */
export type ProfileRows = (rows: number) => CheckedInputs;

/**
 * Made-up rows that the model runs.
 *
 * @param tryRun runs one row; rejects when the model refuses it.
 * @throws {ShoalError} INVALID_REQUEST when no kind of made-up row runs.
 */
export async function generateProfileRows(
  signature: Signature,
  tryRun: (inputs: CheckedInputs) => Promise<unknown>,
): Promise<ProfileRows> {
  let problem = '';
  for (const recipe of RECIPES) {
    const rows = stackFrom(signature, [generated(signature, recipe, 0)]);
    try {
      await tryRun(rows(1));
    } catch (thrown) {
      problem ||= messageOf(thrown);
      continue;
    }
    return stackFrom(
      signature,
      Array.from({ length: DISTINCT_ROWS }, (_, row) => generated(signature, recipe, row)),
    );
  }
  throw invalid(`generated inputs cannot run it: ${problem}; give some with --input`);
}

/**
 * The rows of a request, taken in turn.
 *
 * @throws {ShoalError} INVALID_REQUEST when they do not fit the model.
 */
export function givenProfileRows(
  model: string,
  signature: Signature,
  inputs: ReadonlyMap<string, Tensor>,
): ProfileRows {
  const { tensors, rows } = checkInputs(model, signature, inputs, Number.MAX_SAFE_INTEGER);
  const axes = axesOf(signature);
  return stackFrom(
    signature,
    Array.from({ length: rows }, (_, row) => tensors.map((tensor, i) => rowOf(tensor, axes[i]!, row))),
  );
}

function stackFrom(signature: Signature, distinct: readonly (readonly Tensor[])[]): ProfileRows {
  const axes = axesOf(signature);
  return (rows) => {
    const tensors = stackRows(
      Array.from({ length: rows }, (_, row) => distinct[row % distinct.length]!),
      axes,
    );
    return {
      tensors,
      rows,
      bytes: tensors.reduce((sum, { bytes }) => sum + bytes.byteLength, 0),
      laneKey: '',
      batched: signature.batched,
    };
  };
}

function generated({ batched, inputs }: Signature, recipe: Recipe, row: number): Tensor[] {
  return inputs.map(({ name, datatype, shape, modelShape, batchAxis }) => {
    const dims = (modelShape ?? shape).map((dim) => (dim < 0 ? '' : dim));
    const declared: DeclaredTensor = { name, datatype, dims };
    return generateRow(declared, batched ? batchAxis : null, recipe, batchAxis === null ? 0 : row, 1);
  });
}

function axesOf({ batched, inputs }: Signature): (number | null)[] {
  return inputs.map(({ batchAxis }) => (batched ? batchAxis : null));
}
