import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { ident, writeRepository } from '../../support/models.ts';
import { ServeProcess } from '../../support/serve-process.ts';

/** A pipeline that forgets promises in every way there is, and answers all the same; `shoal` is not installed beside it. */
const FORGETFUL = `
import { definePipeline, makeTensor, Type } from 'shoal';
const wrong = { x: makeTensor('FP64', [1, 1], Float64Array.of(1)) };
const ways = [
  // An infer that nobody awaits.
  ({ ident }) => void ident.infer(wrong),
  // A promise of the pipeline's own that fails later.
  ({ ident }) => void ident.infer(wrong).then(() => {}),
  // Several that fail, of which one is heard.
  ({ ident }) => Promise.all([1, 2, 3].map(async () => { await ident.infer(wrong); })).catch(() => {}),
  // Code of its own that throws, deep in functions that nobody awaits.
  () => void (async () => { await null; await (async () => { await new Promise(setImmediate); throw new TypeError('forgotten'); })(); })(),
  // Begun before something else fails.
  async ({ ident }) => {
    const begun = [1, 2].map(async () => { await ident.infer(wrong); });
    await new Promise((resolve) => setTimeout(resolve, 20));
    await Promise.all(begun).catch(() => {});
  },
];
export default definePipeline({
  name: 'forgetful',
  input: { n: Type.Integer() },
  output: { n: Type.Integer() },
  async run({ n }, { models }) {
    await ways[n](models);
    return { n: 1 };
  },
});
`;

describe('a pipeline that forgets promises', () => {
  test('is warned about, and the server goes on', async (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'shoal-pipelines-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const models = writeRepository(path.join(folder, 'models'), { ident: ident('FP32') });
    mkdirSync(path.join(folder, 'pipelines'));
    writeFileSync(path.join(folder, 'pipelines/forgetful.mjs'), FORGETFUL);
    const serving = await ServeProcess.start(t, models);
    for (let n = 0; n < 5; n++) {
      const answer = await fetch(`${serving.url}/pipelines/forgetful`, { method: 'POST', body: JSON.stringify({ n }) });
      assert.deepEqual(await answer.json(), { n: 1 }, String(n));
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal((await fetch(`${serving.url}/v2/health/ready`)).status, 200);
    serving.signal('SIGTERM');
    assert.deepEqual(await serving.exited, { code: 0, signal: null });
  });
});
