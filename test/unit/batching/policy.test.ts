import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Decision, decide, type LaneView, type PolicyState } from '../../../src/batching/policy.ts';

const NOW = 1000;

function lane(rows: number, oldestMs: number, hasRetry = false, priority = 0): LaneView {
  return { rows, rowBytes: 4, oldestMs, nextMs: oldestMs, hasRetry, priority };
}

function state(lanes: readonly LaneView[], options: Partial<PolicyState> = {}): PolicyState {
  return {
    nowMs: NOW,
    lanes,
    batched: true,
    maxRows: 8,
    preferredRows: [],
    windowMs: 0,
    idleSinceMs: NOW - 1,
    drain: undefined,
    ...options,
  };
}

function run(laneIndex: number, reason: string, maxRows = 8): Decision {
  return { kind: 'run', lane: laneIndex, maxRows, reason } as Decision;
}

describe('policy', () => {
  const cases: [name: string, PolicyState, Decision][] = [
    ['nothing waits', state([]), { kind: 'nothing' }],
    ['only empty lanes', state([lane(0, 0), lane(0, 5)]), { kind: 'nothing' }],
    ['an idle runner takes what has just arrived', state([lane(1, NOW)]), run(0, 'idle')],
    ['a runner that was busy takes all that waited', state([lane(5, NOW - 10)]), run(0, 'freed')],
    ['rows that came while it became idle', state([lane(5, NOW - 1)]), run(0, 'freed')],
    ['as many rows as fit', state([lane(8, NOW)]), run(0, 'full')],
    ['more rows than fit', state([lane(80, NOW)]), run(0, 'full')],
    [
      'the lane with the most urgent request, however young and small',
      state([lane(9, 980, false, 2), lane(1, 999, false, 1), lane(4, 970, false, 3)]),
      run(1, 'freed'),
    ],
    [
      'among equally urgent ones the lane whose next request is the oldest, not the one with an older, less urgent one',
      state([{ ...lane(2, 900, false, 1), nextMs: 995 }, lane(2, 990, false, 1)]),
      run(1, 'freed'),
    ],
    [
      'a lane whose window is over because of a less urgent request',
      state([{ ...lane(2, 990, false, 1), nextMs: 999 }], { windowMs: 10 }),
      run(0, 'window'),
    ],
    [
      'the lane with the oldest request, however small',
      state([lane(9, 990), lane(1, 980), lane(4, 985)]),
      run(1, 'freed'),
    ],
    ['equally old lanes in their order', state([lane(2, 990), lane(3, 990)]), run(0, 'freed')],
    ['a group that is tried again', state([lane(3, 990, true)]), run(0, 'retry')],
    ['an older lane before a group that is tried again', state([lane(3, 990, true), lane(1, 980)]), run(1, 'freed')],
    ['a model that is not batched', state([lane(3, 990)], { batched: false }), run(0, 'alone', 1)],
    ['a window that is not over', state([lane(3, NOW - 4)], { windowMs: 10 }), { kind: 'wait', untilMs: NOW + 6 }],
    ['a window that is just over', state([lane(3, NOW - 10)], { windowMs: 10 }), run(0, 'window')],
    ['a full batch does not wait for the window', state([lane(8, NOW)], { windowMs: 10 }), run(0, 'full')],
    [
      'a group that is tried again does not wait for it',
      state([lane(3, NOW, true)], { windowMs: 10 }),
      run(0, 'retry'),
    ],
    [
      'a model that is not batched does not wait for it, as nobody may join',
      state([lane(3, NOW)], { windowMs: 10, batched: false }),
      run(0, 'alone', 1),
    ],
    [
      'the lane whose window is over, though another is older in none',
      state([lane(1, NOW - 2), lane(1, NOW - 10)], { windowMs: 10 }),
      run(1, 'window'),
    ],
    [
      'the end of the window that is over first',
      state([lane(1, NOW - 2), lane(1, NOW - 4)], { windowMs: 10 }),
      { kind: 'wait', untilMs: NOW + 6 },
    ],
    ['the largest preferred size that waits', state([lane(6, 990)], { preferredRows: [2, 4] }), run(0, 'full', 4)],
    ['a preferred size, though more would fit', state([lane(8, 990)], { preferredRows: [4] }), run(0, 'full', 4)],
    ['what waits, where no preferred size does', state([lane(3, 990)], { preferredRows: [4, 8] }), run(0, 'freed')],
    [
      'a preferred size does not wait for the window',
      state([lane(5, NOW)], { preferredRows: [4], windowMs: 10 }),
      run(0, 'full', 4),
    ],
    [
      'less than a preferred size waits for it',
      state([lane(3, NOW - 4)], { preferredRows: [4], windowMs: 10 }),
      { kind: 'wait', untilMs: NOW + 6 },
    ],
    [
      'what has come when the window is over, preferred or not',
      state([lane(3, NOW - 10)], { preferredRows: [4], windowMs: 10 }),
      run(0, 'window'),
    ],
    [
      'a group that is tried again is not cut to a preferred size',
      state([lane(5, NOW, true)], { preferredRows: [4] }),
      run(0, 'retry'),
    ],
    [
      'preferred sizes mean nothing to a model that is not batched',
      state([lane(5, NOW)], { preferredRows: [4], batched: false }),
      run(0, 'alone', 1),
    ],
  ];
  for (const [name, given, expected] of cases) {
    it(name, () => assert.deepEqual(decide(given), expected));
  }
});
