import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PoisonList } from '../../../src/batching/poison.ts';
import { rowsOf, submissionOf } from '../../support/make-request.ts';

const inputs = (...values: number[]) => submissionOf(rowsOf(values)).inputs;

describe('poison list', () => {
  it('knows inputs by their shapes and bytes', () => {
    const list = new PoisonList();
    assert.ok(!list.has(inputs(1, 2)));
    list.add(inputs(1, 2));
    assert.ok(list.has(inputs(1, 2)));
    assert.ok(!list.has(inputs(1, 3)));
    assert.ok(!list.has(inputs(1)));
    assert.ok(!list.has(submissionOf(rowsOf([1], [2])).inputs));
  });

  it('forgets the oldest after a thousand or so', () => {
    const list = new PoisonList();
    for (let i = 0; i <= 1024; i++) list.add(inputs(i));
    assert.ok(!list.has(inputs(0)));
    assert.ok(list.has(inputs(1)));
    assert.ok(list.has(inputs(1024)));
  });
});
