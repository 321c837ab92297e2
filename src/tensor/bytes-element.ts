import { SLICE_BYTES } from './json-text.ts';

/**
 * Bytes as one element of the wire form of a BYTES tensor: behind their length. The result owns its memory.
 *
 * A generator that pauses about once per {@link SLICE_BYTES}.
 */
export function* withLength(bytes: Uint8Array): Generator<void, Buffer, void> {
  const element = Buffer.allocUnsafe(4 + bytes.length);
  element.writeUInt32LE(bytes.length, 0);
  for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
    if (at > 0) yield;
    element.set(bytes.subarray(at, at + SLICE_BYTES), 4 + at);
  }
  return element;
}
