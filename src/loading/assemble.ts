import { invalid } from '../errors.ts';
import { SLICE_BYTES } from '../tensor/json-text.ts';
import { RawTensorReader } from '../tensor/raw-tensor.ts';
import { asBuffer, elementCount, formatShape, type Tensor } from '../tensor/tensor.ts';
import { tensorOfBytes, type WantedTensor } from './tensor-of-bytes.ts';

/**
 * A tensor with a row of each body. Pauses now and then.
 *
 * @param wanted what each row is to be.
 * @throws {ShoalError} INVALID_REQUEST as {@link tensorOfBytes}, and when rows have different shapes.
 */
export function* stackOfBodies(bodies: readonly Buffer[], wanted: WantedTensor): Generator<void, Tensor, void> {
  const rows: Tensor[] = [];
  for (const [i, body] of bodies.entries()) {
    const row = yield* tensorOfBytes(body, { ...wanted, what: `row ${i} of ${wanted.what}` });
    const shape = formatShape(row.shape);
    const first = formatShape((rows[0] ?? row).shape);
    if (shape !== first) throw invalid(`row ${i} of ${wanted.what} has shape ${shape}, the ones before have ${first}`);
    rows.push(row);
  }
  const [only] = rows;
  const shape = [rows.length, ...only!.shape];
  if (rows.length === 1) return { ...only!, shape };
  return { datatype: wanted.datatype, shape, bytes: yield* joined(rows.map(({ bytes }) => bytes)) };
}

/**
 * A tensor of BYTES, some of whose elements come from elsewhere. Pauses now and then.
 *
 * @param tensor in which these elements are empty.
 * @param indices of the elements, in ascending order; there is a body for each.
 * @param isText whether they have to be texts that ONNX Runtime can take.
 * @throws {ShoalError} INVALID_REQUEST for bodies that have to be texts and are none.
 */
export function* filledWithBodies(
  tensor: Tensor,
  indices: readonly number[],
  bodies: readonly Buffer[],
  what: string,
  isText: boolean,
): Generator<void, Tensor, void> {
  const wire = asBuffer(tensor.bytes);
  const count = elementCount(tensor.shape);
  const pieces: Uint8Array[] = [];
  // Of `wire`, what comes before `from` is among the pieces.
  let from = 0;
  let at = 0;
  let next = 0;
  for (let index = 0; index < count && next < indices.length; index++) {
    if (index > 0 && index % SLICE_ELEMENTS === 0) yield;
    const end = at + 4 + wire.readUInt32LE(at);
    if (index === indices[next]) {
      const body = bodies[next++]!;
      const length = Buffer.alloc(4);
      length.writeUInt32LE(body.length);
      pieces.push(wire.subarray(from, at), length, body);
      from = end;
    }
    at = end;
  }
  pieces.push(wire.subarray(from));
  const bytes = yield* joined(pieces);
  const reader = new RawTensorReader(bytes, 'BYTES', { what, shape: tensor.shape, count }, 'the remote body', isText);
  while (!reader.advance()) yield;
  return reader.finish();
}

/** Going over so many elements takes well below a millisecond. */
const SLICE_ELEMENTS = 8192;

function* joined(pieces: readonly Uint8Array[]): Generator<void, Buffer, void> {
  let size = 0;
  for (const { length } of pieces) size += length;
  const out = Buffer.allocUnsafeSlow(size);
  let at = 0;
  let paused = 0;
  for (const piece of pieces) {
    for (let from = 0; from < piece.length; from += SLICE_BYTES) {
      const slice = piece.subarray(from, from + SLICE_BYTES);
      out.set(slice, at);
      at += slice.length;
      if (at - paused < SLICE_BYTES) continue;
      paused = at;
      yield;
    }
  }
  return out;
}
