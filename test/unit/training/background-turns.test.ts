import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CoreTokens, type TokenUser } from '../../../src/batching/core-tokens.ts';
import { BackgroundTurns } from '../../../src/training/background-turns.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** A model that has so many runs to make, one after the other, 10 ms each. */
class Runs implements TokenUser {
  spentMs = 0;
  left = 0;
  #running = false;
  readonly #threads: number;
  readonly #tokens: CoreTokens;
  readonly #clock: FakeClock;

  constructor(tokens: CoreTokens, clock: FakeClock, threads: number) {
    this.#tokens = tokens;
    this.#clock = clock;
    this.#threads = threads;
  }

  add(runs: number): void {
    this.left += runs;
    this.#tokens.request(this);
  }

  tokensWanted(): number {
    return this.left > 0 && !this.#running ? this.#threads : 0;
  }

  start(tokens: number): void {
    this.#running = true;
    this.left--;
    this.#clock.setTimer(10, () => {
      this.#running = false;
      this.#tokens.giveBack(this, tokens, 10);
    });
  }
}

/** Trains without end in steps of 1 ms; how many were made. */
function train(turns: BackgroundTurns, clock: FakeClock): { steps: number } {
  const training = { steps: 0 };
  const next = async (): Promise<void> => {
    const done = await turns.turn();
    clock.setTimer(1, () => {
      training.steps++;
      done();
      void next();
    });
  };
  void next();
  return training;
}

function setUp(cores: number, threads: number) {
  const clock = new FakeClock();
  const tokens = new CoreTokens(cores, clock);
  return { clock, tokens, model: new Runs(tokens, clock, threads), turns: new BackgroundTurns(tokens, clock) };
}

describe('background turns', () => {
  it('come one after the other when nobody else has work', async () => {
    const { clock, turns, tokens } = setUp(1, 1);
    const training = train(turns, clock);
    await clock.advance(20);
    assert.ok(training.steps >= 18, `${training.steps}`);
    assert.ok(tokens.free <= 1);
  });

  it('do not come while a batch could be started, however little compute the training has had', async () => {
    const { clock, turns, model } = setUp(1, 1);
    model.add(5);
    const training = train(turns, clock);
    await clock.advance(49);
    assert.equal(training.steps, 0);
    await clock.advance(11);
    assert.ok(training.steps >= 4, `${training.steps}`);
  });

  it('leave the event loop alone every other millisecond while there are batches, and not long after the last', async () => {
    const { clock, turns, model } = setUp(2, 1);
    const training = train(turns, clock);
    await clock.advance(20);
    model.add(20);
    const before = training.steps;
    await clock.advance(200);
    const beside = training.steps - before;
    assert.ok(beside >= 90 && beside <= 110, `${beside} steps beside the batches`);
    await clock.advance(200);
    assert.ok(training.steps - before - beside >= 140, `${training.steps - before - beside} steps after them`);
  });

  it('end within one step when a batch arrives, also one that needs every core', async () => {
    const { clock, turns, model } = setUp(2, 2);
    const training = train(turns, clock);
    await clock.advance(10);
    const before = training.steps;
    model.add(1);
    await clock.advance(2);
    assert.equal(model.left, 0);
    assert.ok(training.steps <= before + 1, `${training.steps - before} steps`);
    await clock.advance(20);
    assert.ok(training.steps > before + 5);
  });

  it('leave the order among models as it was', async () => {
    const { clock, tokens, turns } = setUp(1, 1);
    const training = train(turns, clock);
    await clock.advance(1000);
    // A model that comes late is not behind because of what the training has had.
    const [first, second] = [new Runs(tokens, clock, 1), new Runs(tokens, clock, 1)];
    first.add(10);
    second.add(10);
    await clock.advance(102);
    assert.ok(Math.abs(first.left - second.left) <= 1, `${first.left}, ${second.left}`);
    assert.ok(training.steps > 900);
  });
});
