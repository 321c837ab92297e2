import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { rowOf, stackRows } from '../../../src/tensor/rows.ts';
import { makeTensor, readTensor } from '../../../src/tensor/typed.ts';

describe('stacked rows', () => {
  it('lie one after the other along the first axis', () => {
    const rows = [1, 2, 3].map((v) => [makeTensor('INT8', [1, 2], Int8Array.of(v, -v))]);
    const [stacked] = stackRows(rows, [0]);
    assert.deepEqual(stacked!.shape, [3, 2]);
    assert.deepEqual([...Buffer.from(stacked!.bytes)], [1, 255, 2, 254, 3, 253]);
  });

  it('take turns along an inner axis', () => {
    const rows = [1, 5].map((v) => [makeTensor('UINT8', [2, 1, 2], Uint8Array.of(v, v + 1, v + 2, v + 3))]);
    const [stacked] = stackRows(rows, [1]);
    assert.deepEqual(stacked!.shape, [2, 2, 2]);
    assert.deepEqual([...stacked!.bytes], [1, 2, 5, 6, 3, 4, 7, 8]);
  });

  it('share inputs that have no rows', () => {
    const rate = makeTensor('INT64', [], BigInt64Array.of(16_000n));
    const row = (v: number) => [makeTensor('UINT8', [1], Uint8Array.of(v)), rate];
    const [x, shared] = stackRows([row(1), row(2)], [0, null]);
    assert.deepEqual([...x!.bytes], [1, 2]);
    assert.equal(shared, rate);
  });

  it('of a single row are that row', () => {
    const row = [makeTensor('UINT8', [1], Uint8Array.of(1))];
    assert.equal(stackRows([row], [0])[0], row[0]);
  });

  it('of strings take turns along an inner axis, too', () => {
    const rows = ['a', 'long'].map((v) => [makeTensor('BYTES', [2, 1], [`${v}0`, `${v}1`])]);
    const [stacked] = stackRows(rows, [1]);
    assert.deepEqual(readTensor(stacked!), ['a0', 'long0', 'a1', 'long1']);
    assert.deepEqual(readTensor(rowOf(stacked!, 1, 1)), ['long0', 'long1']);
  });

  it('own aligned memory', () => {
    for (const size of [1, 3, 5, 100]) {
      const rows = [1, 2].map((v) => [makeTensor('UINT8', [1, size], new Uint8Array(size).fill(v))]);
      const [stacked] = stackRows(rows, [0]);
      assert.equal(stacked!.bytes.byteOffset % 16, 0);
      assert.equal(rowOf(stacked!, 0, 1).bytes.byteOffset % 16, 0);
      assert.deepEqual([...rowOf(stacked!, 0, 1).bytes], new Array(size).fill(2));
    }
  });
});
