/**
 * FP16 for runtimes without `Float16Array`: IEEE 754 binary16 bits in a Uint16Array.
 */

const single = new Float32Array(1);
const bitsOfSingle = new Uint32Array(single.buffer);

/** Numbers as the bits of the nearest FP16 values, ties to even; beyond 65504 infinity. A new array. */
export function toHalf(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = halfBits(values[i]!);
  return out;
}

/** FP16 bits as numbers, exactly. A new array. */
export function fromHalf(bits: ArrayLike<number>): Float32Array<ArrayBuffer> {
  const out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const half = bits[i]!;
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0x1f) out[i] = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else if (exponent === 0) out[i] = sign * fraction * 2 ** -24;
    else out[i] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return out;
}

function halfBits(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === Number.POSITIVE_INFINITY) return sign | 0x7c00;
  // The exponent of the float is that of the double but for the largest of a binade, which the division below carries over.
  single[0] = size;
  const exponent = Math.max(-14, (bitsOfSingle[0]! >>> 23) - 127);
  // Straight from the double: rounding to a float first would round twice.
  const scaled = roundToEven(size * 2 ** (10 - exponent));
  return sign | Math.min(((exponent + 14) << 10) + scaled, 0x7c00);
}

function roundToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest > 0.5 || (rest === 0.5 && floor % 2 === 1)) return floor + 1;
  return floor;
}
