import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../../../src/random.ts';
import {
  backward,
  createHead,
  forward,
  type Head,
  type HeadShape,
  parameterCount,
} from '../../../src/training/head.ts';
import { crossEntropy, type Loss, softmax, squaredError } from '../../../src/training/loss.ts';

const ROWS = 5;

/** The largest distance between the gradient of a loss and its finite differences, over all parameters. */
function gradientError(shape: HeadShape, lossOf: (outputs: Float64Array) => Loss): number {
  const random = seededRandom(7);
  const rows = Float64Array.from({ length: ROWS * shape.features }, () => 2 * random() - 1);
  const head = createHead(shape, random);
  for (const { bias } of head.layers) for (let i = 0; i < bias.length; i++) bias[i] = random() - 0.5;
  const gradient = new Float64Array(head.parameters.length);
  const given = forward(head, rows, ROWS);
  backward(head, rows, ROWS, given, lossOf(given.at(-1)!).gradient, gradient);

  const lossAt = (at: Head): number => lossOf(forward(at, rows, ROWS).at(-1)!).value;
  const delta = 1e-6;
  let worst = 0;
  for (let i = 0; i < gradient.length; i++) {
    const before = head.parameters[i]!;
    head.parameters[i] = before + delta;
    const above = lossAt(head);
    head.parameters[i] = before - delta;
    const below = lossAt(head);
    head.parameters[i] = before;
    worst = Math.max(worst, Math.abs((above - below) / (2 * delta) - gradient[i]!));
  }
  assert.ok(
    gradient.some((value) => Math.abs(value) > 1e-3),
    'a gradient that vanishes proves nothing',
  );
  return worst;
}

describe('the gradient of a head is what finite differences say', () => {
  const targets = Float64Array.from({ length: ROWS * 3 }, (_, i) => Math.sin(i));
  const losses: Record<string, (outputs: Float64Array) => Loss> = {
    'squared error': (outputs) => squaredError(outputs, targets),
    'cross-entropy': (outputs) => crossEntropy(outputs, [0, 2, 1, 1, 0], 3),
  };
  for (const [loss, lossOf] of Object.entries(losses)) {
    for (const hidden of [0, 6]) {
      for (const activation of ['relu', 'tanh'] as const) {
        for (const bias of [true, false]) {
          it(`${loss}, ${hidden} hidden, ${activation}, ${bias ? 'with' : 'without'} constants`, () => {
            const worst = gradientError({ features: 4, outputs: 3, hidden, activation, bias }, lossOf);
            assert.ok(worst < 1e-8, `${worst}`);
          });
        }
      }
    }
  }
});

describe('a head', () => {
  it('counts what it learns', () => {
    const shape = { features: 4, outputs: 3, activation: 'relu', bias: true } as const;
    assert.equal(parameterCount({ ...shape, hidden: 0 }), 4 * 3 + 3);
    assert.equal(parameterCount({ ...shape, hidden: 5 }), 4 * 5 + 5 + 5 * 3 + 3);
    assert.equal(parameterCount({ ...shape, hidden: 5, bias: false }), 4 * 5 + 5 * 3);
  });

  it('starts the same from the same seed, and otherwise not', () => {
    const shape = { features: 4, outputs: 3, hidden: 5, activation: 'relu', bias: true } as const;
    const start = (seed: number): Float64Array => createHead(shape, seededRandom(seed)).parameters;
    assert.deepEqual(start(3), start(3));
    assert.notDeepEqual(start(3), start(4));
  });
});

describe('losses', () => {
  it('softmax does not overflow and adds up to one', () => {
    const [a, b, c] = softmax(Float64Array.of(1000, 1001, -1000), 3);
    assert.ok(Math.abs(a! + b! + c! - 1) < 1e-12);
    assert.ok(Math.abs(b! / a! - Math.E) < 1e-9);
    assert.equal(c, 0);
  });

  it('a class whose probability has rounded to nothing costs much, not infinitely much', () => {
    const { value } = crossEntropy(Float64Array.of(2000, -2000), [1], 2);
    assert.ok(Number.isFinite(value) && value > 700, `${value}`);
  });

  it('the squared error is the mean over rows and outputs', () => {
    assert.equal(squaredError(Float64Array.of(1, 2, 3, 4), [0, 0, 3, 2]).value, (1 + 4 + 0 + 4) / 4);
  });
});
