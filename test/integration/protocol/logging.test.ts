import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createLogger } from '../../../src/logging.ts';
import { ident } from '../../support/models.ts';
import {
  type Answer,
  expectError,
  type LogLine,
  parseJson,
  type Scope,
  startServer,
  type TestServer,
} from '../../support/server.ts';

const AT_INFO = {
  log_file: '',
  log_info: true,
  log_warning: true,
  log_error: true,
  log_verbose_level: 0,
  log_format: 'ISO8601',
};

/** A server whose log is at a level, and everything it writes. */
async function startLogging(
  scope: Scope,
  logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent',
): Promise<{ running: TestServer; lines: LogLine[]; log: ReturnType<typeof createLogger> }> {
  const lines: LogLine[] = [];
  const log = createLogger(
    { logLevel },
    { destination: { write: (line: string) => void lines.push(JSON.parse(line)) } },
  );
  return { running: await startServer(scope, { ident: ident('FP32') }, {}, { logger: log }), lines, log };
}

const change = (running: TestServer, body: unknown): Promise<Answer> =>
  running.send('POST', '/v2/logging', typeof body === 'string' ? body : JSON.stringify(body));

describe('logging settings', () => {
  it('case 84: all of them are told, and any of them can be changed', async (t) => {
    const { running } = await startLogging(t, 'info');
    assert.deepEqual(await running.json('/v2/logging'), AT_INFO);
    for (const nothing of ['', '{}', '{"log_info":null,"log_file":null}', '{"log_file":"","log_format":"ISO8601"}'])
      assert.deepEqual(parseJson(await change(running, nothing), 200), AT_INFO);
    const changed = { ...AT_INFO, log_info: false, log_verbose_level: 3 };
    assert.deepEqual(parseJson(await change(running, { log_info: false, log_verbose_level: 3 }), 200), changed);
    assert.deepEqual(await running.json('/v2/logging/'), changed);
    assert.deepEqual(parseJson(await change(running, AT_INFO), 200), AT_INFO);
    const { extensions } = (await running.json('/v2')) as { extensions: string[] };
    assert.ok(extensions.includes('logging'));
  });

  it('case 84: files and another format are not implemented, wrong types and names are refused, and nothing changes then', async (t) => {
    const { running } = await startLogging(t, 'info');
    for (const body of [{ log_file: 'x' }, { log_info: false, log_file: 'x' }, { log_format: 'default' }])
      expectError(await change(running, body), 'UNIMPLEMENTED', /is not implemented by this server/);
    for (const [body, text] of [
      [{ log_info: 'yes' }, /log_info is "yes", expected true or false/],
      [{ log_warning: 1 }, /log_warning is 1/],
      [{ log_error: [] }, /log_error is \[\]/],
      [{ log_verbose_level: -1 }, /log_verbose_level is -1, expected an integer of 0 or more/],
      [{ log_verbose_level: 1.5 }, /log_verbose_level is 1\.5/],
      [{ log_verbose_level: '1' }, /log_verbose_level is "1"/],
      [{ log_verbose_level: true }, /log_verbose_level is true/],
      [{ log_file: 5 }, /log_file is 5, expected a string/],
      [{ log_format: 'xml' }, /log_format is "xml", expected "default" or "ISO8601"/],
      [{ log_info: false, log_warnings: false }, /there is no log setting 'log_warnings', only log_file, log_info/],
      ['[]', /expected an object/],
      ['{', /not valid JSON/],
    ] as const)
      expectError(await change(running, body), 'INVALID_REQUEST', text);
    assert.deepEqual(await running.json('/v2/logging'), AT_INFO);
    expectError(await running.send('PUT', '/v2/logging', '{}'), 'METHOD_NOT_ALLOWED');
  });

  it('each switch is for its own lines', async (t) => {
    const { running, lines, log } = await startLogging(t, 'info');
    const written = async (settings: object): Promise<string[]> => {
      parseJson(await change(running, settings), 200);
      lines.length = 0;
      for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const) log[level](level);
      return lines.map(({ msg }) => msg).filter((msg) => msg !== 'answered');
    };
    assert.deepEqual(await written({}), ['info', 'warn', 'error', 'fatal']);
    assert.deepEqual(await written({ log_warning: false }), ['info', 'error', 'fatal']);
    assert.deepEqual(await written({ log_error: false }), ['info']);
    assert.deepEqual(await written({ log_info: false }), []);
    assert.deepEqual(await written({ log_verbose_level: 1 }), ['debug']);
    assert.deepEqual(await written({ log_verbose_level: 2, log_error: true }), ['trace', 'debug', 'error', 'fatal']);
    assert.deepEqual(await written({ log_info: true, log_verbose_level: 0 }), ['info', 'error', 'fatal']);
    assert.deepEqual(await written({ log_warning: true }), ['info', 'warn', 'error', 'fatal']);
  });

  it('answers are logged from when the verbose level is raised until it is lowered', async (t) => {
    const { running, lines } = await startLogging(t, 'info');
    const answered = (): unknown[] => lines.filter(({ msg }) => msg === 'answered');
    await running.get('/v2/health/live');
    assert.deepEqual(answered(), []);
    parseJson(await change(running, { log_verbose_level: 1 }), 200);
    await running.get('/v2/health/live?x=1', { 'x-request-id': 'mine', traceparent: '00-1-2-03' });
    while (answered().length < 1) await running.get('/metrics');
    const { reqId, traceparent, method, url, status, ms } = answered()[0] as Record<string, unknown>;
    assert.deepEqual(
      { reqId, traceparent, method, url, status },
      {
        reqId: 'mine',
        traceparent: '00-1-2-03',
        method: 'GET',
        url: '/v2/health/live?x=1',
        status: 200,
      },
    );
    assert.equal(typeof ms, 'number');
    parseJson(await change(running, { log_verbose_level: 0 }), 200);
    // On its own connection, so that its answer has been logged by the time the next one is there.
    await running.get('/v2/health/live');
    lines.length = 0;
    await running.get('/v2/health/live');
    await running.get('/v2/health/live');
    assert.deepEqual(answered(), []);
  });

  it('at debug from the start, errors and unknown paths are logged, too', async (t) => {
    const { running, lines } = await startLogging(t, 'debug');
    assert.equal(((await running.json('/v2/logging')) as typeof AT_INFO).log_verbose_level, 1);
    await running.get('/nowhere');
    await running.infer('nope', '{}');
    const statuses = (): unknown[] =>
      (lines as unknown as { msg: string; status: number }[])
        .filter(({ msg }) => msg === 'answered')
        .map(({ status }) => status);
    while (statuses().length < 3) await running.get('/v2');
    assert.deepEqual(statuses().slice(0, 3), [200, 404, 404]);
  });

  it('the level the server was started with, or was given since, is told', async (t) => {
    for (const [level, expected] of [
      ['trace', { log_verbose_level: 2 }],
      ['warn', { log_info: false }],
      ['error', { log_info: false, log_warning: false }],
      ['silent', { log_info: false, log_warning: false, log_error: false }],
    ] as const) {
      const { running } = await startLogging(t, level);
      assert.deepEqual(await running.json('/v2/logging'), { ...AT_INFO, ...expected });
    }
    const { running, log } = await startLogging(t, 'info');
    parseJson(await change(running, { log_warning: false }), 200);
    log.level = 'error';
    assert.deepEqual(await running.json('/v2/logging'), { ...AT_INFO, log_info: false, log_warning: false });
  });
});
