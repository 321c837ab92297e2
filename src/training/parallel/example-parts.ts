import type { HeadShape } from '../head.ts';
import type { Examples } from '../training-plan.ts';
import { type FrameKind, type Setup, textBody } from './frame.ts';

/** The frames that hand examples over: kinds and bodies. */
export type ExampleParts = readonly (readonly [FrameKind, Uint8Array])[];

/** Bytes of a frame; a multiple of 8. */
const PART_BYTES = 2 ** 24;

/**
 * The frames by which a worker is set up. The features are not copied: they must stay as they are until every worker
 * is ready.
 */
export function exampleParts(examples: Examples, shape: HeadShape, microShards: number): ExampleParts {
  const { features, classes, targets } = examples;
  const setup: Setup = {
    shape,
    count: features.length / shape.features,
    single: features instanceof Float32Array,
    labels: classes === undefined ? 'targets' : 'classes',
    microShards,
  };
  const labels = classes === undefined ? Float64Array.from(targets!) : Uint32Array.from(classes);
  return [
    ['setup', textBody(JSON.stringify(setup))],
    ...partsOf(features).map((body) => ['features', body] as const),
    ...partsOf(labels).map((body) => ['labels', body] as const),
  ];
}

function partsOf(array: Float32Array | Float64Array | Uint32Array): Uint8Array[] {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += PART_BYTES) {
    const part = bytes.subarray(at, at + PART_BYTES);
    parts.push(part.length % 8 === 0 ? part : padded(part));
  }
  return parts;
}

function padded(part: Uint8Array): Uint8Array {
  const result = new Uint8Array(part.length + (-part.length & 7));
  result.set(part);
  return result;
}
