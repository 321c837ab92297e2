import { halfToNumber, numberToHalf } from './float16.ts';
import { type Axes, rowOf } from './rows.ts';
import { asBuffer, type Datatype, type Tensor } from './tensor.ts';
import { readTensor } from './typed.ts';
import { addVerdict, type OutputVerdict, type Verdict } from './verdict.ts';

/** Rows agree within rounding when they differ by less than this part of their largest value. */
const TOLERANCE: Readonly<Partial<Record<Datatype, number>>> = { FP16: 2e-2, FP32: 1e-4, FP64: 1e-9 };

/** How two tensors of the same datatype and shape differ. */
export interface Difference {
  readonly verdict: Exclude<Verdict, 'unknown'>;
  /** Largest absolute difference and the same in units in the last place; 0 unless it can be rounding. */
  readonly largest: number;
  readonly ulps: number;
}

const SAME: Difference = { verdict: 'bit-exact', largest: 0, ulps: 0 };
const OTHER: Difference = { verdict: 'leaking', largest: 0, ulps: 0 };

/** How row `index` of `together` differs from `alone`, which has that row only. */
export function compareRow(alone: Tensor, together: Tensor, axis: number | null, index: number): Difference {
  const row = rowOf(together, axis, index);
  if (row.shape.join() !== alone.shape.join()) return OTHER;
  if (asBuffer(alone.bytes).equals(row.bytes)) return SAME;
  const tolerance = TOLERANCE[alone.datatype];
  return tolerance === undefined || alone.bytes.byteLength !== row.bytes.byteLength
    ? OTHER
    : compareNumbers(alone, row, tolerance);
}

/**
 * {@link compareRow} for all outputs, each added to what is known of it.
 *
 * @param known by output; changed in place.
 */
export function compareRows(
  known: OutputVerdict[],
  alone: readonly Tensor[],
  together: readonly Tensor[],
  axes: Axes,
  index: number,
): void {
  for (const [i, output] of known.entries()) {
    const { verdict, largest, ulps } = compareRow(alone[i]!, together[i]!, axes[i]!, index);
    known[i] = addVerdict(output, { name: output.name, verdict, largestDifference: largest, largestUlps: ulps });
  }
}

/** Whether a tensor says something: numbers that are all infinite or not numbers cannot be compared. */
export function hasInformation(tensor: Tensor): boolean {
  if (tensor.bytes.byteLength === 0) return false;
  return TOLERANCE[tensor.datatype] === undefined || numbersOf(tensor).some((x) => Number.isFinite(x));
}

function compareNumbers(alone: Tensor, row: Tensor, tolerance: number): Difference {
  const [x, y] = [numbersOf(alone), numbersOf(row)];
  let scale = 0;
  let largest = 0;
  let ulps = 0;
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [x[i]!, y[i]!];
    if (Number.isFinite(a)) scale = Math.max(scale, Math.abs(a));
    if (Object.is(a, b)) continue;
    const difference = Math.abs(a - b);
    if (!Number.isFinite(difference)) return OTHER;
    largest = Math.max(largest, difference);
    ulps = Math.max(ulps, ulpsBetween(alone.datatype, a, b));
  }
  // NaNs of other bits are the same answer.
  return largest <= tolerance * scale + Number.EPSILON ? { verdict: 'rounding', largest, ulps } : OTHER;
}

function numbersOf(
  tensor: Tensor,
): ArrayLike<number> & Iterable<number> & { some(is: (x: number) => boolean): boolean } {
  if (tensor.datatype === 'FP16') return Array.from(readTensor(tensor) as Uint16Array, halfToNumber);
  return readTensor(tensor) as Float32Array | Float64Array;
}

const scratch = new DataView(new ArrayBuffer(8));

/** How many steps from one number to the next of its datatype lie between two; −0 and 0 are one. */
function ulpsBetween(datatype: Datatype, a: number, b: number): number {
  if (datatype === 'FP64') {
    const [one, other] = [a, b].map((value) => {
      scratch.setFloat64(0, Math.abs(value));
      const place = scratch.getBigUint64(0);
      return value < 0 ? -place : place;
    });
    const distance = one! - other!;
    return Number(distance < 0n ? -distance : distance);
  }
  const [one, other] = [a, b].map((value) => {
    scratch.setFloat32(0, Math.abs(value));
    const place = datatype === 'FP16' ? numberToHalf(Math.abs(value)) : scratch.getUint32(0);
    return value < 0 ? -place : place;
  });
  return Math.abs(one! - other!);
}
