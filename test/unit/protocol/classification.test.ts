import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ShoalError } from '../../../src/errors.ts';
import { checkClassification, classifyOutput } from '../../../src/protocol/classification.ts';
import { runSliced } from '../../../src/protocol/sliced.ts';
import type { Signature, TensorSpec } from '../../../src/tensor/signature.ts';
import { decodeStrings, type Tensor } from '../../../src/tensor/tensor.ts';
import { makeTensor } from '../../../src/tensor/typed.ts';

const spec = (
  name: string,
  datatype: TensorSpec['datatype'],
  shape: readonly number[],
  batchAxis: number | null = 0,
) => ({
  name,
  datatype,
  shape,
  batchAxis,
});
const scores = makeTensor('FP32', [2, 3], Float32Array.of(1, 2, 3, 6, 5, 4));

function model(
  batchAxis: number | null,
  labels: Record<string, string[]> = {},
): { signature: Signature; labels: Map<string, string[]> } {
  const signature = { inputs: [], outputs: [spec('scores', 'FP32', [-1, 3], batchAxis)], batched: batchAxis !== null };
  return { signature, labels: new Map(Object.entries(labels)) };
}

function textsOf(tensor: Tensor | Promise<Tensor>): [readonly number[], string[]] {
  assert.ok(!(tensor instanceof Promise));
  return [
    tensor.shape,
    decodeStrings(
      tensor.bytes,
      tensor.shape.reduce((a, b) => a * b, 1),
    ),
  ];
}

describe('classification of an output', () => {
  it('ranks rows where they are known, with the labels of that output', () => {
    const asked = { name: 'scores', classes: 1 };
    const labelled = model(0, { scores: ['cat', 'dog', 'cow'], other: ['x'] });
    assert.deepEqual(textsOf(runSliced(classifyOutput(labelled, asked, scores))), [
      [2, 1],
      ['3.000000:2:cow', '6.000000:0:cat'],
    ]);
    assert.deepEqual(textsOf(runSliced(classifyOutput(model(0), asked, scores))), [
      [2, 1],
      ['3.000000:2', '6.000000:0'],
    ]);
    assert.deepEqual(textsOf(runSliced(classifyOutput(model(null), asked, scores))), [[1], ['6.000000:3']]);
  });

  it('leaves an output alone for which it is off', () => {
    assert.equal(runSliced(classifyOutput(model(0), { name: 'scores', classes: 0 }, scores)), scores);
  });

  it('refuses beforehand what is known not to work', () => {
    const outputs = [spec('half', 'FP16', [-1, 3]), spec('none', 'FP32', [-1, 0]), spec('fine', 'INT64', [-1, -1])];
    const check = (name: string, classes: number): void =>
      checkClassification(outputs, [
        { name: 'fine', classes: 1 },
        { name, classes },
      ]);
    for (const name of ['half', 'none']) {
      check(name, 0);
      assert.throws(
        () => check(name, 1),
        (error) => error instanceof ShoalError && error.message.includes(`'${name}'`),
      );
    }
    check('fine', 5);
    check('unknown', 5);
  });
});
