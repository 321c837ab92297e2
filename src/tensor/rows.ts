import { elementCount, skipBytesElements, type Tensor } from './tensor.ts';

/** Rows of tensors: cut out of them and put together again, along whatever axis they lie. */

/** For each tensor of a list the axis that counts the rows; null where it has none. */
export type Axes = readonly (number | null)[];

/**
 * One row of a tensor.
 *
 * @param axis null: the tensor has no rows, and comes back as it is.
 * @returns a tensor with size 1 along the axis; it owns its memory, aligned to 16 bytes.
 */
export function rowOf(tensor: Tensor, axis: number | null, index: number): Tensor {
  if (axis === null) return tensor;
  const { datatype, shape, bytes } = tensor;
  const rows = shape[axis]!;
  const outer = elementCount(shape.slice(0, axis));
  const pieces: Uint8Array[] = [];
  if (datatype === 'BYTES') {
    const perRow = elementCount(shape.slice(axis + 1));
    let at = 0;
    for (let o = 0; o < outer; o++) {
      const start = skipBytesElements(bytes, at, index * perRow, 'a tensor');
      const end = skipBytesElements(bytes, start, perRow, 'a tensor');
      pieces.push(bytes.subarray(start, end));
      at = skipBytesElements(bytes, end, (rows - index - 1) * perRow, 'a tensor');
    }
  } else {
    const stride = bytes.length / outer / rows;
    for (let o = 0; o < outer; o++)
      pieces.push(bytes.subarray((o * rows + index) * stride, (o * rows + index + 1) * stride));
  }
  return { datatype, shape: shape.with(axis, 1), bytes: joinAligned(pieces) };
}

/** The tensors of several rows stacked along the axis of each; those without one are taken from the first row. */
export function stackRows(rows: readonly (readonly Tensor[])[], axes: Axes): Tensor[] {
  return axes.map((axis, i) => {
    const first = rows[0]![i]!;
    if (axis === null || rows.length === 1) return first;
    const { datatype } = first;
    const shape = first.shape.with(axis, rows.length);
    const outer = elementCount(first.shape.slice(0, axis));
    if (outer === 1) return { datatype, shape, bytes: joinAligned(rows.map((row) => row[i]!.bytes)) };
    // With dimensions before the axis, the rows of each of their indices follow one another.
    const perOuter = elementCount(first.shape.slice(axis));
    const ends = rows.map(() => 0);
    const pieces: Uint8Array[] = [];
    for (let o = 0; o < outer; o++) {
      for (const [r, row] of rows.entries()) {
        const { bytes } = row[i]!;
        const start = ends[r]!;
        const end =
          datatype === 'BYTES'
            ? skipBytesElements(bytes, start, perOuter, 'a tensor')
            : start + bytes.byteLength / outer;
        pieces.push(bytes.subarray(start, end));
        ends[r] = end;
      }
    }
    return { datatype, shape, bytes: joinAligned(pieces) };
  });
}

/**
 * The pieces as one buffer of its own, whose memory is aligned as that of tensors is that come to an executor: some
 * sums of ONNX Runtime depend on it in the last bit. (Node's small buffers share memory at offsets of any kind.)
 */
export function joinAligned(pieces: readonly Uint8Array[]): Buffer {
  let bytes = 0;
  for (const piece of pieces) bytes += piece.byteLength;
  const joined = Buffer.allocUnsafeSlow(bytes);
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.byteLength;
  }
  return joined;
}
