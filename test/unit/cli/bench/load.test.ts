import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RequestFailure, runLoad } from '../../../../src/cli/bench/load.ts';

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

describe('a closed load', () => {
  it('keeps as many requests under way as there are clients', async () => {
    let [underWay, most] = [0, 0];
    const result = await runLoad({ kind: 'closed', clients: 5 }, 100, async () => {
      most = Math.max(most, ++underWay);
      await pause(5);
      underWay--;
      return undefined;
    });
    assert.equal(most, 5);
    assert.equal(underWay, 0);
    assert.ok(result.latency.count >= 10 && result.latency.quantileMs(0) > 3);
    assert.ok(result.elapsedMs >= 99);
    assert.equal(result.times.count, 0);
  });

  it('counts failures by why, and lets others run meanwhile', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const result = await runLoad({ kind: 'closed', clients: 2 }, 50, async (index) => {
      throw index === 0 ? new Error('other') : new RequestFailure('429 QUEUE_FULL');
    });
    clearInterval(timer);
    assert.equal(result.latency.count, 0);
    assert.equal(result.failures.get('other'), 1);
    assert.ok(result.failures.get('429 QUEUE_FULL')! > 10);
    assert.ok(turns > 3, `${turns}`);
  });

  it('ends early when told to', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 20);
    const result = await runLoad(
      { kind: 'closed', clients: 2 },
      60_000,
      () => pause(1).then(() => undefined),
      controller.signal,
    );
    assert.ok(result.elapsedMs < 30_000);
  });
});

describe('an open load', () => {
  it('sends at its rate whatever has been answered', async () => {
    for (const arrivals of ['constant', 'poisson'] as const) {
      const answers: (() => void)[] = [];
      const loading = runLoad({ kind: 'open', rate: 200, arrivals, most: 1000 }, 300, async () => {
        await new Promise<void>((resolve) => answers.push(resolve));
        return undefined;
      });
      // Nothing is answered before all have been sent.
      await pause(400);
      const sent = answers.length;
      for (const answer of answers) answer();
      const { latency, unsent } = await loading;
      assert.equal(latency.count, sent);
      assert.equal(unsent, 0);
      if (arrivals === 'constant') assert.equal(sent, 60);
      else assert.ok(sent > 30 && sent < 100, `${sent}`);
    }
  });

  it('counts latency from the moment a request was to be sent, and tells what was never sent', async () => {
    const result = await runLoad({ kind: 'open', rate: 1000, arrivals: 'constant', most: 1 }, 200, async () => {
      await pause(20);
      return undefined;
    });
    // One at a time takes 20 ms each: a tenth or less gets through, and the last of them is long overdue.
    assert.ok(result.latency.count <= 12, `${result.latency.count}`);
    assert.equal(result.latency.count + result.unsent, 200);
    assert.ok(result.latency.maxMs > 100, `${result.latency.maxMs}`);
  });
});
