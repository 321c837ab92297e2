import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CoreTokens, type TokenUser } from '../../../src/batching/core-tokens.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** A model with work without end, whose runs take `runMs`; `instances` of them at once. */
class Busy implements TokenUser {
  spentMs = 0;
  starts = 0;
  waiting = true;
  readonly #threads: number;
  readonly #runMs: number;
  readonly #instances: number;
  readonly #tokens: CoreTokens;
  readonly #clock: FakeClock;
  #running = 0;

  constructor(tokens: CoreTokens, clock: FakeClock, options: { threads?: number; runMs?: number; instances?: number }) {
    this.#tokens = tokens;
    this.#clock = clock;
    this.#threads = options.threads ?? 1;
    this.#runMs = options.runMs ?? 10;
    this.#instances = options.instances ?? 1;
  }

  tokensWanted(): number {
    return this.waiting && this.#running < this.#instances ? this.#threads : 0;
  }

  start(tokens: number): void {
    this.#running++;
    this.starts++;
    this.#clock.setTimer(this.#runMs, () => {
      this.#running--;
      this.#tokens.giveBack(this, tokens, this.#runMs);
    });
  }

  /** Compute it has had, in core-milliseconds. */
  get used(): number {
    return this.starts * this.#runMs * this.#threads;
  }
}

function setUp(cores: number, ...users: ConstructorParameters<typeof Busy>[2][]) {
  const clock = new FakeClock();
  const tokens = new CoreTokens(cores, clock);
  const busy = users.map((options) => new Busy(tokens, clock, options));
  return { clock, tokens, busy };
}

describe('core tokens', () => {
  it('start what fits after one turn of the event loop, and no more threads than cores', async () => {
    const { clock, tokens, busy } = setUp(2, {}, {}, {});
    for (const user of busy) tokens.request(user);
    assert.equal(tokens.free, 2);
    await clock.settle();
    assert.equal(tokens.free, 0);
    assert.deepEqual(
      busy.map((user) => user.starts),
      [1, 1, 0],
    );
  });

  it('share compute, not runs, between models', async () => {
    const { clock, tokens, busy } = setUp(1, { runMs: 20 }, { runMs: 2 });
    for (const user of busy) tokens.request(user);
    await clock.advance(2000);
    const [dear, cheap] = busy.map((user) => user.used);
    assert.ok(Math.abs(dear! - cheap!) <= 40, `${dear} against ${cheap} core-milliseconds`);
  });

  for (const instances of [1, 2]) {
    it(`share compute between models with ${instances} instance(s) each on two cores`, async () => {
      const runs = [30, 3, 7].map((runMs) => ({ runMs, instances }));
      const { clock, tokens, busy } = setUp(2, ...runs);
      for (const user of busy) tokens.request(user);
      await clock.advance(5000);
      const used = busy.map((user) => user.used);
      const fair = (2 * 5000) / 3;
      for (const one of used) assert.ok(Math.abs(one - fair) < 0.1 * fair, `${used.join(', ')} core-milliseconds`);
    });
  }

  it('do not let narrow models starve a wide one', async () => {
    const { clock, tokens, busy } = setUp(2, { threads: 2, runMs: 10 }, { runMs: 10 }, { runMs: 7 });
    for (const user of busy) tokens.request(user);
    await clock.advance(3000);
    const [wide, first, second] = busy.map((user) => user.used);
    assert.ok(wide! > 0.25 * (wide! + first! + second!), `${wide}, ${first}, ${second} core-milliseconds`);
  });

  it('do not let a wide model starve narrow ones', async () => {
    const { clock, tokens, busy } = setUp(2, { threads: 2, runMs: 30 }, { runMs: 1 });
    for (const user of busy) tokens.request(user);
    await clock.advance(3000);
    const [wide, narrow] = busy.map((user) => user.used);
    assert.ok(narrow! > 0.25 * wide!, `${wide}, ${narrow} core-milliseconds`);
  });

  it('let nobody save up while it has nothing to do', async () => {
    const { clock, tokens, busy } = setUp(1, { runMs: 5 }, { runMs: 5 });
    const [early, late] = busy;
    tokens.request(early!);
    await clock.advance(1000);
    tokens.request(late!);
    const before = early!.starts;
    await clock.advance(100);
    const since = early!.starts - before;
    assert.ok(Math.abs(since - late!.starts) <= 2, `${since} against ${late!.starts} runs`);
  });

  it('forget who has no more work', async () => {
    const { clock, tokens, busy } = setUp(1, {}, {});
    const [first, second] = busy;
    tokens.request(first!);
    tokens.request(second!);
    await clock.settle();
    first!.waiting = false;
    await clock.advance(50);
    assert.equal(first!.starts, 1);
    assert.equal(second!.starts, 5);
  });

  it('start the next batch before giving back returns', async () => {
    const { clock, tokens, busy } = setUp(1, {});
    tokens.request(busy[0]!);
    await clock.settle();
    await clock.advance(10);
    assert.equal(busy[0]!.starts, 2);
    assert.equal(tokens.free, 0);
  });
});
