/**
 * The length (2, 3 or 4) of the UTF-8 sequence that begins at `pos` with a byte of 0x80 or more;
 * 0 when it is not well-formed or not complete before `end`. Table 3-7 of the Unicode standard:
 * no overlong forms, no surrogates, nothing above U+10FFFF.
 */
export function utf8SequenceLength(bytes: Uint8Array, pos: number, end: number): number {
  const lead = bytes[pos]!;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (pos + length > end) return 0;
  const second = bytes[pos + 1]!;
  const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < low || second > high) return 0;
  if (length > 2 && (bytes[pos + 2]! & 0xc0) !== 0x80) return 0;
  if (length > 3 && (bytes[pos + 3]! & 0xc0) !== 0x80) return 0;
  return length;
}
