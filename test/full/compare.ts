import { elementCount, formatShape, type Tensor } from '../../src/tensor/tensor.ts';
import { readTensor } from '../../src/tensor/typed.ts';

/** Tolerances of the ONNX project's own runner of these cases. */
const RELATIVE = 1e-3;
const ABSOLUTE = 1e-7;
/**
 * Rounding beside the largest element: where terms cancel each other, as in Fourier transforms, a zero is only as exact
 * as the terms were.
 */
const OF_LARGEST = 1e-6;

/** What is different between two lists of tensors, bit for bit; undefined when nothing is. */
export function differenceInBits(got: readonly Tensor[], wanted: readonly Tensor[]): string | undefined {
  return firstDifference(got, wanted, (a, b) => {
    if (Buffer.compare(a.bytes, b.bytes) === 0) return undefined;
    const at = a.bytes.findIndex((byte, i) => byte !== b.bytes[i]);
    return `byte ${at} of ${b.bytes.length}: ${a.bytes[at]} instead of ${b.bytes[at]}`;
  });
}

/**
 * The same for tensors that came through JSON: what is not finite is `null` there, which was read as NaN; all else
 * must be equal bit for bit.
 */
export function differenceInJson(got: readonly Tensor[], wanted: readonly Tensor[]): string | undefined {
  return firstDifference(got, wanted, (a, b) => {
    if (a.datatype !== 'FP32' && a.datatype !== 'FP64') return differenceInBits([a], [b]);
    return elementwise(a, b, (x, y) => (Number.isNaN(x) ? !Number.isFinite(y) : Object.is(x, y)));
  });
}

/** What is different by more than rounding, for floating-point datatypes; what is different at all, for others. */
export function differenceInValue(got: readonly Tensor[], wanted: readonly Tensor[]): string | undefined {
  return firstDifference(got, wanted, (a, b) => {
    if (!/^FP/.test(a.datatype)) return differenceInBits([a], [b]);
    const finite = numbersOf(b).filter(Number.isFinite);
    const absolute = Math.max(ABSOLUTE, OF_LARGEST * finite.reduce((max, y) => Math.max(max, Math.abs(y)), 0));
    return elementwise(a, b, (x, y) => isClose(x, y, absolute));
  });
}

function isClose(x: number, y: number, absolute: number): boolean {
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) && Number.isNaN(y);
  return x === y || Math.abs(x - y) <= absolute + RELATIVE * Math.abs(y);
}

function firstDifference(
  got: readonly Tensor[],
  wanted: readonly Tensor[],
  compare: (a: Tensor, b: Tensor) => string | undefined,
): string | undefined {
  if (got.length !== wanted.length) return `${got.length} outputs instead of ${wanted.length}`;
  for (const [i, a] of got.entries()) {
    const b = wanted[i]!;
    if (a.datatype !== b.datatype) return `output ${i}: ${a.datatype} instead of ${b.datatype}`;
    if (formatShape(a.shape) !== formatShape(b.shape)) {
      return `output ${i}: shape ${formatShape(a.shape)} instead of ${formatShape(b.shape)}`;
    }
    const difference = compare(a, b);
    if (difference !== undefined) return `output ${i}: ${difference}`;
  }
  return undefined;
}

function elementwise(a: Tensor, b: Tensor, isSame: (x: number, y: number) => boolean): string | undefined {
  const [xs, ys] = [numbersOf(a), numbersOf(b)];
  for (let i = 0; i < xs.length; i++) {
    if (!isSame(xs[i]!, ys[i]!)) return `element ${i} of ${xs.length}: ${xs[i]} instead of ${ys[i]}`;
  }
  return undefined;
}

function numbersOf(tensor: Tensor): number[] {
  const data = readTensor(tensor);
  if (tensor.datatype !== 'FP16') return Array.from(data, Number);
  return Array.from({ length: elementCount(tensor.shape) }, (_, i) => halfToNumber(Number(data[i])));
}

function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * 2 ** -24 * fraction : sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}
