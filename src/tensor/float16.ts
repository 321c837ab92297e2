const scratch = new DataView(new ArrayBuffer(8));

/** The value of half-precision bits (IEEE 754 binary16); exact. */
export function halfToNumber(bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The half-precision bits nearest to a number, ties to even; what is too large becomes infinity. */
export function numberToHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  scratch.setFloat64(0, size);
  // The step between neighbours at this size; 2^-24 below the smallest normal number, 2^-14.
  const exponent = Math.max(-14, ((scratch.getUint16(0) >> 4) & 0x7ff) - 1023);
  const steps = roundToEven(size * 2 ** (10 - exponent));
  // A fraction that was rounded up to the next power of two carries into the exponent by itself.
  return sign | (((exponent + 14) << 10) + steps);
}

function roundToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
