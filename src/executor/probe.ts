import { monotonicMs } from '../clock.ts';
import { messageOf } from '../errors.ts';
import { compareRows, hasInformation } from '../tensor/row-difference.ts';
import { type Axes, rowOf, stackRows } from '../tensor/rows.ts';
import type { Signature, TensorSpec } from '../tensor/signature.ts';
import { asBuffer, type Tensor } from '../tensor/tensor.ts';
import { describeInfluence, type Evidence, type OutputVerdict, unknownOutput, worstOf } from '../tensor/verdict.ts';
import type { Finding, ProbedRun } from './messages.ts';
import { generateRows, type NoRows, otherRecipes, type Row, type Rows, rowsOfSamples } from './probe-rows.ts';
import type { DeclaredTensor } from './session.ts';

/** What the probe needs of a session, so that it can be tested without one. */
export interface Probed {
  readonly inputs: readonly DeclaredTensor[];
  readonly outputs: readonly DeclaredTensor[];
  readonly run: (inputs: readonly Tensor[]) => Promise<Tensor[]>;
  /** Whether only the first axis of every input may have the rows; default: any may. */
  readonly alongFirst?: boolean;
}

/** Rows of the runs that are compared, by index in A, B and C; each has all of them at several places. */
const RUNS: readonly (readonly number[])[] = [
  [0, 1],
  [2, 0, 1],
  [0, 1, 2, 1, 0, 2, 2, 1],
];

/**
 * Finds out by about ten short runs along which axis of each tensor rows may be stacked, and whether a row's answer
 * then stays the same. Whatever is not shown to be safe is served unbatched.
 *
 * @param source inputs of requests, and whether they are real ones; left out: generated ones.
 */
export async function probe(
  model: Probed,
  source?: { readonly rows: readonly Row[]; readonly evidence: Evidence },
): Promise<Finding> {
  const finding = await probeBy(model, source?.rows);
  return source === undefined ? finding : { ...finding, evidence: source.evidence };
}

/**
 * Probes with samples, and with generated rows, too: where those leak, it is not for want of seeing it in the samples
 * that rows are taken to keep to themselves. What samples cannot tell, generated rows may.
 */
export async function probeSamples(model: Probed, rows: readonly Row[]): Promise<Finding> {
  const given = await probe(model, { rows, evidence: 'samples' });
  const generated = await probe(model);
  const isLeaking = generated.outputs.some(({ verdict }) => verdict === 'leaking');
  return (given.batched && isLeaking) || (given.isOpen && generated.batched) ? generated : given;
}

async function probeBy(model: Probed, samples: readonly Row[] | undefined): Promise<Finding> {
  const candidates = model.alongFirst ? [model.inputs.map(() => 0)] : candidateAxes(model.inputs);
  let first: Finding | undefined;
  for (const axes of candidates) {
    const found = await probeAxes(model, axes, samples);
    if (found.batched) return found;
    first ??= found;
  }
  return first ?? unbatched(model, 'none of its inputs has a dimension of free size');
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

/** What a probe says of a model that is not batched; `verdicts` by output, where they are not all unknown. */
export function unbatched(
  model: Pick<Probed, 'inputs' | 'outputs'>,
  reason: string,
  isOpen = false,
  verdicts: readonly OutputVerdict[] = unknowns(model.outputs),
): Finding {
  return {
    batched: false,
    reason,
    isOpen,
    outputs: verdicts,
    evidence: 'generated',
    signature: declaredSignature(model),
    exactSizes: [1],
    bytesPerRow: 0,
    runs: [],
  };
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

/** Tries one way of stacking. */
async function probeAxes(model: Probed, axes: Axes, samples: readonly Row[] | undefined): Promise<Finding> {
  try {
    return samples !== undefined
      ? await compareRowsOf(model, axes, await rowsOfSamples(model, axes, samples))
      : await probeGenerated(model, axes);
  } catch (thrown) {
    return unbatched(model, `several rows cannot run together: ${messageOf(thrown)}`);
  }
}

/** With rows of other values, too, when the first ones show nothing. */
async function probeGenerated(model: Probed, axes: Axes): Promise<Finding> {
  const first = await generateRows(model, axes);
  const finding = await compareRowsOf(model, axes, first);
  if (!finding.isOpen || !('recipe' in first)) return finding;
  for (const recipe of otherRecipes(first.recipe)) {
    const next = await compareRowsOf(model, axes, await generateRows(model, axes, [recipe]));
    if (!next.isOpen) return next;
  }
  return finding;
}

async function compareRowsOf(model: Probed, axes: Axes, rows: Rows | NoRows): Promise<Finding> {
  return 'rows' in rows ? compare(model, axes, rows) : unbatched(model, rows.problem, true);
}

async function compare(model: Probed, axes: Axes, { rows, alone, further, areMany }: Rows): Promise<Finding> {
  const { outputs } = model;
  const known = unknowns(outputs);
  const [a, again] = await timeRun(model, axes, [rows[0]]);
  compareRows(known, alone[0], again, nulls(outputs), 0);
  if (known.some(({ verdict }) => verdict !== 'bit-exact')) {
    return unbatched(model, 'its answers differ from run to run');
  }
  const together: Tensor[][] = [];
  const runs: ProbedRun[] = [a];
  const peaks: number[] = [];
  for (const order of RUNS) {
    const [ran, results] = await timeRun(
      model,
      axes,
      order.map((k) => rows[k]!),
    );
    together.push(results);
    peaks.push(process.resourceUsage().maxRSS * 1024);
    runs.push(ran);
  }

  const outputAxes: number[] = [];
  for (const [i, output] of outputs.entries()) {
    const axis = rowAxis(alone[0][i]!.shape, together[0]![i]!.shape, together[1]![i]!.shape);
    if (axis === undefined || (model.alongFirst && axis !== 0)) {
      // Its first dimension is no batch, or all rows have a part in it.
      const verdicts = unknowns(outputs).map((one, k) => (k === i ? { ...one, verdict: 'leaking' as const } : one));
      return unbatched(model, `output '${output.name}' does not follow the number of rows`, false, verdicts);
    }
    outputAxes.push(axis);
  }

  const exactSizes = [1];
  for (const [r, order] of RUNS.entries()) {
    const ofRun = unknowns(outputs);
    for (const [index, k] of order.entries()) {
      for (const list of [ofRun, known]) compareRows(list, alone[k]!, together[r]!, outputAxes, index);
    }
    if (ofRun.every(({ verdict }) => verdict === 'bit-exact')) exactSizes.push(order.length);
  }
  const leaking = known.filter(({ verdict }) => verdict === 'leaking');
  if (leaking.length > 0) return unbatched(model, describeInfluence(leaking), false, known);
  const [unsure, why] = await findUnsure(model, axes, outputAxes, alone, further);
  if (unsure.length > 0 && !(why === SAME_FOR_ALL && areMany)) {
    const verdicts = known.map((one, i) => (unsure.includes(i) ? unknowns(outputs)[i]! : one));
    const names = unsure.map((i) => `'${outputs[i]!.name}'`).join(', ');
    return unbatched(model, `${why} for output ${names}, so that rows cannot be compared`, true, verdicts);
  }
  // The peak before the last run is that of the largest of those before.
  const grownBytes = peaks.at(-1)! - peaks.at(-2)!;
  return {
    batched: true,
    reason: describeSame(known),
    isOpen: false,
    outputs: known,
    evidence: 'generated',
    signature: {
      inputs: model.inputs.map((input, i) => specify(input, axes[i]!, undefined)),
      outputs: outputs.map((output, i) => specify(output, outputAxes[i]!, alone[0][i]!.shape)),
      batched: true,
    },
    exactSizes,
    bytesPerRow: Math.max(0, grownBytes / (RUNS.at(-1)!.length - RUNS.at(-2)!.length)),
    runs,
  };
}

const NOT_FINITE = 'there was no finite answer';
const SAME_FOR_ALL = 'all rows had the same answer';

/** The outputs of which the rows so far have not shown anything, and why. */
async function findUnsure(
  model: Probed,
  axes: Axes,
  outputAxes: readonly number[],
  alone: Rows['alone'],
  further: readonly Row[] | undefined,
): Promise<[unsure: number[], why: string]> {
  const indices = [...model.outputs.keys()];
  const silent = indices.filter((i) => !alone.some((answers) => hasInformation(answers[i]!)));
  if (silent.length > 0) return [silent, NOT_FINITE];
  const same = indices.filter((i) => areEqual(alone.map((answers) => answers[i]!)));
  if (same.length === 0 || further === undefined) return [same, SAME_FOR_ALL];
  try {
    const [, more] = await timeRun(model, axes, further);
    const rowsOf = (i: number): Tensor[] => further.map((_, r) => rowOf(more[i]!, outputAxes[i]!, r));
    return [same.filter((i) => areEqual([alone[0][i]!, ...rowsOf(i)])), SAME_FOR_ALL];
  } catch {
    return [same, SAME_FOR_ALL];
  }
}

function areEqual([first, ...rest]: readonly Tensor[]): boolean {
  return rest.every(({ bytes }) => asBuffer(bytes).equals(first!.bytes));
}

async function timeRun(model: Probed, axes: Axes, rows: readonly Row[]): Promise<[ProbedRun, Tensor[]]> {
  const inputs = stackRows(rows, axes);
  const bytes = inputs.reduce((sum, tensor) => sum + tensor.bytes.byteLength, 0);
  const start = monotonicMs();
  const results = await model.run(inputs);
  return [{ rows: rows.length, bytes, ms: monotonicMs() - start }, results];
}

function unknowns(outputs: readonly DeclaredTensor[]): OutputVerdict[] {
  return outputs.map(unknownOutput);
}

function nulls(outputs: readonly unknown[]): Axes {
  return outputs.map(() => null);
}

function describeSame(outputs: readonly OutputVerdict[]): string {
  const sizes = `runs of ${RUNS.slice(0, -1)
    .map(({ length }) => length)
    .join(', ')} and ${RUNS.at(-1)!.length} rows`;
  if (worstOf(outputs.map(({ verdict }) => verdict)) === 'bit-exact') {
    return `rows answer the same alone and beside others, bit for bit (${sizes})`;
  }
  const difference = Math.max(...outputs.map(({ largestDifference }) => largestDifference));
  const ulps = Math.max(...outputs.map(({ largestUlps }) => largestUlps));
  return `rows answer the same alone and beside others within rounding (at most ${difference.toExponential(1)}, ${ulps} ULPs, apart; ${sizes})`;
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

function specify(tensor: DeclaredTensor, batchAxis: number | null, seen: readonly number[] | undefined): TensorSpec {
  // A file may leave an output's shape out; then only its rank is known, from having seen one.
  const dims = seen !== undefined && seen.length !== tensor.dims.length ? seen.map(() => '') : tensor.dims;
  const shape = dims.map((dim, i) => (i === batchAxis || typeof dim === 'string' ? -1 : dim));
  return { name: tensor.name, datatype: tensor.datatype, shape, batchAxis };
}
