/**
 * Memory in which encoders write a piece of text before it is appended to a reply: large enough for the longest text
 * of {@link PIECE_ELEMENTS} elements. Used within one call only, so all encoders share it.
 */
export const piece: Buffer = Buffer.alloc(65_536);
/** The same memory, for writing several bytes at once. */
export const pieceView: DataView = new DataView(piece.buffer, piece.byteOffset, piece.length);

/** Numbers are written in pieces of so many; none, with its comma, takes more than 32 bytes. */
export const PIECE_ELEMENTS = 1024;

const POWERS = Int32Array.of(1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000);

/** Writes `n` < 10^8 with its leading zeros: eight digits from `at` on. */
export function putEightDigits(at: number, n: number): void {
  const high = (n / 10_000) | 0;
  putFourDigits(at, high);
  putFourDigits(at + 4, n - high * 10_000);
}

function putFourDigits(at: number, n: number): void {
  // Both pairs at once, one in each half of a word: multiplying by 5243/2^19 divides by 100, by 103/2^10 by ten.
  const high = (n * 5243) >> 19;
  const pairs = high | ((n - high * 100) << 16);
  const tens = ((pairs * 103) >> 10) & 0x000f000f;
  pieceView.setInt32(at, tens | ((pairs - tens * 10) << 8) | 0x30303030, true);
}

/** Writes the integer `n` < 10^8, and perhaps zeros behind it; the result is where its digits end. */
export function putSmallInteger(at: number, n: number): number {
  const guess = ((32 - Math.clz32(n | 1)) * 1233) >> 12;
  const digits = guess + (n >= POWERS[guess]! ? 1 : 0);
  putEightDigits(at, Math.imul(n, POWERS[8 - digits]!));
  return at + (digits === 0 ? 1 : digits);
}

/** Writes the integer `n` < 2^53; the result is where its digits end. */
export function putInteger(at: number, n: number): number {
  if (n < 100_000_000) return putSmallInteger(at, n);
  const high = Math.floor(n / 100_000_000);
  const end = putSmallInteger(at, high);
  putEightDigits(end, n - high * 100_000_000);
  return end + 8;
}
