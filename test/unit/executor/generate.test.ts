import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { generateRow, RECIPES } from '../../../src/executor/generate.ts';
import type { DeclaredTensor } from '../../../src/executor/session.ts';
import { DATATYPE_NAMES, DATATYPES, type Datatype, elementCount } from '../../../src/tensor/tensor.ts';
import { readTensor } from '../../../src/tensor/typed.ts';

function declared(datatype: Datatype, dims: readonly (number | string)[]): DeclaredTensor {
  return { name: 'x', datatype, dims };
}

const recipe = { size: 5, integers: 10 };

describe('generated inputs', () => {
  it('have one row, fixed sizes as declared, and the recipe’s size everywhere else', () => {
    const { shape, bytes } = generateRow(declared('FP32', ['N', 3, '', 'width']), 0, recipe, 0, 1);
    assert.deepEqual(shape, [1, 3, 5, 5]);
    assert.equal(bytes.byteLength, 4 * 75);
    assert.deepEqual(generateRow(declared('FP32', [2, '', 4]), 1, recipe, 0, 1).shape, [2, 1, 4]);
    assert.deepEqual(generateRow(declared('FP32', ['N', 4]), null, recipe, 0, 1).shape, [5, 4]);
    assert.deepEqual(generateRow(declared('INT64', []), null, recipe, 0, 1).shape, []);
  });

  it('are the same for equal rows and different for others', () => {
    for (const datatype of DATATYPE_NAMES) {
      const row = (k: number) => Buffer.from(generateRow(declared(datatype, ['N', 8]), 0, recipe, k, 1).bytes);
      assert.deepEqual(row(1), row(1), datatype);
      assert.notDeepEqual(row(0), row(1), datatype);
      assert.notDeepEqual(row(1), row(2), datatype);
    }
  });

  it('are numbers between ± the scale, and integers below the bound that the recipe sets', () => {
    for (const datatype of DATATYPE_NAMES) {
      const tensor = generateRow(declared(datatype, ['N', 200]), 0, recipe, 3, 100);
      assert.equal(elementCount(tensor.shape), 200);
      if (datatype === 'BYTES' || datatype === 'FP16') continue;
      const values = Array.from(readTensor(tensor), Number);
      const real = datatype === 'FP32' || datatype === 'FP64';
      const [least, most] = [Math.min(...values), Math.max(...values)];
      if (real) assert.ok(least >= -100 && least < -50 && most <= 100 && most > 50, `${datatype}: ${least} to ${most}`);
      else if (datatype === 'BOOL') assert.deepEqual([least, most], [0, 1]);
      else assert.deepEqual([least, most], [0, 9], datatype);
    }
  });

  it('have half-precision values that are near what was drawn', () => {
    const draw = (datatype: Datatype) => readTensor(generateRow(declared(datatype, ['N', 64]), 0, recipe, 1, 8));
    const singles = draw('FP32') as Float32Array;
    const halves = draw('FP16') as Uint16Array;
    for (const [i, bits] of halves.entries()) {
      const sign = bits & 0x8000 ? -1 : 1;
      const exponent = (bits >> 10) & 31;
      // Numbers too small for a normal half are given as zero.
      const value = exponent === 0 ? 0 : sign * (1 + (bits & 0x3ff) / 1024) * 2 ** (exponent - 15);
      assert.ok(
        Math.abs(value - singles[i]!) <= Math.max(2 ** -14, Math.abs(singles[i]!) / 512),
        `${value}, ${singles[i]}`,
      );
    }
  });

  it('are strings of letters and blanks', () => {
    const words = readTensor(generateRow(declared('BYTES', ['N', 4]), 0, recipe, 0, 1)) as readonly string[];
    assert.equal(words.length, 4);
    for (const word of words) assert.match(word, /^[a-z ]{3,42}$/);
  });

  it('have sizes and bounds to fall back on', () => {
    assert.ok(RECIPES.length > 1);
    assert.ok(RECIPES.some(({ integers }) => integers === 1));
    assert.ok(RECIPES.some(({ size }) => size === 1));
    for (const datatype of DATATYPE_NAMES) {
      for (const one of RECIPES) {
        const { bytes } = generateRow(declared(datatype, ['N', 2]), 0, one, 0, 1);
        if (datatype !== 'BYTES') assert.equal(bytes.byteLength, 2 * DATATYPES[datatype].size);
      }
    }
  });
});
