import { invalid } from '../../errors.ts';

/** Characters decoded at once; a multiple of four. */
const PIECE = 65_536;

/** Pieces between two pauses. */
const PIECES_PER_TURN = 16;

/**
 * Decodes base64 that stands in a JSON text, with or without padding, of either alphabet. Escaped slashes and line breaks
 * are taken, as Python and others write them. A generator that pauses.
 *
 * @param what names the value in messages.
 * @throws {ShoalError} INVALID_REQUEST for what is no base64.
 */
export function* decodeBase64(text: Buffer, from: number, to: number, what: string): Generator<void, Buffer, void> {
  const given = text.subarray(from, to);
  const plain = given.includes(0x5c) ? withoutEscapes(given) : given;
  let digits = plain.length;
  while (digits > 0 && plain.length - digits < 2 && plain[digits - 1] === 0x3d) digits--;
  const padding = plain.length - digits;
  const size = Math.floor((digits * 3) / 4);
  const decoded = Buffer.allocUnsafe(size);
  let at = 0;
  for (let i = 0, piece = 1; i < digits; i += PIECE, piece++) {
    // Node passes over what is no digit, so that the count shows it.
    at += decoded.write(plain.toString('latin1', i, Math.min(digits, i + PIECE)), at, 'base64');
    if (piece % PIECES_PER_TURN === 0) yield;
  }
  const isWhole = digits % 4 !== 1 && (padding === 0 || (digits + padding) % 4 === 0);
  if (!isWhole || at !== size) throw invalid(`${what} is not base64`);
  return decoded;
}

/** Without line breaks, and with slashes as they are. */
function withoutEscapes(text: Buffer): Buffer {
  return Buffer.from(
    text
      .toString('latin1')
      .replace(/\\[nr]/g, '')
      .replaceAll('\\/', '/'),
    'latin1',
  );
}
