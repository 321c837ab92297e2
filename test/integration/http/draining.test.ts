import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cpuTimeMs } from '../../../src/executor/cpu-time.ts';
import { executorPids, startBusyServer } from '../../support/busy.ts';
import { hangLoad, ident } from '../../support/models.ts';
import { type Scope, startServer, TestServer } from '../../support/server.ts';
import { requestBytes, WireConnection } from '../../support/wire.ts';

/** The orderly end of a server, seen from connections of every kind. */

const x = (...data: number[]): string =>
  requestBytes(
    'POST',
    '/v2/models/ident/infer',
    JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, data.length], data }] }),
  );
const open = async (scope: Scope, { port }: TestServer): Promise<WireConnection> => {
  const connection = await WireConnection.open(port);
  scope.after(async () => connection.close());
  return connection;
};

describe('draining', () => {
  it('connections that idle, or were never used, do not hold it', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') });
    const [unused, used] = [await open(t, running), await open(t, running)];
    await used.send(x(1));
    assert.equal((await used.response()).headers['connection'], 'keep-alive');
    const start = performance.now();
    await running.server.close();
    assert.ok(performance.now() - start < 3000, `${performance.now() - start} ms`);
    assert.equal(await unused.ended(), '');
    assert.equal(await used.ended(), '');
  });

  it('with nothing open it takes no time', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') });
    const start = performance.now();
    await running.server.close();
    assert.ok(performance.now() - start < 400, `${performance.now() - start} ms`);
  });

  it('a request that arrives on an idle connection just then is answered, and told that it was the last', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') });
    const connection = await open(t, running);
    await connection.send(x(1));
    await connection.response();
    const closed = running.server.close();
    await connection.send(x(2));
    const { status, headers, body } = await connection.response();
    assert.equal(status, 200);
    assert.equal(headers['connection'], 'close');
    assert.deepEqual(JSON.parse(body).outputs[0].data, [2]);
    assert.equal(await connection.ended(), '');
    await closed;
  });

  it('requests in flight are answered, and told that they were the last', async (t) => {
    const { running, release, until } = await startBusyServer(t);
    const connections = await Promise.all([1, 2, 3].map(() => open(t, running)));
    for (const connection of connections) await connection.send(x(5));
    await until(4, 3);
    const closed = running.server.close();
    while (running.server.app.server.listening) await new Promise(setImmediate);
    release();
    for (const connection of connections) {
      const { status, headers, body } = await connection.response();
      assert.equal(status, 200, body);
      assert.equal(headers['connection'], 'close');
      assert.equal(await connection.ended(), '');
    }
    await closed;
  });

  it('a request whose body is still on its way is waited for', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') });
    const connection = await open(t, running);
    const bytes = x(3);
    await connection.send(bytes.slice(0, -10));
    await running.get('/v2/health/live');
    const closed = running.server.close();
    await new Promise((resolve) => setTimeout(resolve, 800));
    await connection.send(bytes.slice(-10));
    assert.deepEqual(JSON.parse((await connection.response()).body).outputs[0].data, [3]);
    await closed;
  });

  it('new connections are refused', async (t) => {
    const { running, first, release } = await startBusyServer(t);
    const closed = running.server.close();
    while (running.server.app.server.listening) await new Promise(setImmediate);
    await assert.rejects(WireConnection.open(running.port), { code: 'ECONNREFUSED' });
    release();
    assert.equal((await first).status, 200);
    await closed;
  });

  it('during the drain delay new connections are served as ever, while readiness says no', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') }, { drainDelay: '600ms' });
    const start = performance.now();
    const closed = running.server.close();
    const connection = await open(t, running);
    await connection.send(requestBytes('GET', '/v2/health/ready'));
    assert.equal((await connection.response()).status, 503);
    await connection.send(x(4));
    const { status, headers } = await connection.response();
    assert.equal(status, 200);
    assert.equal(headers['connection'], 'keep-alive');
    await closed;
    assert.ok(performance.now() - start >= 600);
  });

  it('after the drain timeout what is still unanswered is cut', async (t) => {
    const { running, first } = await startBusyServer(t, { drainTimeout: '300ms' });
    const cut = assert.rejects(first, { code: 'UND_ERR_SOCKET' });
    const start = performance.now();
    await running.server.close();
    assert.ok(performance.now() - start < 2500, `${performance.now() - start} ms`);
    await cut;
    await haveEnded(executorPids());
  });

  it('closing twice is closing once', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') });
    await Promise.all([running.server.close(), running.server.close()]);
    await running.server.close();
    await assert.rejects(running.server.infer('ident', {}), { code: 'MODEL_NOT_READY' });
  });

  it('a model that is loading does not hold it, and its executor ends', async (t) => {
    const running = await TestServer.start({ late: hangLoad() }, {}, {}, { awaitLoaded: false });
    t.after(() => running.close());
    let pids: number[] = [];
    // Once it has used so much of a core, it is in the middle of loading.
    while (!pids.some((pid) => (cpuTimeMs(pid) ?? 0) > 500)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      pids = executorPids();
    }
    const start = performance.now();
    await running.server.close();
    await running.server.loaded();
    assert.ok(performance.now() - start < 2000, `${performance.now() - start} ms`);
    await haveEnded(pids);
  });
});

async function haveEnded(pids: readonly number[]): Promise<void> {
  const start = performance.now();
  while (executorPids().some((pid) => pids.includes(pid))) {
    assert.ok(performance.now() - start < 5000, 'an executor is still there');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
