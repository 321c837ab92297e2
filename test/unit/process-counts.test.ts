import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { childrenOf, countsBetween, parseThread, processCounts, residentBytes } from '../../src/process-counts.ts';

const status = (voluntary: number, involuntary: number): string =>
  `Name:\tno(de) x\nVmRSS:\t  2048 kB\nThreads:\t2\nvoluntary_ctxt_switches:\t${voluntary}\nnonvoluntary_ctxt_switches:\t${involuntary}\n`;

describe('counts of the operating system', () => {
  it('are read from a thread’s files', () => {
    assert.deepEqual(parseThread(status(12, 3), '2500000 99 7\n'), { voluntary: 12, involuntary: 3, cpuMs: 2.5 });
    assert.deepEqual(parseThread('Name:\tx\n', ''), { voluntary: 0, involuntary: 0, cpuMs: 0 });
  });

  it('are summed over threads, those that are new included; one that ended takes its counts with it', (t) => {
    const root = mkdtempSync(path.join(os.tmpdir(), 'shoal-proc-'));
    t.after(() => rmSync(root, { recursive: true }));
    const write = (thread: number, voluntary: number, involuntary: number, cpuMs: number): void => {
      const folder = path.join(root, '7', 'task', String(thread));
      mkdirSync(folder, { recursive: true });
      writeFileSync(path.join(folder, 'status'), status(voluntary, involuntary));
      writeFileSync(path.join(folder, 'schedstat'), `${cpuMs * 1e6} 0 0\n`);
      writeFileSync(path.join(folder, 'children'), thread === 7 ? '12 13 ' : '');
    };
    write(7, 10, 1, 5);
    write(8, 100, 10, 50);
    const before = processCounts([7], root);
    assert.equal(before.size, 2);
    rmSync(path.join(root, '7', 'task', '8'), { recursive: true });
    write(7, 15, 3, 6);
    write(9, 2, 1, 4);
    assert.deepEqual(countsBetween(before, processCounts([7], root)), { voluntary: 7, involuntary: 3, cpuMs: 5 });
    writeFileSync(path.join(root, '7', 'status'), status(0, 0));
    assert.equal(residentBytes(7, root), 2048 * 1024);
    assert.deepEqual(childrenOf(7, root), [12, 13]);
    assert.deepEqual([processCounts([99], root).size, residentBytes(99, root), childrenOf(99, root)], [0, 0, []]);
  });

  it('tell of real processes', { skip: process.platform !== 'linux' }, async (t) => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1)'], { stdio: 'ignore' });
    t.after(() => child.kill('SIGKILL'));
    await once(child, 'spawn');
    assert.ok(childrenOf(process.pid).includes(child.pid!));
    const before = processCounts([child.pid!]);
    for (const endMs = Date.now() + 10_000; ; ) {
      const { voluntary, cpuMs } = countsBetween(before, processCounts([child.pid!]));
      if (voluntary >= 20 && cpuMs > 0) break;
      assert.ok(Date.now() < endMs, `${voluntary} switches, ${cpuMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.ok(residentBytes(child.pid!) > 10e6);
  });
});
