import { messageOf } from '../errors.ts';
import { type Axes, rowOf } from '../tensor/rows.ts';
import { asBuffer, formatShape, type Tensor } from '../tensor/tensor.ts';
import { generateRow, RECIPES, type Recipe, SCALES } from './generate.ts';
import type { Probed } from './probe.ts';

/** One row: a tensor for each input, with size 1 along its axis. */
export type Row = readonly Tensor[];

/** Rows to compare, with the answer that each gets alone. */
export interface Rows {
  /** A, B and C; C may be A again. */
  readonly rows: readonly [Row, Row, Row];
  readonly alone: readonly [Tensor[], Tensor[], Tensor[]];
  /** Further rows, to see whether an output ever changes; undefined when there are none. */
  readonly further: readonly Row[] | undefined;
  /** Whether the rows are so many that an output which is the same for all of them is taken to be so always. */
  readonly areMany: boolean;
}

/** No rows could be had. */
export interface NoRows {
  readonly problem: string;
}

/** So many different real rows are believed when an output is the same for all of them. */
const MANY_ROWS = 8;

/** Rows made up by the first of several recipes, and the first scales, with which the model runs. */
export async function generateRows(
  model: Probed,
  axes: Axes,
  recipes: readonly Recipe[] = RECIPES,
): Promise<(Rows & { readonly recipe: Recipe }) | NoRows> {
  let problem = '';
  for (const recipe of recipes) {
    const row = (k: number, scale: number): Row =>
      model.inputs.map((input, i) =>
        // An input without rows has one value for all of them.
        axes[i] === null ? generateRow(input, null, recipe, 0, 1) : generateRow(input, axes[i]!, recipe, k, scale),
      );
    try {
      const first = row(0, SCALES[0]![0]);
      const alone = await model.run(first);
      for (const scales of SCALES) {
        const others = await runOthers(model, row, scales);
        if (others === undefined) continue;
        const [b, c] = others;
        return {
          rows: [first, b.row, c.row],
          alone: [alone, b.alone, c.alone],
          further: Array.from({ length: MANY_ROWS }, (_, k) => row(3 + k, scales[k % 3]!)),
          areMany: false,
          recipe,
        };
      }
      problem ||= 'some generated inputs run it and others do not';
    } catch (thrown) {
      problem ||= messageOf(thrown);
    }
  }
  return { problem: `generated inputs cannot run it: ${problem}` };
}

/** Recipes to try when rows by `recipe` have shown nothing: other values of the same sizes. */
export function otherRecipes({ size }: Recipe): Recipe[] {
  return [10, 2].map((integers) => ({ size, integers, whole: true }));
}

/** Rows of requests that were answered before, cut out of them along `axes`. */
export async function rowsOfSamples(model: Probed, axes: Axes, samples: readonly Row[]): Promise<Rows | NoRows> {
  const groups = new Map<string, Map<string, Row>>();
  for (const sample of samples) {
    for (const row of rowsOfSample(sample, axes)) {
      const key = stackKey(row, axes);
      let group = groups.get(key);
      if (group === undefined) {
        group = new Map();
        groups.set(key, group);
      }
      group.set(row.map(({ bytes }) => textOf(bytes)).join(), row);
    }
  }
  const largest = [...groups.values()].sort((a, b) => b.size - a.size)[0];
  const different = [...(largest?.values() ?? [])];
  if (different.length < 2) return { problem: 'no two real rows came that differ and could share a run' };
  const [a, b] = [different[0]!, different[1]!];
  const c = different[2] ?? a;
  return {
    rows: [a, b, c],
    alone: [await model.run(a), await model.run(b), await model.run(c)],
    further: different.length > 3 ? different.slice(3, 3 + MANY_ROWS) : undefined,
    areMany: different.length >= MANY_ROWS,
  };
}

/** Whether two rows may share a run. */
export function isStackable(one: Row, other: Row, axes: Axes): boolean {
  return stackKey(one, axes) === stackKey(other, axes);
}

/** Rows can be stacked when their other dimensions are equal, and so are their inputs without rows. */
function stackKey(row: Row, axes: Axes): string {
  return row.map(({ shape, bytes }, i) => formatShape(shape) + (axes[i] === null ? textOf(bytes) : '')).join();
}

interface Answered {
  readonly row: Row;
  readonly alone: Tensor[];
}

async function runOthers(
  model: Probed,
  row: (k: number, scale: number) => Row,
  scales: readonly [number, number, number],
): Promise<[Answered, Answered] | undefined> {
  const answer = async (k: 1 | 2): Promise<Answered> => {
    const one = row(k, scales[k]);
    return { row: one, alone: await model.run(one) };
  };
  try {
    return [await answer(1), await answer(2)];
  } catch {
    // Values of that size may be what it refuses; smaller ones are tried next.
    return undefined;
  }
}

/** The rows of one request; none when its inputs do not agree on how many there are. */
function rowsOfSample(sample: Row, axes: Axes): Row[] {
  const counts = new Set(sample.flatMap(({ shape }, i) => (axes[i] === null ? [] : [shape[axes[i]!]!])));
  const [count = 0] = counts;
  if (counts.size !== 1) return [];
  return Array.from({ length: count }, (_, r) => sample.map((tensor, i) => rowOf(tensor, axes[i]!, r)));
}

function textOf(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('latin1');
}
