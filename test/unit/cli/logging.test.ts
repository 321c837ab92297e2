import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createLogger, formatLine } from '../../../src/logging.ts';

function record(
  logLevel: 'debug' | 'info' | 'warn' | 'silent',
  isTerminal: boolean,
): { lines: string[]; log: ReturnType<typeof createLogger> } {
  const lines: string[] = [];
  const log = createLogger({ logLevel }, { isTerminal, destination: { write: (line) => void lines.push(line) } });
  return { lines, log };
}

describe('the logger', () => {
  it('writes JSON lines with level and time in words', () => {
    const { lines, log } = record('info', false);
    log.child({ component: 'http' }).info({ port: 1 }, 'listening');
    log.debug('unseen');
    assert.equal(lines.length, 1);
    assert.ok(lines[0]!.endsWith('\n'));
    const { time, ...rest } = JSON.parse(lines[0]!);
    assert.deepEqual(rest, { level: 'info', component: 'http', port: 1, msg: 'listening' });
    assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  it('keeps what the summary says off a terminal, but not what was asked for', () => {
    const normal = record('info', true);
    normal.log.info('listening');
    normal.log.warn('careful');
    assert.equal(normal.lines.length, 1);
    assert.match(normal.lines[0]!, /^\d\d:\d\d:\d\d warn {2}careful\n$/);

    const detailed = record('debug', true);
    detailed.log.debug('detail');
    detailed.log.info('listening');
    assert.equal(detailed.lines.length, 2);

    const silent = record('silent', true);
    silent.log.fatal('unseen');
    assert.deepEqual(silent.lines, []);
  });

  it('shows model, version and error of a line to people, and the stack of a fatal one', () => {
    const { lines, log } = record('info', true);
    log.error({ model: 'x1', version: '1', component: 'model', err: new Error('no such file') }, 'model failed');
    log.error({ model: 'b', err: new Error('twice') }, "model 'b': said twice");
    log.fatal(new Error('the end'));
    assert.match(lines[0]!, /^\S+ error model failed: no such file \(model=x1 version=1\)\n$/);
    assert.match(lines[1]!, /^\S+ error model 'b': said twice\n$/);
    assert.match(lines[2]!, /^\S+ fatal the end\nError: the end\n {4}at .*\n/);
  });

  it('passes on what is no line of its own', () => {
    assert.equal(formatLine('plain text\n'), 'plain text\n');
    assert.equal(formatLine('12\n'), '12\n');
  });
});
