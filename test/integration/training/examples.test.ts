import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { it } from 'node:test';
import { promisify } from 'node:util';
import { REPOSITORY_ROOT } from '../../support/root.ts';

it('the smallest example trains its 2 by 3 matrix while the server answers, and serves it', async () => {
  const file = path.join(REPOSITORY_ROOT, 'examples', 'two-by-three.mjs');
  const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 60_000 });
  const losses = [...stdout.matchAll(/^step (\d+) {3}loss ([\d.]+)$/gm)].map(([, step, loss]) => [
    Number(step),
    Number(loss),
  ]);
  assert.deepEqual(
    losses.map(([step]) => step),
    [1, 20, 40, 60, 80, 100],
  );
  for (const [i, [, loss]] of losses.entries()) if (i > 0) assert.ok(loss! < losses[i - 1]![1]!, stdout);
  assert.match(stdout, /^[1-9]\d* requests were answered meanwhile$/m);
  const row = (name: string): number[] => new RegExp(`^${name} +(.*)$`, 'm').exec(stdout)![1]!.split(/ +/).map(Number);
  assert.deepEqual(row('wanted'), [-1.5, -3, 7]);
  assert.deepEqual(row('served'), row('after'));
  for (const [j, value] of row('wanted').entries()) {
    assert.ok(Math.abs(row('after')[j]! - value) < 0.1 && Math.abs(row('before')[j]! - value) > 0.1, stdout);
  }
});
