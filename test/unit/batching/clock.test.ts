import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { monotonicMs, systemClock } from '../../../src/clock.ts';

describe('system clock', () => {
  it('is the same in all processes of the machine', () => {
    const before = monotonicMs();
    const program = 'const [s, ns] = process.hrtime(); console.log(s * 1e3 + ns / 1e6)';
    const other = Number(execFileSync(process.execPath, ['-e', program], { encoding: 'utf8' }));
    assert.ok(before <= other && other <= monotonicMs());
    assert.ok(systemClock.now() >= other);
  });

  it('fires timers after their delay, at once when it is over, and not when they are called off', async () => {
    const startMs = systemClock.now();
    const fired: string[] = [];
    await new Promise<void>((resolve) => {
      systemClock.setTimer(-5, () => fired.push('over'));
      systemClock.setTimer(5, () => fired.push('called off')).cancel();
      // Longer than a timer of Node can be, which would fire at once.
      systemClock.setTimer(1e12, () => fired.push('too long')).cancel();
      systemClock.setTimer(
        20,
        () => {
          fired.push('in time');
          resolve();
        },
        { keepsAlive: true },
      );
    });
    assert.deepEqual(fired, ['over', 'in time']);
    assert.ok(systemClock.now() - startMs >= 19);
  });

  it('does not keep a process alive by its timers, unless it is told to', () => {
    const run = (options: string): string =>
      execFileSync(
        process.execPath,
        [
          '--input-type=module',
          '-e',
          `import { systemClock } from ${JSON.stringify(new URL('../../../src/clock.js', import.meta.url).href)};
           systemClock.setTimer(100, () => console.log('fired')${options});`,
        ],
        { encoding: 'utf8' },
      );
    assert.equal(run(''), '');
    assert.equal(run(', { keepsAlive: true }'), 'fired\n');
  });

  it('comes back after a turn of the event loop', async () => {
    const order: string[] = [];
    await new Promise<void>((resolve) => {
      systemClock.nextTurn(() => {
        order.push('turn');
        resolve();
      });
      Promise.resolve()
        .then(() => order.push('promise'))
        .catch(() => {});
      order.push('now');
    });
    assert.deepEqual(order, ['now', 'promise', 'turn']);
  });
});
