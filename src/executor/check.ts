import { monotonicMs } from '../clock.ts';
import { compareRow, compareRows } from '../tensor/row-difference.ts';
import { type Axes, rowOf, stackRows } from '../tensor/rows.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { unknownOutput } from '../tensor/verdict.ts';
import type { KeptRun } from './kept-runs.ts';
import type { CheckReport, CheckRequest } from './messages.ts';
import { isStackable, type Row } from './probe-rows.ts';

type Run = (inputs: readonly Tensor[], outputs: readonly number[]) => Promise<Tensor[]>;

/** A row with the answer that it was given. */
interface AnsweredRow {
  readonly inputs: Row;
  readonly outputs: readonly Tensor[];
}

/**
 * Compares the last of some runs that were answered with runs of its rows alone and in other numbers.
 *
 * @param served the outputs that are served, by name.
 * @throws {Error} what ONNX Runtime says, or that there is no run.
 */
export async function checkKept(
  run: Run,
  served: readonly { readonly name: string }[],
  kept: readonly KeptRun[],
  { inputAxes, outputAxes, alone, sizes }: CheckRequest,
): Promise<CheckReport> {
  const startMs = monotonicMs();
  const last = kept.at(-1);
  if (last === undefined) throw new Error('no run was kept');
  const indices = last.indices.length === 0 ? served.map((_, i) => i) : last.indices;
  const axes = indices.map((index) => outputAxes[index]!);
  const compared = indices.map((index) => unknownOutput(served[index]!));
  let isRepeatable = true;
  for (const index of alone) {
    const inputs = rowInputs(last, inputAxes, index);
    const results = await run(inputs, last.indices);
    const ofRow = indices.map((output) => unknownOutput(served[output]!));
    compareRows(ofRow, results, last.outputs, axes, index);
    compareRows(compared, results, last.outputs, axes, index);
    if (ofRow.every(({ verdict }) => verdict !== 'leaking')) continue;
    const again = await run(inputs, last.indices);
    isRepeatable &&= results.every((result, i) => compareRow(result, again[i]!, null, 0).verdict === 'bit-exact');
  }
  const exactSizes: number[] = [];
  const rows = sizes.length === 0 ? [] : answeredRows(kept, inputAxes, axes);
  for (const size of sizes) if (await isExact(run, rows, size, inputAxes, axes, last.indices)) exactSizes.push(size);
  const outputs = served.map((output, i) => compared[indices.indexOf(i)] ?? unknownOutput(output));
  return { outputs, isRepeatable, exactSizes, ms: monotonicMs() - startMs };
}

/** Whether every row of a run of so many has the bits that it was answered with. */
async function isExact(
  run: Run,
  rows: readonly AnsweredRow[],
  size: number,
  inputAxes: Axes,
  axes: Axes,
  wanted: readonly number[],
): Promise<boolean> {
  const all = Array.from({ length: size }, (_, i) => rows[i % rows.length]!);
  const inputs = stackRows(
    all.map((row) => row.inputs),
    inputAxes,
  );
  const results = await run(inputs, wanted);
  return results.every((result, output) =>
    all.every((row, i) => compareRow(row.outputs[output]!, result, axes[output]!, i).verdict === 'bit-exact'),
  );
}

/** The rows of the last run, and of those before it that can be stacked with them and gave the same outputs. */
function answeredRows(kept: readonly KeptRun[], inputAxes: Axes, axes: Axes): AnsweredRow[] {
  const last = kept.at(-1)!;
  const model = rowInputs(last, inputAxes, 0);
  const rows: AnsweredRow[] = [];
  for (const one of kept.toReversed()) {
    if (one.indices.join() !== last.indices.join()) continue;
    const count = rowCount(one, inputAxes);
    for (let r = 0; r < count; r++) {
      const inputs = rowInputs(one, inputAxes, r);
      if (!isStackable(inputs, model, inputAxes)) break;
      rows.push({ inputs, outputs: one.outputs.map((tensor, i) => rowOf(tensor, axes[i]!, r)) });
    }
  }
  return rows;
}

function rowInputs({ inputs }: KeptRun, axes: Axes, index: number): Row {
  return inputs.map((tensor, i) => rowOf(tensor, axes[i]!, index));
}

function rowCount({ inputs }: KeptRun, axes: Axes): number {
  const i = axes.findIndex((axis) => axis !== null);
  return inputs[i]!.shape[axes[i]!]!;
}
