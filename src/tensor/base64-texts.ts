import { invalid } from '../errors.ts';
import { asBuffer, decodeStrings, elementCount, encodeStrings, type Tensor } from './tensor.ts';

/**
 * A BYTES tensor whose elements are base64 as one of the bytes that they stand for; either alphabet, padded or not.
 *
 * @param what names the tensor in messages.
 * @throws {ShoalError} INVALID_REQUEST for an element that is no base64.
 */
export function fromBase64Texts(tensor: Tensor, what: string): Tensor {
  const texts = decodeStrings(tensor.bytes, elementCount(tensor.shape));
  const elements = texts.map((text, i) => {
    const digits = text.replace(/={0,2}$/, '');
    const bytes = Buffer.from(digits, 'base64');
    // Node passes over what is no digit, so that the count shows it.
    if (digits.length % 4 === 1 || bytes.length !== Math.floor((digits.length * 3) / 4)) {
      throw invalid(`element ${i} of ${what} is not base64, which stands for bytes in JSON`);
    }
    return bytes;
  });
  return { ...tensor, bytes: encodeStrings(elements) };
}

/** A BYTES tensor of any bytes as one of texts that are base64. */
export function toBase64Texts(tensor: Tensor): Tensor {
  const buffer = asBuffer(tensor.bytes);
  const texts: string[] = [];
  for (let at = 0; at < buffer.length; ) {
    const end = at + 4 + buffer.readUInt32LE(at);
    texts.push(buffer.toString('base64', at + 4, end));
    at = end;
  }
  return { ...tensor, bytes: encodeStrings(texts) };
}
