import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../../../src/random.ts';
import { createHead, forward, type Head } from '../../../src/training/head.ts';
import { baseWithHead, headModel } from '../../../src/training/head-model.ts';
import { softmax } from '../../../src/training/loss.ts';
import { mlp } from '../../support/models/mlp.ts';
import { runModel } from '../../support/run-model.ts';

const ROWS = 6;
const FEATURES = 4;
const OUTPUTS = 3;

function madeHead(hidden: number, bias: boolean): Head {
  const random = seededRandom(3);
  const head = createHead({ features: FEATURES, outputs: OUTPUTS, hidden, activation: 'tanh', bias }, random);
  for (let i = 0; i < head.parameters.length; i++) head.parameters[i]! += random() - 0.5;
  return head;
}

const rows = Float32Array.from({ length: ROWS * FEATURES }, (_, i) => Math.cos(i));
const input = { type: 'float32', dims: [ROWS, FEATURES], data: rows };

async function run(model: Uint8Array, name: string): Promise<Map<string, Float32Array>> {
  const { loadError, runs } = await runModel(model, [{ [name]: input }]);
  assert.equal(loadError, undefined);
  const [outcome] = runs;
  assert.ok(outcome !== undefined && 'outputs' in outcome, JSON.stringify(outcome));
  const entries = [...outcome.outputs].map(([key, { data }]) => [key, data as Float32Array] as const);
  return new Map(entries);
}

function assertClose(actual: Float32Array, expected: Float64Array): void {
  assert.equal(actual.length, expected.length);
  for (const [i, value] of expected.entries()) assert.ok(Math.abs(actual[i]! - value) < 1e-5, `${actual[i]}, ${value}`);
}

describe('a head as a model', () => {
  for (const hidden of [0, 5]) {
    for (const bias of [true, false]) {
      for (const classifies of [true, false]) {
        it(`gives what the head gives: ${hidden} hidden, bias ${bias}, ${classifies ? 'classes' : 'targets'}`, async () => {
          const head = madeHead(hidden, bias);
          const outputs = forward(head, rows, ROWS).at(-1)!;
          const answers = await run(headModel(head, { features: 'f', output: 'y', classifies }), 'f');
          assertClose(answers.get('y')!, classifies ? softmax(outputs, OUTPUTS) : outputs);
        });
      }
    }
  }
});

describe('a base with a head', () => {
  const base = mlp([FEATURES, 8, FEATURES]);

  it('gives the outputs of both', async () => {
    const head = madeHead(5, true);
    const alone = (await run(base, 'x')).get('y')!;
    const answers = await run(baseWithHead(base, head, { features: 'y', output: 'class', classifies: true }), 'x');
    assert.deepEqual(answers.get('y'), alone);
    assertClose(answers.get('class')!, softmax(forward(head, alone, ROWS).at(-1)!, OUTPUTS));
  });

  it('refuses a name that the base has', () => {
    const options = { features: 'y', output: 'sums0', classifies: true };
    assert.throws(() => baseWithHead(base, madeHead(0, true), options), {
      code: 'INVALID_REQUEST',
      message: /the base model has something called 'sums0' already/,
    });
    const once = baseWithHead(base, madeHead(0, true), { ...options, output: 'class' });
    assert.throws(() => baseWithHead(once, madeHead(0, true), { ...options, output: 'other' }), /shoal_head_/);
  });
});
