import { monotonicMs } from '../clock.ts';
import { messageOf } from '../errors.ts';
import { halfToNumber } from '../tensor/float16.ts';
import type { Signature, TensorSpec } from '../tensor/signature.ts';
import { elementCount, skipBytesElements, type Tensor } from '../tensor/tensor.ts';
import { generateRow, RECIPES, type Recipe, stackRows } from './generate.ts';
import type { Finding, ProbedRun } from './messages.ts';
import type { DeclaredTensor } from './session.ts';

type Axes = readonly (number | null)[];
type Run = (inputs: readonly Tensor[]) => Promise<Tensor[]>;

/** What the probe needs of a session, so that it can be tested without one. */
export interface Probed {
  readonly inputs: readonly DeclaredTensor[];
  readonly outputs: readonly DeclaredTensor[];
  readonly run: Run;
  /** Whether only the first axis of every input may have the rows; default: any may. */
  readonly alongFirst?: boolean;
}

/** Rows of a FP32 model agree within rounding when they differ by less than this part of their largest value. */
const TOLERANCE: Readonly<Record<string, number>> = { FP16: 2e-2, FP32: 1e-4, FP64: 1e-9 };

/** Rows A, B and C of very different scale: what one of them does to another is then seen. */
const SCALES = [1, 1000, 0.01] as const;

/** Rows of the run that shows what a larger batch costs in time and memory. */
const LARGER_BATCH = 8;

/**
 * Finds out by about ten short runs along which axis of each tensor rows may be stacked, and whether a row's answer
 * then stays the same. Whatever is not shown to be safe is served unbatched.
 */
export async function probe(model: Probed): Promise<Finding> {
  const candidates = model.alongFirst ? [model.inputs.map(() => 0)] : candidateAxes(model.inputs);
  if (candidates.length === 0) return unbatched(model, 'none of its inputs has a dimension of free size');
  let reason = '';
  for (const axes of candidates) {
    const found = await probeAxes(model, axes);
    if (typeof found !== 'string') return found;
    reason ||= found;
  }
  return unbatched(model, reason);
}

/** Tensors whose free dimensions have the sizes that `shapes` says, those of undeclared shape its rank, too. */
export function withShapes(
  tensors: readonly DeclaredTensor[],
  shapes: Readonly<Record<string, readonly number[]>>,
): DeclaredTensor[] {
  return tensors.map((tensor) => {
    const shape = shapes[tensor.name];
    if (shape === undefined) return tensor;
    const dims = tensor.dims.length === 0 ? shape.map(() => '') : tensor.dims;
    return { ...tensor, dims: dims.map((dim, i) => (typeof dim === 'string' && shape[i]! >= 0 ? shape[i]! : dim)) };
  });
}

/** The signature as the file declares it, for a model that is not batched. */
export function declaredSignature(model: Pick<Probed, 'inputs' | 'outputs'>): Signature {
  const plain = (tensor: DeclaredTensor): TensorSpec => specify(tensor, null, undefined);
  return { inputs: model.inputs.map(plain), outputs: model.outputs.map(plain), batched: false };
}

function unbatched(model: Probed, reason: string): Finding {
  const verdict = { batched: false, reason: `unbatched: ${reason}` };
  return { signature: declaredSignature(model), verdict, bytesPerRow: 0, runs: [] };
}

/**
 * The ways of stacking worth trying: first the axes that look like a batch (named so, or the first free one of each
 * input), then the second free axes, as of models that have time before the batch.
 */
function candidateAxes(inputs: readonly DeclaredTensor[]): Axes[] {
  const choose = (preference: number): Axes => {
    const named = new Set<string>();
    const own = inputs.map(({ dims }) => {
      const free = dims.flatMap((dim, i) => (typeof dim === 'string' ? [i] : []));
      if (free.length === 0) return null;
      const batch = free.find((i) => /^(n|b|bs)$|batch/i.test(String(dims[i])));
      const axis = preference === 0 ? (batch ?? free[0]!) : (free[preference] ?? free.at(-1)!);
      named.add(String(dims[axis]));
      return axis;
    });
    named.delete('');
    // One name is one size: an input that has the batch's name elsewhere has its batch there.
    return inputs.map(({ dims }, i) => {
      const at = dims.findIndex((dim) => typeof dim === 'string' && named.has(dim));
      return at >= 0 ? at : own[i]!;
    });
  };
  const all = [choose(0), choose(1)].filter((axes) => axes.some((axis) => axis !== null));
  return all.filter((axes, i) => i === 0 || axes.some((axis, k) => axis !== all[0]![k]));
}

/** Tries one way of stacking. @returns the finding, or why it is not safe. */
async function probeAxes(model: Probed, axes: Axes): Promise<Finding | string> {
  const started = await firstRecipe(model, axes);
  if (typeof started === 'string') return started;
  const { recipe, alone: aloneA } = started;
  const row = (k: number): Tensor[] =>
    model.inputs.map((input, i) =>
      // An input without rows has one value for all of them.
      generateRow(input, axes[i]!, recipe, axes[i] === null ? 0 : k, axes[i] === null ? 1 : (SCALES[k % 3] ?? 1)),
    );
  const run = (...rows: Tensor[][]): Promise<Tensor[]> => model.run(stackRows(rows, axes));
  const [a, b, c] = [row(0), row(1), row(2)];

  try {
    const again = await run(a);
    if (
      differences(
        aloneA,
        again,
        aloneA.map(() => null),
        0,
        1,
      ) !== undefined
    ) {
      return 'its answers differ from run to run';
    }
    const pair = await run(a, b);
    const triple = await run(c, a, b);
    const outputAxes: number[] = [];
    for (const [i, output] of model.outputs.entries()) {
      const axis = rowAxis(aloneA[i]!.shape, pair[i]!.shape, triple[i]!.shape);
      if (axis === undefined || (model.alongFirst && axis !== 0)) {
        return `output '${output.name}' does not follow the number of rows`;
      }
      outputAxes.push(axis);
    }
    const [aloneB, aloneC] = [await run(b), await run(c)];
    const { many, bytesPerRow, runs } = await measure(model.run, (rows) => stackRows(rows, axes), row);
    const comparisons: [Tensor[], Tensor[], number, number][] = [
      [aloneA, pair, 0, 2],
      [aloneB, pair, 1, 2],
      [aloneC, triple, 0, 3],
      [aloneA, triple, 1, 3],
      [aloneB, triple, 2, 3],
      [aloneA, many, 0, LARGER_BATCH],
      [aloneB, many, 1, LARGER_BATCH],
      [aloneC, many, 2, LARGER_BATCH],
    ];
    let largest = 0;
    for (const [alone, together, index, rows] of comparisons) {
      const difference = differences(alone, together, outputAxes, index, rows);
      if (difference === undefined) continue;
      if (!difference.rounding)
        return `rows influence each other: output '${model.outputs[difference.output]!.name}' of a row changes beside other rows`;
      largest = Math.max(largest, difference.largest);
    }
    if (!hasInformation(aloneA)) return 'generated inputs give no finite answer, so rows cannot be compared';

    const how = largest === 0 ? 'bit-identical' : `equal within rounding (${largest.toExponential(1)})`;
    return {
      signature: {
        inputs: model.inputs.map((input, i) => specify(input, axes[i]!, undefined)),
        outputs: model.outputs.map((output, i) => specify(output, outputAxes[i]!, aloneA[i]!.shape)),
        batched: true,
      },
      verdict: { batched: true, reason: `batched: rows alone and beside others are ${how}` },
      bytesPerRow,
      runs,
    };
  } catch (thrown) {
    return `several rows cannot run together: ${messageOf(thrown)}`;
  }
}

async function firstRecipe(model: Probed, axes: Axes): Promise<{ recipe: Recipe; alone: Tensor[] } | string> {
  let reason = '';
  for (const recipe of RECIPES) {
    try {
      const inputs = model.inputs.map((input, i) => generateRow(input, axes[i]!, recipe, 0, SCALES[0]));
      return { recipe, alone: await model.run(inputs) };
    } catch (thrown) {
      reason ||= `generated inputs cannot run it: ${messageOf(thrown)}`;
    }
  }
  return reason;
}

/** Time and memory of one row against {@link LARGER_BATCH}, whose answers are `many`. */
async function measure(
  run: Run,
  stack: (rows: Tensor[][]) => Tensor[],
  row: (k: number) => Tensor[],
): Promise<Pick<Finding, 'bytesPerRow' | 'runs'> & { readonly many: Tensor[] }> {
  const all = Array.from({ length: LARGER_BATCH }, (_, k) => row(k));
  const runs: ProbedRun[] = [];
  const peaks: number[] = [];
  let many: Tensor[] = [];
  for (const rows of [all.slice(0, 1), all]) {
    const inputs = stack(rows);
    const bytes = inputs.reduce((sum, tensor) => sum + tensor.bytes.byteLength, 0);
    const start = monotonicMs();
    many = await run(inputs);
    runs.push({ rows: rows.length, bytes, ms: monotonicMs() - start });
    peaks.push(process.resourceUsage().maxRSS * 1024);
  }
  // The first peak is that of the largest run before, which had as many rows as there are scales.
  const bytesPerRow = Math.max(0, (peaks[1]! - peaks[0]!) / (LARGER_BATCH - SCALES.length));
  return { bytesPerRow, runs, many };
}

/** The only axis on which shapes of runs of 1, 2 and 3 rows differ, if it counts the rows. */
function rowAxis(one: readonly number[], two: readonly number[], three: readonly number[]): number | undefined {
  if (one.length !== two.length || one.length !== three.length) return undefined;
  let axis: number | undefined;
  for (let i = 0; i < one.length; i++) {
    if (one[i] === two[i] && one[i] === three[i]) continue;
    if (axis !== undefined || one[i] !== 1 || two[i] !== 2 || three[i] !== 3) return undefined;
    axis = i;
  }
  return axis;
}

interface Difference {
  readonly output: number;
  readonly largest: number;
  /** Whether it can be explained by rounding. */
  readonly rounding: boolean;
}

/** How the row `index` of a run of `rows` differs from the same row alone; undefined when not a bit does. */
function differences(
  alone: readonly Tensor[],
  together: readonly Tensor[],
  axes: Axes,
  index: number,
  rows: number,
): Difference | undefined {
  let worst: Difference | undefined;
  for (const [output, single] of alone.entries()) {
    const bytes = pickRow(together[output]!, axes[output]!, index, rows);
    const own = Buffer.from(single.bytes);
    if (own.equals(bytes)) continue;
    const { largest, rounding } = compareNumbers(single.datatype, own, bytes);
    if (worst === undefined || !rounding || largest > worst.largest) worst = { output, largest, rounding };
    if (!rounding) return worst;
  }
  return worst;
}

/** The bytes of one row of a tensor. */
function pickRow(tensor: Tensor, axis: number | null, index: number, rows: number): Buffer {
  const bytes = Buffer.from(tensor.bytes);
  if (axis === null) return bytes;
  const outer = elementCount(tensor.shape.slice(0, axis));
  const pieces: Buffer[] = [];
  if (tensor.datatype === 'BYTES') {
    const perRow = elementCount(tensor.shape.slice(axis + 1));
    for (let o = 0; o < outer; o++) {
      const start = skipBytesElements(bytes, 0, (o * rows + index) * perRow, 'a probed output');
      pieces.push(bytes.subarray(start, skipBytesElements(bytes, start, perRow, 'a probed output')));
    }
  } else {
    const stride = bytes.length / outer / rows;
    for (let o = 0; o < outer; o++)
      pieces.push(bytes.subarray((o * rows + index) * stride, (o * rows + index + 1) * stride));
  }
  return Buffer.concat(pieces);
}

function compareNumbers(datatype: string, a: Buffer, b: Buffer): { largest: number; rounding: boolean } {
  const tolerance = TOLERANCE[datatype];
  if (tolerance === undefined || a.length !== b.length) return { largest: Number.POSITIVE_INFINITY, rounding: false };
  const [x, y] = [readFloats(datatype, a), readFloats(datatype, b)];
  let scale = 0;
  let largest = 0;
  for (let i = 0; i < x.length; i++) {
    if (Object.is(x[i], y[i]) || (Number.isNaN(x[i]) && Number.isNaN(y[i]))) {
      if (Number.isFinite(x[i])) scale = Math.max(scale, Math.abs(x[i]!));
      continue;
    }
    const difference = Math.abs(x[i]! - y[i]!);
    if (!Number.isFinite(difference)) return { largest: Number.POSITIVE_INFINITY, rounding: false };
    scale = Math.max(scale, Math.abs(x[i]!));
    largest = Math.max(largest, difference);
  }
  return { largest, rounding: largest <= tolerance * scale + Number.EPSILON };
}

function readFloats(datatype: string, bytes: Buffer): number[] {
  const out: number[] = [];
  if (datatype === 'FP64') for (let i = 0; i < bytes.length; i += 8) out.push(bytes.readDoubleLE(i));
  else if (datatype === 'FP32') for (let i = 0; i < bytes.length; i += 4) out.push(bytes.readFloatLE(i));
  else for (let i = 0; i < bytes.length; i += 2) out.push(halfToNumber(bytes.readUInt16LE(i)));
  return out;
}

/** Whether any output says something: a model that answers NaN throughout cannot be compared. */
function hasInformation(outputs: readonly Tensor[]): boolean {
  return outputs.some(
    ({ datatype, bytes }) =>
      TOLERANCE[datatype] === undefined || readFloats(datatype, Buffer.from(bytes)).some((x) => Number.isFinite(x)),
  );
}

function specify(tensor: DeclaredTensor, batchAxis: number | null, seen: readonly number[] | undefined): TensorSpec {
  // A file may leave an output's shape out; then only its rank is known, from having seen one.
  const dims = seen !== undefined && seen.length !== tensor.dims.length ? seen.map(() => '') : tensor.dims;
  const shape = dims.map((dim, i) => (i === batchAxis || typeof dim === 'string' ? -1 : dim));
  return { name: tensor.name, datatype: tensor.datatype, shape, batchAxis };
}
