/** Memory to decode a tensor into, seen as every type that decoders write; only a view the tensor needs is real. */
export interface TensorMemory {
  /** The tensor's own bytes. */
  readonly bytes: Uint8Array;
  /** Where `bytes` begins in the views, in bytes; a multiple of 8. */
  readonly offset: number;
  readonly int8: Int8Array;
  readonly int16: Int16Array;
  readonly int32: Int32Array;
  readonly float32: Float32Array;
  readonly float64: Float64Array;
}

const SLAB_BYTES = 65_536;
// Above this a tensor gets memory of its own: a slab is kept alive by any of its tensors.
const MAX_SHARED_BYTES = 4096;

type Views = Omit<TensorMemory, 'bytes' | 'offset'>;

function viewsOf(buffer: ArrayBuffer): Views {
  return {
    int8: new Int8Array(buffer),
    int16: new Int16Array(buffer),
    int32: new Int32Array(buffer),
    float32: new Float32Array(buffer),
    float64: new Float64Array(buffer),
  };
}

const nothing = new ArrayBuffer(0);
const NO_VIEWS = viewsOf(nothing);
let slab = nothing;
let slabViews = NO_VIEWS;
let slabUsed = SLAB_BYTES;

/**
 * Zeroed memory for a tensor of `byteLength` bytes. Small tensors share slabs, as small Buffers do:
 * making typed arrays costs more than decoding a short vector.
 */
export function allocateTensor(byteLength: number): TensorMemory {
  if (byteLength > MAX_SHARED_BYTES) {
    const buffer = new ArrayBuffer(Math.ceil(byteLength / 8) * 8);
    return { bytes: new Uint8Array(buffer, 0, byteLength), offset: 0, ...viewsOf(buffer) };
  }
  if (slabUsed + byteLength > SLAB_BYTES) {
    slab = new ArrayBuffer(SLAB_BYTES);
    slabViews = viewsOf(slab);
    slabUsed = 0;
  }
  const offset = slabUsed;
  slabUsed += Math.ceil(byteLength / 8) * 8;
  const { int8, int16, int32, float32, float64 } = slabViews;
  return { bytes: new Uint8Array(slab, offset, byteLength), offset, int8, int16, int32, float32, float64 };
}
