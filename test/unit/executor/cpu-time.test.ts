import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cpuTimeMs } from '../../../src/executor/cpu-time.ts';

describe('CPU time of a process', () => {
  it('grows with what it computes', { skip: process.platform !== 'linux' }, () => {
    const before = cpuTimeMs(process.pid)!;
    assert.ok(before > 0);
    const own = process.cpuUsage();
    while (process.cpuUsage(own).user < 60_000);
    const grown = cpuTimeMs(process.pid)! - before;
    assert.ok(grown >= 50 && grown < 1000, `${grown} ms`);
  });

  it('is unknown of a process that is not there', () => {
    assert.equal(cpuTimeMs(undefined), undefined);
    assert.equal(cpuTimeMs(2 ** 22 + 1), undefined);
  });
});
