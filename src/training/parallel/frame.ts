import type { HeadShape } from '../head.ts';

/**
 * The wire format between a training and its workers.
 *
 * A frame is a header of 16 bytes and a body. The header is little-endian: `u32` magic, `u32` kind, `f64` bytes of the
 * body, a multiple of 8, so that numbers can be read where they lie. Those are as the machine has them, for both ends
 * are on one machine.
 *
 * | kind | from | body |
 * | --- | --- | --- |
 * | `setup` | training | a {@link Setup} as JSON, padded with blanks |
 * | `features` | training | the next part of the features |
 * | `labels` | training | the next part of the classes (`u32`) or targets (`f64`) |
 * | `ready` | worker | nothing: it has the examples |
 * | `step` | training | `f64`: rows of the whole step, rows of this shard, the parameters; `u32`: the numbers of the rows |
 * | `gradient` | worker | `f64`: the {@link GRADIENT_HEAD} numbers, then the gradient of a micro-shard |
 * | `failed` | worker | a message, padded with blanks |
 */
export const FRAME_KINDS = { setup: 1, features: 2, labels: 3, ready: 4, step: 5, gradient: 6, failed: 7 } as const;
export type FrameKind = keyof typeof FRAME_KINDS;

/** Numbers before a micro-shard's gradient: when it was begun and ended, its loss, rows right, micro-shards to come. */
export const GRADIENT_HEAD = 5;
/** Numbers before the parameters of a step. */
export const STEP_HEAD = 2;

export const HEADER_BYTES = 16;
const MAGIC = 0x4e525453;
/** Nothing legal comes near it; a larger number means that the stream is broken. */
const MAX_BODY_BYTES = 2 ** 31;

const KIND_NAMES: Readonly<Record<number, FrameKind>> = Object.fromEntries(
  Object.entries(FRAME_KINDS).map(([name, code]) => [code, name as FrameKind]),
);

/** What a worker is told first. */
export interface Setup {
  readonly shape: HeadShape;
  /** Rows of the examples. */
  readonly count: number;
  /** Whether features come as 32-bit numbers, as they were given. */
  readonly single: boolean;
  readonly labels: 'classes' | 'targets';
  /** Parts that a shard is worked through in, each of which sends its gradient. */
  readonly microShards: number;
}

/** A stream that does not follow the format. */
export class FrameError extends Error {
  override name = 'FrameError';
}

/** The header of a frame. */
export function frameHeader(kind: FrameKind, bodyBytes: number): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  writeHeader(header, kind, bodyBytes);
  return header;
}

/** Writes a header into the first bytes of `into`. */
export function writeHeader(into: Uint8Array, kind: FrameKind, bodyBytes: number): void {
  const view = new DataView(into.buffer, into.byteOffset, HEADER_BYTES);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, FRAME_KINDS[kind], true);
  view.setFloat64(8, bodyBytes, true);
}

/**
 * Reads a header from the first bytes of `from`.
 *
 * @throws {FrameError} when it is none.
 */
export function readHeader(from: Uint8Array): { readonly kind: FrameKind; readonly bodyBytes: number } {
  const view = new DataView(from.buffer, from.byteOffset, HEADER_BYTES);
  const kind = KIND_NAMES[view.getUint32(4, true)];
  const bodyBytes = view.getFloat64(8, true);
  const fits = bodyBytes >= 0 && bodyBytes <= MAX_BODY_BYTES && bodyBytes % 8 === 0;
  if (view.getUint32(0, true) !== MAGIC || kind === undefined || !fits) {
    throw new FrameError('what came is not a frame header');
  }
  return { kind, bodyBytes };
}

/** A text as a body. */
export function textBody(text: string): Buffer {
  const bytes = Buffer.byteLength(text);
  const body = Buffer.alloc(bytes + (-bytes & 7), ' ');
  body.write(text);
  return body;
}

/** Takes frames out of a stream's chunks; bodies of one size after the other use the same memory. */
export class FrameReader {
  readonly #header: Uint8Array = new Uint8Array(HEADER_BYTES);
  readonly #handle: (kind: FrameKind, body: Uint8Array) => void;
  #kind: FrameKind | undefined;
  #body: Uint8Array = new Uint8Array(0);
  #filled = 0;

  /** @param handle is given each frame; the body is only its own until it returns. */
  constructor(handle: (kind: FrameKind, body: Uint8Array) => void) {
    this.#handle = handle;
  }

  /** @throws {FrameError} when the stream is broken; nothing may be pushed afterwards. */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; ) {
      const into = this.#kind === undefined ? this.#header : this.#body;
      const taken = Math.min(chunk.length - at, into.length - this.#filled);
      into.set(chunk.subarray(at, at + taken), this.#filled);
      this.#filled += taken;
      at += taken;
      if (this.#filled < into.length) return;
      this.#filled = 0;
      if (this.#kind === undefined) {
        const { kind, bodyBytes } = readHeader(this.#header);
        if (this.#body.length !== bodyBytes) this.#body = new Uint8Array(bodyBytes);
        this.#kind = kind;
        if (bodyBytes > 0) continue;
      }
      const kind = this.#kind;
      this.#kind = undefined;
      this.#handle(kind, this.#body);
    }
  }
}
