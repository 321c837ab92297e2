import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { errorsTable, optionsTable, README_BLOCKS, replaceBlock } from '../../../src/cli/readme-tables.ts';
import { CONFIG_FILE_OPTION, OPTION_LIST } from '../../../src/config.ts';
import { STATUS } from '../../../src/errors.ts';

/** The cells of a Markdown table, escapes undone. */
function cellsOf(table: string): string[][] {
  return table
    .split('\n')
    .map((line) => line.slice(2, -2).split(/ (?<!\\)\| /))
    .map((cells) => cells.map((cell) => cell.replaceAll('\\|', '|').replaceAll('&lt;', '<')));
}

describe('the tables of the README', () => {
  it('has a row for each option with its names, default and help', () => {
    const [head, rule, ...rows] = cellsOf(optionsTable());
    assert.deepEqual(head, ['flag', 'variable', 'key in the file', 'default', 'allowed', 'what it does']);
    assert.deepEqual(
      rule,
      head!.map(() => '---'),
    );
    const options = [...OPTION_LIST, CONFIG_FILE_OPTION];
    assert.equal(rows.length, options.length);
    for (const [i, option] of options.entries()) {
      assert.equal(rows[i]?.length, head?.length, option.key);
      assert.equal(rows[i]?.[0], `\`${option.flag}\``);
      assert.equal(rows[i]?.[1], `\`${option.variable}\``);
      assert.equal(rows[i]?.[5], option.help);
    }
    const port = rows.find(([flag]) => flag === '`--port`');
    assert.deepEqual(port?.slice(2, 5), ['`port`', '`8000`', '0 – 65535']);
  });

  it('has a row for each error code with its status and a sentence', () => {
    const [, , ...rows] = cellsOf(errorsTable());
    assert.deepEqual(
      rows.map(([code, status]) => [code, status]),
      Object.entries(STATUS).map(([code, status]) => [
        `\`${code}\``,
        code === 'CANCELLED' ? `(${status})` : `${status}`,
      ]),
    );
    for (const [code, , meaning] of rows) assert.match(meaning ?? '', /^[A-Z].*\.$/, code);
  });

  it('has blocks of the names the markers use', () => {
    assert.deepEqual(Object.keys(README_BLOCKS), ['options', 'errors']);
  });
});

describe('replaceBlock', () => {
  it('replaces what stands between the markers and nothing else', () => {
    const once = replaceBlock('a\n<!-- t -->old<!-- /t -->\nb $& $1\n', 't', 'new $& $1');
    assert.equal(once, 'a\n<!-- t -->\nnew $& $1\n<!-- /t -->\nb $& $1\n');
    assert.equal(replaceBlock(once, 't', 'new $& $1'), once);
  });

  for (const text of ['', '<!-- t -->', '<!-- /t --><!-- t -->', '<!-- t --><!-- t --><!-- /t -->']) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => replaceBlock(text, 't', ''), /expected <!-- t --> and, after it, <!-- \/t -->, each once/);
    });
  }
});
