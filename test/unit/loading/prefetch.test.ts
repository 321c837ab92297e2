import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { prefetch } from '../../../src/loading/prefetch.ts';

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Numbers from 0, with notes on how far they were taken and whether the source was closed. */
function counted(count: number) {
  const notes = { taken: 0, closed: false };
  async function* numbers(): AsyncGenerator<number> {
    try {
      for (let i = 0; i < count; i++) {
        notes.taken++;
        yield i;
      }
    } finally {
      notes.closed = true;
    }
  }
  return { notes, source: numbers() };
}

describe('prefetch', () => {
  it('gives every result once, in order or as a set, whatever the tasks take and the sizes are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 40 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 20 }),
        fc.boolean(),
        async (delays, concurrency, ahead, ordered) => {
          let working = 0;
          let most = 0;
          const task = async (delay: number, _signal: AbortSignal, index: number): Promise<number> => {
            most = Math.max(most, ++working);
            for (let i = 0; i < delay; i++) await new Promise((resolve) => setImmediate(resolve));
            working--;
            return index;
          };
          const results = await collect(prefetch(delays, task, { concurrency, prefetch: ahead, ordered }));
          if (!ordered) results.sort((a, b) => a - b);
          assert.deepEqual(results, [...delays.keys()]);
          assert.ok(most <= concurrency, `${most} at a time`);
        },
      ),
      { numRuns: 60, seed: 7 },
    );
  });

  it('is no further ahead than asked for: a slow taker holds back the source', async () => {
    const { source, notes } = counted(100);
    let delivered = 0;
    for await (const value of prefetch(source, (x) => x, { concurrency: 3, prefetch: 10 })) {
      assert.equal(value, delivered++);
      await sleep(1);
      assert.ok(notes.taken <= delivered + 10, `${notes.taken} taken, ${delivered} delivered`);
    }
    assert.equal(delivered, 100);
  });

  it('overlaps the waiting of tasks', async () => {
    const start = performance.now();
    const results = await collect(prefetch(Array(40).keys(), (x) => sleep(20, x), { concurrency: 20 }));
    assert.equal(results.length, 40);
    // One after the other it would be 800 ms.
    assert.ok(performance.now() - start < 400, `${performance.now() - start} ms`);
  });

  it('in any order, a slow item does not hold up the others', async () => {
    const results = await collect(
      prefetch([30, 1, 1, 1], (ms) => sleep(ms, ms), { concurrency: 2, prefetch: 4, ordered: false }),
    );
    assert.deepEqual(results, [1, 1, 1, 30]);
  });

  it('fails where the task failed, after what came before, and tells the others', async () => {
    const { source, notes } = counted(100);
    const told: number[] = [];
    const got: number[] = [];
    const task = async (x: number, signal: AbortSignal): Promise<number> => {
      if (x === 3) throw new Error('the fourth');
      if (x > 3) {
        await sleep(10_000, undefined, { signal }).catch(() => told.push(x));
      }
      return x;
    };
    await assert.rejects(async () => {
      for await (const x of prefetch(source, task, { concurrency: 6 })) got.push(x);
    }, /the fourth/);
    assert.deepEqual(got, [0, 1, 2]);
    await sleep(5);
    assert.ok(told.length > 0);
    assert.ok(notes.closed);
  });

  it('fails where the source failed, after what came before', async () => {
    async function* source(): AsyncGenerator<number> {
      yield 1;
      yield 2;
      throw new Error('disk gone');
    }
    for (const ordered of [true, false]) {
      const got: number[] = [];
      await assert.rejects(async () => {
        for await (const x of prefetch(source(), (x) => sleep(3, x), { ordered })) got.push(x);
      }, /disk gone/);
      assert.ok(got.length <= 2);
      if (ordered) assert.deepEqual(got, [1, 2]);
    }
  });

  it('a task that throws at once is a failed task', async () => {
    const task = (): number => {
      throw new Error('at once');
    };
    await assert.rejects(collect(prefetch([1], task)), /at once/);
  });

  it('a break ends the source and the tasks under way', async () => {
    const { source, notes } = counted(1000);
    let told = 0;
    const task = async (x: number, signal: AbortSignal): Promise<number> => {
      if (x > 0) await sleep(10_000, undefined, { signal }).catch(() => told++);
      return x;
    };
    for await (const _ of prefetch(source, task, { concurrency: 4 })) break;
    await sleep(5);
    assert.ok(told >= 3, `${told}`);
    assert.ok(notes.closed);
    assert.ok(notes.taken <= 10);
  });

  it('a signal ends it at once, with its reason', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('enough')), 5);
    const never = prefetch([1, 2], () => new Promise<number>(() => {}), { signal: controller.signal });
    await assert.rejects(collect(never), /enough/);
    await assert.rejects(collect(prefetch([1], (x) => x, { signal: controller.signal })), /enough/);
  });

  it('refuses sizes that make no sense', async () => {
    await assert.rejects(collect(prefetch([1], (x) => x, { concurrency: 0 })), /concurrency is 0/);
    await assert.rejects(collect(prefetch([1], (x) => x, { prefetch: 1.5, concurrency: 1 })), /prefetch is 1.5/);
  });
});
