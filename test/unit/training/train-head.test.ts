import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { seededRandom, shuffle } from '../../../src/random.ts';
import type { TrainingStep } from '../../../src/training/descent.ts';
import { createHead, forward, type Head } from '../../../src/training/head.ts';
import { addGradient, gather } from '../../../src/training/step.ts';
import { trainHead } from '../../../src/training/train-head.ts';
import { planOf, type TrainHeadOptions } from '../../../src/training/training-plan.ts';

async function train(options: TrainHeadOptions): Promise<{ readonly head: Head; readonly steps: TrainingStep[] }> {
  const steps: TrainingStep[] = [];
  const training = trainHead(options);
  for (;;) {
    const next = await training.next();
    if (next.done === true) return { head: next.value, steps };
    steps.push(next.value);
  }
}

/** Points in three clouds, with the cloud of each. */
function clouds(count: number): { features: Float64Array; classes: Uint8Array; width: number } {
  const random = seededRandom(5);
  const features = new Float64Array(count * 2);
  const classes = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const angle = 2 * Math.PI * ((i % 3) / 3);
    classes[i] = i % 3;
    features.set([Math.cos(angle) + 0.8 * (random() - 0.5), Math.sin(angle) + 0.8 * (random() - 0.5)], 2 * i);
  }
  return { features, classes, width: 2 };
}

const refused = (text: RegExp) => ({ name: 'ShoalError', code: 'INVALID_REQUEST', message: text });

describe('training a head', () => {
  it('finds the matrix that made the targets, 2 by 3, in 100 steps at rate 0.1', async () => {
    const features = Float64Array.of(1, 0, 0, 1, 1, 1, 1, -1);
    const truth = [1, -2, 0.5, 0, 1, 2];
    const targets = Float64Array.from({ length: 4 * 3 }, (_, i) => {
      const [row, j] = [Math.floor(i / 3), i % 3];
      return features[2 * row]! * truth[j]! + features[2 * row + 1]! * truth[3 + j]!;
    });
    const { head, steps } = await train({
      features,
      width: 2,
      targets,
      bias: false,
      optimizer: { kind: 'sgd', rate: 0.1 },
      batchRows: 4,
      epochs: 100,
    });
    assert.equal(steps.length, 100);
    assert.ok(steps.at(-1)!.loss < 1e-3 * steps[0]!.loss, `${steps[0]!.loss} to ${steps.at(-1)!.loss}`);
    for (const [i, value] of head.parameters.entries()) assert.ok(Math.abs(value - truth[i]!) < 0.05, `${value}`);
  });

  for (const optimizer of [
    { kind: 'sgd', rate: 0.5 },
    { kind: 'momentum', rate: 0.1 },
    { kind: 'adam', rate: 0.05 },
  ] as const) {
    it(`tells three clouds apart with ${optimizer.kind}`, async () => {
      const { steps } = await train({ ...clouds(600), optimizer, epochs: 10, heldBack: 0.25 });
      const last = steps.at(-1)!;
      assert.ok(last.heldBack!.accuracy! > 0.97, JSON.stringify(last));
      assert.equal(last.examples, 450 * 10);
    });
  }

  it('needs the hidden layer for the exclusive or', async () => {
    const features = Float64Array.of(0, 0, 0, 1, 1, 0, 1, 1);
    const options = { features, width: 2, classes: [0, 1, 1, 0], batchRows: 4, epochs: 400 } as const;
    const optimizer = { kind: 'adam', rate: 0.05 } as const;
    const without = await train({ ...options, optimizer });
    const within = await train({ ...options, optimizer, hidden: 8, activation: 'tanh' });
    assert.ok(without.steps.at(-1)!.loss > 0.6);
    assert.ok(within.steps.at(-1)!.loss < 0.05);
    const outputs = forward(within.head, features, 4).at(-1)!;
    const answers = [0, 1, 2, 3].map((row) => (outputs[2 * row + 1]! > outputs[2 * row]! ? 1 : 0));
    assert.deepEqual(answers, [0, 1, 1, 0]);
  });

  it('keeps weights smaller with a penalty on them', async () => {
    const norm = ({ head }: { head: Head }): number => Math.hypot(...head.layers[0]!.weights);
    const options = { ...clouds(300), optimizer: { kind: 'adam', rate: 0.05 }, epochs: 20 } as const;
    const [free, held] = [await train(options), await train({ ...options, l2: 0.1 })];
    assert.ok(norm(held) < norm(free) / 3, `${norm(held)}, ${norm(free)} without`);
  });

  it('goes on from a checkpoint as if it had never stopped', async () => {
    for (const kind of ['sgd', 'momentum', 'adam'] as const) {
      const options = { ...clouds(100), optimizer: { kind, rate: 0.05 }, epochs: 3, heldBack: 0.2 } as const;
      const { head, steps } = await train(options);
      const interrupted = trainHead(options);
      let checkpoint: ReturnType<TrainingStep['checkpoint']> | undefined;
      for await (const step of interrupted) {
        checkpoint = step.checkpoint();
        if (step.step === 5) break;
      }
      const resumed = await train({ ...options, resume: checkpoint! });
      assert.equal(resumed.steps[0]!.step, 6);
      assert.equal(resumed.steps.length, steps.length - 5);
      assert.deepEqual(resumed.head.parameters, head.parameters, kind);
    }
  });

  it('stops when what is held back gets no better, and gives the best head', async () => {
    const random = seededRandom(11);
    // Labels without a pattern: all that can be learned is learned by heart.
    const options = {
      features: Float64Array.from({ length: 60 * 20 }, () => random() - 0.5),
      width: 20,
      classes: Uint8Array.from({ length: 60 }, () => Math.floor(random() * 2)),
      hidden: 16,
      optimizer: { kind: 'adam', rate: 0.02 },
      heldBack: 0.5,
      epochs: 500,
      patience: 5,
    } as const;
    const { head, steps } = await train(options);
    const judged = steps.map((step) => step.heldBack?.loss).filter((loss) => loss !== undefined);
    assert.ok(judged.length < 100, `${judged.length} epochs`);
    const best = Math.min(...judged);
    assert.equal(judged.length - 1 - judged.indexOf(best), 5);
    assert.deepEqual(head.parameters, steps.at(-1)!.checkpoint().best!.parameters);
  });

  it('asks for a turn before every step and every slice of a judgement, and counts the time', async () => {
    let turns = 0;
    let ended = 0;
    const turn = async (): Promise<() => void> => {
      assert.equal(ended, turns, 'a turn is asked for before the last one has ended');
      turns++;
      await new Promise((resolve) => setTimeout(resolve, 2));
      return () => {
        ended++;
      };
    };
    const { steps } = await train({ ...clouds(100), batchRows: 20, heldBack: 0.4, epochs: 1, turn });
    assert.equal(turns, 3 + 2);
    assert.equal(ended, turns);
    assert.ok(steps.at(-1)!.waitMs >= 5, `${steps.at(-1)!.waitMs}`);
    assert.ok(steps.at(-1)!.computeMs > 0);
  });

  it('accounts for all of its time, judging included, and for none of its caller', async (t: TestContext) => {
    let nowMs = 1000;
    t.mock.method(performance, 'now', () => nowMs);
    const turn = async (): Promise<() => void> => {
      nowMs += 7;
      return () => {
        nowMs += 3;
      };
    };
    const steps: TrainingStep[] = [];
    for await (const step of trainHead({ ...clouds(100), batchRows: 20, heldBack: 0.4, epochs: 2, turn })) {
      steps.push(step);
      nowMs += 100;
    }
    const { waitMs, computeMs, switchMs } = steps.at(-1)!;
    const turns = 2 * (3 + 2);
    assert.deepEqual({ waitMs, computeMs, switchMs }, { waitMs: 7 * turns, computeMs: 3 * turns, switchMs: 0 });
    assert.equal(steps[0]!.waitMs + steps[0]!.computeMs, 10);
  });

  it('ends when told to', async () => {
    const controller = new AbortController();
    const training = trainHead({ ...clouds(100), signal: controller.signal });
    await training.next();
    controller.abort();
    await assert.rejects(training.next(), { code: 'CANCELLED' });
  });

  it('ends when told to, also while it waits for a turn, and gives that turn back', async () => {
    const controller = new AbortController();
    let give: ((done: () => void) => void) | undefined;
    let given = 0;
    const turn = () =>
      new Promise<() => void>((resolve) => {
        give = resolve;
      });
    const waiting = trainHead({ ...clouds(100), signal: controller.signal, turn }).next();
    controller.abort();
    await assert.rejects(waiting, { code: 'CANCELLED' });
    give!(() => given++);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(given, 1);
  });

  it('makes no more steps than asked for', async () => {
    assert.equal((await train({ ...clouds(100), steps: 7 })).steps.length, 7);
  });

  it('refuses what does not fit, and says what', async () => {
    const { features, classes } = clouds(10);
    const good = { features, classes, width: 2 };
    const bad: [Partial<TrainHeadOptions>, RegExp][] = [
      [{ width: 3 }, /features has 20 numbers, expected at least one row of 3/],
      [{ width: 0 }, /width is 0/],
      [{ classes: [0, 1] }, /classes has 2 entries, expected one for each of 10 rows/],
      [{ classes: Array.from({ length: 10 }, () => 1.5), outputs: 3 }, /the class of row 0 is 1.5/],
      [
        { classes: Array.from({ length: 10 }, () => 3), outputs: 3 },
        /the class of row 0 is 3, expected an integer from 0 to 2/,
      ],
      [{ targets: [1] }, /either classes or targets/],
      [{ features: Float64Array.from(features, (x, i) => (i === 3 ? Number.NaN : x)) }, /feature 1 of row 1 is NaN/],
      [{ heldBack: 1 }, /heldBack is 1/],
      [{ batchRows: 0 }, /batchRows is 0/],
      [{ epochs: 1.5 }, /epochs is 1.5/],
      [{ l2: -1 }, /l2 is -1/],
    ];
    for (const [wrong, text] of bad) await assert.rejects(train({ ...good, ...wrong }), refused(text));
  });

  it('says when it runs away', async () => {
    const optimizer = { kind: 'sgd', rate: 1e200 } as const;
    const options = { features: Float64Array.of(1, 2, 3, 4), width: 2, targets: [1, 2], optimizer, epochs: 50 };
    await assert.rejects(train(options), refused(/not finite|loss is (NaN|Infinity) at step \d+: try a smaller rate/));
  });
});

describe('a step of many products', () => {
  const wide = (turn?: TrainHeadOptions['turn']): TrainHeadOptions => {
    const random = seededRandom(9);
    const [count, width] = [128, 300];
    return {
      features: Float64Array.from({ length: count * width }, () => random() - 0.5),
      width,
      classes: Uint8Array.from({ length: count }, (_, i) => i % 10),
      hidden: 30,
      batchRows: 64,
      epochs: 2,
      heldBack: 0.25,
      ...(turn === undefined ? {} : { turn }),
    };
  };

  it('goes by slices, each with a turn of its own, and comes to the same', async () => {
    let turns = 0;
    let open = 0;
    const turn = async (): Promise<() => void> => {
      turns++;
      open++;
      assert.equal(open, 1, 'one turn at a time');
      return () => {
        open--;
      };
    };
    const { steps } = await train(wide(turn));
    assert.equal(open, 0);
    assert.ok(turns > 10 * steps.length, `${turns} turns for ${steps.length} steps`);

    // One slice per row count of a step: rows alone, their gradients averaged here.
    const plan = planOf(wide());
    assert.equal(plan.sliceRows, 4);
    const { loss } = steps[0]!;
    const head = createHead(plan.shape, seededRandom(plan.seed));
    const order = plan.learned.slice();
    shuffle(order, seededRandom(plan.seed + 1));
    const whole = addGradient(head, gather(wide(), plan.shape, order.subarray(0, 64)), 1, new Float64Array(9340));
    assert.ok(Math.abs(whole.loss - loss) < 1e-12, `${whole.loss}, ${loss}`);
  });

  it('ends when told to in the middle of a step, and leaves no turn behind', async () => {
    const controller = new AbortController();
    let open = 0;
    let turns = 0;
    const turn = async (): Promise<() => void> => {
      if (++turns === 3) controller.abort();
      open++;
      return () => {
        open--;
      };
    };
    await assert.rejects(train({ ...wide(turn), signal: controller.signal }), { code: 'CANCELLED' });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(open, 0);
  });
});
