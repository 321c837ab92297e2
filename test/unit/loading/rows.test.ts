import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { type LoadOptions, loadRows } from '../../../src/loading/rows.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'shoal-rows-'));
after(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, text);
  return file;
}

async function all(source: string | readonly string[], options?: LoadOptions) {
  const rows = [];
  for await (const row of loadRows(source, options)) rows.push(row);
  return rows;
}

const refused = (text: RegExp) => ({ code: 'INVALID_REQUEST', message: text });

describe('rows of a data set', () => {
  it('JSON by lines, empty ones passed over, with the line each comes from', async () => {
    const file = write('a.ndjson', '{"x":[1,2]}\n\n"text"\r\n  \n3');
    assert.deepEqual(await all(file), [
      { index: 0, origin: `${file}:1`, value: { x: [1, 2] }, text: '{"x":[1,2]}' },
      { index: 1, origin: `${file}:3`, value: 'text', text: '"text"' },
      { index: 2, origin: `${file}:5`, value: 3, text: '3' },
    ]);
    assert.deepEqual(
      (await all(file, { from: 2 })).map(({ index, value }) => [index, value]),
      [[2, 3]],
    );
  });

  it('comma-separated, with quotes, line breaks within them, and a byte order mark', async () => {
    const file = write('a.csv', '\ufefftext,n\n"a, ""b""",1\n"two\nlines",2\n\nlast,3\n');
    const rows = await all(file);
    assert.deepEqual(
      rows.map(({ index, value }) => [index, value]),
      [
        [0, { text: 'a, "b"', n: '1' }],
        [1, { text: 'two\nlines', n: '2' }],
        [2, { text: 'last', n: '3' }],
      ],
    );
    assert.match(rows[2]!.origin, /a\.csv:6$/);
  });

  it('files of a folder by name, and a list of files', async () => {
    const images = path.join(folder, 'images');
    mkdirSync(images);
    for (const name of ['b.png', 'a.png', '.hidden']) writeFileSync(path.join(images, name), name);
    const rows = await all(images);
    assert.deepEqual(
      rows.map(({ index, origin, value }) => [index, path.basename(origin), String(value)]),
      [
        [0, 'a.png', 'a.png'],
        [1, 'b.png', 'b.png'],
      ],
    );
    const listed = await all([path.join(images, 'b.png'), path.join(images, 'a.png')], { from: 1 });
    assert.deepEqual(
      listed.map(({ index, value }) => [index, String(value)]),
      [[1, 'a.png']],
    );
  });

  it('ten thousand rows with little ahead, and a break that closes the file', async () => {
    const file = write('long.ndjson', Array.from({ length: 10_000 }, (_, i) => `${i}\n`).join(''));
    let next = 0;
    for await (const { index, value } of loadRows(file, { prefetch: 16 })) {
      assert.equal(index, next);
      assert.equal(value, next++);
    }
    assert.equal(next, 10_000);
    for await (const { value } of loadRows(file)) if (value === 5) break;
  });

  it('refuses what cannot be read, and says where', async () => {
    await assert.rejects(all(path.join(folder, 'missing.csv')), refused(/'.*missing\.csv' cannot be read: ENOENT/));
    await assert.rejects(all(path.join(folder, 'missing'), { format: 'ndjson' }), refused(/cannot be read/));
    await assert.rejects(all(write('a.xml', '<a/>')), refused(/does not say how to read it: expected \.ndjson/));
    await assert.rejects(all(write('bad.ndjson', '1\n{oops\n')), refused(/bad\.ndjson:2 is not JSON/));
    await assert.rejects(all(write('bad.csv', 'a,b\n1,2,3\n')), refused(/bad\.csv is not comma-separated: .*3/));
    await assert.rejects(all(['https://data.test/x']), refused(/fetching is not switched on/));
    await assert.rejects(all([path.join(folder, 'gone')]), /ENOENT/);
  });

  it('rows before a bad one are given', async () => {
    const got: unknown[] = [];
    await assert.rejects(async () => {
      for await (const { value } of loadRows(write('half.ndjson', '1\n2\nx\n'))) got.push(value);
    });
    assert.deepEqual(got, [1, 2]);
  });
});
