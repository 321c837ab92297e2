import { type Random, seededRandom } from '../random.ts';
import { numberToHalf } from '../tensor/float16.ts';
import { DATATYPES, elementCount, encodeStrings, type Tensor } from '../tensor/tensor.ts';
import type { DeclaredTensor } from './session.ts';

/** Inputs made up for probing a model: seeded, so that a probe finds the same at every start. */

/** How values and sizes are chosen; a model that refuses one choice may take another. */
export interface Recipe {
  /** Size of every dimension that is neither fixed nor the batch axis. */
  readonly size: number;
  /** Integers are drawn from 0 up to this, excluded: they are often indices into something. */
  readonly integers: number;
  /** Whether floating-point values are such integers, too; default: they are any between ± the scale. */
  readonly whole?: boolean;
}

/** Tried in turn until the model runs. 576 and 288 are audio frames, multiples of 32 are image sides. */
export const RECIPES: readonly Recipe[] = [
  { size: 16, integers: 10 },
  { size: 16, integers: 2 },
  { size: 64, integers: 2 },
  { size: 1, integers: 1 },
  { size: 576, integers: 2 },
  { size: 288, integers: 2 },
  { size: 224, integers: 10 },
  // Numbers that are taken for indices.
  { size: 16, integers: 10, whole: true },
  { size: 16, integers: 2, whole: true },
];

/**
 * Scales of rows A, B and C, tried in turn until all run: of very different scale, so that what one of them does to
 * another is seen; then nearer to one another, for models that refuse large values.
 */
export const SCALES: readonly (readonly [number, number, number])[] = [
  [1, 1000, 0.01],
  [1, 30, 0.1],
  [1, 2, 0.5],
];

/**
 * One made-up row of an input.
 *
 * @param row number of the row; equal numbers give equal values.
 * @param scale factor of floating-point values; rows of very different scale show whether rows influence each other.
 * @returns a tensor whose batch axis (if any) has size 1; it owns its memory.
 */
export function generateRow(
  input: DeclaredTensor,
  batchAxis: number | null,
  recipe: Recipe,
  row: number,
  scale: number,
): Tensor {
  const shape = input.dims.map((dim, i) => (i === batchAxis ? 1 : typeof dim === 'number' ? dim : recipe.size));
  const count = elementCount(shape);
  const { datatype, name } = input;
  // Equal inputs would hide what a model makes of their difference, and another choice shall bring other values.
  const random = seededRandom(row * 7919 + hash(name) + (recipe.whole === true ? 1 : 0));
  if (datatype === 'BYTES') {
    const words = Array.from({ length: count }, () => generateWords(random));
    return { datatype, shape, bytes: encodeStrings(words) };
  }
  const bytes = Buffer.alloc(count * DATATYPES[datatype].size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < count; i++) {
    const u = random();
    const integer = Math.floor(u * recipe.integers);
    const real = recipe.whole === true ? integer : (2 * u - 1) * scale;
    switch (datatype) {
      case 'FP32':
        view.setFloat32(4 * i, real, true);
        break;
      case 'FP64':
        view.setFloat64(8 * i, real, true);
        break;
      case 'FP16':
        view.setUint16(2 * i, numberToHalf(real), true);
        break;
      case 'BOOL':
        view.setUint8(i, u < 0.5 ? 0 : 1);
        break;
      case 'UINT8':
      case 'INT8':
        view.setUint8(i, integer);
        break;
      case 'UINT16':
      case 'INT16':
        view.setUint16(2 * i, integer, true);
        break;
      case 'UINT32':
      case 'INT32':
        view.setUint32(4 * i, integer, true);
        break;
      default:
        view.setBigUint64(8 * i, BigInt(integer), true);
    }
  }
  return { datatype, shape, bytes };
}

/** A number that tells names apart (FNV-1a over UTF-16 units). */
function hash(name: string): number {
  let mixed = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) mixed = Math.imul(mixed ^ name.charCodeAt(i), 0x01000193);
  return mixed >>> 0;
}

function generateWords(random: Random): string {
  const length = 3 + Math.floor(random() * 40);
  let text = '';
  for (let i = 0; i < length; i++) text += random() < 0.2 ? ' ' : String.fromCharCode(97 + Math.floor(random() * 26));
  return text;
}
