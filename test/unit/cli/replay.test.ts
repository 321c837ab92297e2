import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { readCurve } from '../../../src/cli/replay-curve.ts';
import { withSettings } from '../../../src/cli/replay-settings.ts';

const BASE = { maxBatchRows: 128, preferredRows: [], windowMs: 0, splits: true, executors: 1, maxQueueRows: 100 };

describe('settings of a replay', () => {
  it('are laid over others', () => {
    const text = 'max-batch-size=8, batch-window=2ms,scheduling=take-all,instances=2,max-queue-rows=50';
    assert.deepEqual(withSettings(BASE, text, '--setting'), {
      maxBatchRows: 8,
      preferredRows: [],
      windowMs: 2,
      splits: false,
      executors: 2,
      executorsFromMs: [],
      maxQueueRows: 50,
    });
    assert.deepEqual(withSettings(BASE, 'preferred-batch-size=4', '--setting').preferredRows, [4]);
  });

  it('that are none are named', () => {
    for (const [text, message] of [
      ['max-batch-sise=8', /^--setting is 'max-batch-sise=8', expected name=value .*did you mean max-batch-size\?/],
      ['max-batch-size', /^--setting is 'max-batch-size', expected name=value/],
      ['max-batch-size=0', /^--setting max-batch-size is '0', expected a whole number from 1/],
      ['scheduling=fast', /^--setting scheduling is 'fast', expected one of take-all, measured/],
    ] as const) {
      assert.throws(() => withSettings(BASE, text, '--setting'), { name: 'ConfigError', message });
    }
  });
});

describe('a curve on the command line', () => {
  it('is two numbers, or a file of any of the forms', (t) => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-curve-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const points = [
      { rows: 1, ms: 8.5 },
      { rows: 8, ms: 12 },
    ];
    const live = points.map(({ rows, ms }) => ({ rows, ms: { p50: 1, p90: 2, expected: ms } }));
    const split = (instances: number, sizes: unknown): object => ({ instances, threads: 1, sizes });
    const stored = { splits: [split(1, []), split(2, points)], best: { instances: 2, threads: 1 } };
    const forms: unknown[] = [points, { curve: [{ points: live }] }, stored, [stored]];
    assert.equal(readCurve('8+0.5', folder)(8), 12);
    for (const [i, form] of forms.entries()) {
      writeFileSync(path.join(folder, `${i}.json`), JSON.stringify(form));
      const curve = readCurve(`${i}.json`, folder);
      assert.deepEqual([curve(1), curve(8)], [8.5, 12], `form ${i}`);
    }
  });

  it('that is none is refused', (t) => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-curve-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const wrong = ['{', '[]', '{}', '[{"rows":0,"ms":1}]', '[[]]', '{"curve":[]}', 'null'];
    for (const [i, text] of wrong.entries()) writeFileSync(path.join(folder, `${i}.json`), text);
    for (const text of [...wrong.map((_, i) => `${i}.json`), '0+0', '8', 'nothing.json']) {
      assert.throws(() => readCurve(text, folder), { name: 'ConfigError', message: /^--curve/ }, text);
    }
  });
});
