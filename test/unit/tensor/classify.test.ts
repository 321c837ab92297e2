import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ShoalError } from '../../../src/errors.ts';
import { classify, type Ranked } from '../../../src/tensor/classify.ts';
import { decodeStrings, elementCount, type Tensor } from '../../../src/tensor/tensor.ts';
import { makeTensor } from '../../../src/tensor/typed.ts';

/** Runs a classification through; how often it paused, and what came out. */
function run(tensor: Tensor, ranked: Partial<Ranked>): { pauses: number; shape: readonly number[]; texts: string[] } {
  const work = classify(tensor, { name: 'y', batchAxis: 0, classes: 2, labels: [], ...ranked });
  for (let pauses = 0; ; pauses++) {
    const next = work.next();
    if (!next.done) continue;
    const { datatype, shape, bytes } = next.value;
    assert.equal(datatype, 'BYTES');
    return { pauses, shape, texts: decodeStrings(bytes, elementCount(shape)) };
  }
}

const floats = (shape: readonly number[], ...values: number[]): Tensor =>
  makeTensor('FP32', shape, Float32Array.from(values));
const doubles = (...values: number[]): Tensor => makeTensor('FP64', [1, values.length], Float64Array.from(values));

describe('classification', () => {
  it('gives the largest elements of each row, largest first', () => {
    assert.deepEqual(run(floats([1, 4], 1.1, 3.3, 0.5, 2.4), {}), {
      pauses: 0,
      shape: [1, 2],
      texts: ['3.300000:1', '2.400000:3'],
    });
    const { shape, texts } = run(floats([2, 3], 1, 2, 3, 6, 5, 4), { classes: 3 });
    assert.deepEqual(shape, [2, 3]);
    assert.deepEqual(texts, ['3.000000:2', '2.000000:1', '1.000000:0', '6.000000:0', '5.000000:1', '4.000000:2']);
  });

  it('never gives more than there are', () => {
    assert.deepEqual(run(floats([1, 2], 1, 2), { classes: 9 }).shape, [1, 2]);
    assert.deepEqual(run(floats([2], 1, 2), { classes: 2 ** 53 }), {
      pauses: 0,
      shape: [2, 1],
      texts: ['1.000000:0', '2.000000:0'],
    });
  });

  it('counts through all dimensions of a row, before and behind the rows', () => {
    assert.deepEqual(run(floats([1, 2, 2], 1, 9, 3, 8), {}).texts, ['9.000000:1', '8.000000:3']);
    // Two rows as columns: [0, 2, 4] and [1, 3, 5], each of two elements per layer.
    const layers = floats([3, 2, 1], 10, 1, 20, 2, 30, 3);
    assert.deepEqual(run(layers, { batchAxis: 1 }), {
      pauses: 0,
      shape: [2, 2],
      texts: ['30.000000:2', '20.000000:1', '3.000000:2', '2.000000:1'],
    });
    const wide = floats([2, 2, 2], 1, 2, 30, 40, 5, 6, 70, 80);
    assert.deepEqual(run(wide, { batchAxis: 1 }).texts, ['6.000000:3', '5.000000:2', '80.000000:3', '70.000000:2']);
  });

  it('ranks all elements together where there are no rows', () => {
    const ranked = { batchAxis: null, classes: 3 };
    assert.deepEqual(run(floats([2, 2], 1, 4, 3, 2), ranked), {
      pauses: 0,
      shape: [3],
      texts: ['4.000000:1', '3.000000:2', '2.000000:3'],
    });
    assert.deepEqual(run(floats([], 5), ranked), { pauses: 0, shape: [1], texts: ['5.000000:0'] });
  });

  it('keeps the order of equal elements, and puts NaN last', () => {
    const { texts } = run(floats([1, 6], 2, Number.NaN, 2, Number.NEGATIVE_INFINITY, Number.NaN, 3), { classes: 6 });
    assert.deepEqual(texts, ['3.000000:5', '2.000000:0', '2.000000:2', '-inf:3', 'nan:1', 'nan:4']);
    assert.deepEqual(run(floats([1, 3], 0, -0, 0), { classes: 3 }).texts, ['0.000000:0', '-0.000000:1', '0.000000:2']);
  });

  it('writes integers plain, those of 64 bits exactly', () => {
    const one = (tensor: Tensor): string[] => run(tensor, { classes: 3 }).texts;
    assert.deepEqual(one(makeTensor('INT64', [1, 3], BigInt64Array.of(2n ** 63n - 2n, 2n ** 63n - 1n, -(2n ** 63n)))), [
      '9223372036854775807:1',
      '9223372036854775806:0',
      '-9223372036854775808:2',
    ]);
    assert.deepEqual(one(makeTensor('UINT64', [1, 3], BigUint64Array.of(0n, 2n ** 64n - 1n, 2n ** 64n - 2n))), [
      '18446744073709551615:1',
      '18446744073709551614:2',
      '0:0',
    ]);
    assert.deepEqual(one(makeTensor('INT8', [1, 3], Int8Array.of(-128, 127, 0))), ['127:1', '0:2', '-128:0']);
    assert.deepEqual(one(makeTensor('UINT8', [1, 3], Uint8Array.of(1, 255, 3))), ['255:1', '3:2', '1:0']);
    assert.deepEqual(one(makeTensor('UINT32', [1, 3], Uint32Array.of(1, 2 ** 32 - 1, 3))), [
      '4294967295:1',
      '3:2',
      '1:0',
    ]);
  });

  it('writes six decimals as C does', () => {
    // printf("%f") of each.
    for (const [value, text] of [
      [0.1, '0.100000'],
      [-0.0000001, '-0.000000'],
      [0.0078125, '0.007812'],
      [0.0234375, '0.023438'],
      [-0.0390625, '-0.039062'],
      [5.0078125, '5.007812'],
      [1234567.0078125, '1234567.007812'],
      [0.9999999, '1.000000'],
      [1e20, '100000000000000000000.000000'],
      [1e21, '1000000000000000000000.000000'],
      [-1.5e300, `-${BigInt(1.5e300)}.000000`],
      [Number.POSITIVE_INFINITY, 'inf'],
    ] as const) {
      assert.deepEqual(run(doubles(value), { classes: 1 }).texts, [`${text}:0`]);
    }
    assert.deepEqual(run(floats([1, 1], 0.1), { classes: 1 }).texts, ['0.100000:0']);
    assert.deepEqual(run(floats([1, 1], 3.4028234663852886e38), { classes: 1 }).texts, [
      '340282346638528859811704183484516925440.000000:0',
    ]);
  });

  it('adds the label of a class that has one', () => {
    const { texts } = run(floats([1, 4], 1, 2, 3, 4), { classes: 4, labels: ['Katze', '', 'cão: "grande"'] });
    assert.deepEqual(texts, ['4.000000:3', '3.000000:2:cão: "grande"', '2.000000:1', '1.000000:0:Katze']);
  });

  it('refuses what has no order of numbers, or no elements', () => {
    const refused = (tensor: Tensor, text: RegExp): void =>
      assert.throws(
        () => run(tensor, {}),
        (error) => error instanceof ShoalError && error.code === 'INVALID_REQUEST' && text.test(error.message),
      );
    refused(makeTensor('FP16', [1, 1], Uint16Array.of(0)), /output 'y' is FP16, of which there is no classification/);
    refused(makeTensor('BOOL', [1, 1], Uint8Array.of(0)), /is BOOL/);
    refused(makeTensor('BYTES', [1, 1], ['x']), /is BYTES/);
    refused(floats([1, 0]), /of shape \[1,0\] has no elements to classify/);
    refused(floats([0, 4]), /of shape \[0,4\] has no elements/);
  });

  it('agrees with a stable sort at any size and alignment, and pauses when there is much to do', () => {
    let seed = 1;
    const random = (): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed / 2 ** 31;
    };
    for (const [rows, length, classes] of [
      [3, 1, 1],
      [2, 7, 5],
      [5, 100, 100],
      [130, 33, 4],
      [1, 20_000, 10],
      [2, 9000, 9000],
    ] as const) {
      const bytes = Buffer.alloc(rows * length * 4 + 1).subarray(1);
      const values = Array.from({ length: rows * length }, () => Math.round(random() * 50) / 4);
      for (const [i, value] of values.entries()) bytes.writeFloatLE(value, i * 4);
      const { pauses, texts } = run({ datatype: 'FP32', shape: [rows, length], bytes }, { classes });
      const expected = Array.from({ length: rows }, (_, row) =>
        values
          .slice(row * length, (row + 1) * length)
          .map((value, index) => ({ value, index }))
          .sort((a, b) => b.value - a.value)
          .slice(0, classes)
          .map(({ value, index }) => `${value.toFixed(6)}:${index}`),
      ).flat();
      assert.deepEqual(texts, expected);
      if (rows * length > 4096) assert.ok(pauses > 0);
    }
  });
});
