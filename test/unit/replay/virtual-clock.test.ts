import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../../../src/random.ts';
import { VirtualClock } from '../../../src/replay/virtual-clock.ts';

describe('the virtual clock', () => {
  it('has events happen in order of their instants, those of one instant as they were set', () => {
    const clock = new VirtualClock();
    const random = seededRandom(3);
    const expected: [atMs: number, order: number][] = [];
    const seen: [atMs: number, order: number][] = [];
    for (let i = 0; i < 500; i++) {
      const atMs = Math.floor(random() * 50);
      expected.push([atMs, i]);
      clock.setTimer(atMs, () => seen.push([clock.now(), i]));
    }
    expected.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    while (clock.advance());
    assert.deepEqual(seen, expected);
    assert.equal(clock.nextMs, Number.POSITIVE_INFINITY);
  });

  it('does what falls before an instant, not what falls on it, and forgets what was called off', () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    clock.setTimer(1, () => seen.push('before'));
    clock.setTimer(2, () => seen.push('on'));
    clock.setTimer(0.5, () => seen.push('called off')).cancel();
    clock.advanceTo(2);
    assert.deepEqual([seen, clock.now()], [['before'], 2]);
    clock.advance();
    assert.deepEqual(seen, ['before', 'on']);
  });

  it('has a turn come after all of an instant, or as much later as a turn takes', () => {
    const order = (turnMs: number): string[] => {
      const clock = new VirtualClock(turnMs);
      const seen: string[] = [];
      clock.setTimer(1, () => {
        clock.nextTurn(() => seen.push(`turn at ${clock.now()}`));
        seen.push('first');
      });
      clock.setTimer(1, () => seen.push('second'));
      while (clock.advance());
      return seen;
    };
    assert.deepEqual(order(0), ['first', 'second', 'turn at 1']);
    assert.deepEqual(order(0.25), ['first', 'second', 'turn at 1.25']);
  });
});
