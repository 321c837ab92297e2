import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { REPOSITORY_ROOT } from '../../support/root.ts';
import { parseJson, startServer } from '../../support/server.ts';

/** The pipelines of the user documentation, as they stand there. */
describe('docs/pipelines.md', () => {
  test('its pipelines answer as it says', async (t) => {
    const page = readFileSync(path.join(REPOSITORY_ROOT, 'docs/pipelines.md'), 'utf8');
    const folder = mkdtempSync(path.join(tmpdir(), 'shoal-docs-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const files = [...page.matchAll(/```js\n\/\/ pipelines\/(\w+\.mjs)[^\n]*\n([\s\S]*?)```/g)];
    assert.deepEqual(
      files.map(([, name]) => name),
      ['languages.mjs', 'digit.mjs'],
    );
    for (const [, name, text] of files) writeFileSync(path.join(folder, name!), text!);
    const server = await startServer(t, path.join(REPOSITORY_ROOT, 'models'), { pipelines: folder });
    const [, body] = /pipelines\/languages -d '(.*)'/.exec(page)!;
    const [, expected] = /```json\n(\{"languages".*\})\n```/.exec(page)!;
    const answer = parseJson(await server.send('POST', '/pipelines/languages', body!), 200);
    assert.deepEqual(answer, JSON.parse(expected!));
    const black = Buffer.alloc(784);
    const gray = await server.send('POST', '/pipelines/digit', black, { 'content-type': 'image/x-gray' });
    const { probabilities } = parseJson(gray, 200) as { probabilities: number[] };
    assert.equal(probabilities.length, 10);
    const octets = { 'content-type': 'application/octet-stream' };
    const white = await server.send('POST', '/pipelines/digit?invert=true', black, octets);
    assert.notDeepEqual(parseJson(white, 200), parseJson(gray, 200));
  });
});
