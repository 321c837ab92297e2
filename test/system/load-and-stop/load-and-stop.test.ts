import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { sentences } from '../../support/data.ts';
import { loopHang, writeRepository } from '../../support/models.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';
import { ServeProcess } from '../../support/serve-process.ts';
import type { Scope } from '../../support/server.ts';
import { ConnectionEnded, requestBytes, WireConnection } from '../../support/wire.ts';

/** The real program under load, told to stop by signals; its clients count what became of their requests. */

const MODELS = path.join(REPOSITORY_ROOT, 'models');
const CLIENTS = 64;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What a client counts. A request is sent when all of its bytes went out on a connection that was not given up. */
interface Tally {
  sent: number;
  answered: number;
  right: number;
  /** Answers that said that they are the last of their connection. */
  toldToClose: number;
  /** Requests whose connection ended before their answer had come, with what had come. */
  readonly lost: string[];
}

/** Sends one request after the other on one connection, until the server closes it. */
async function hammer(port: number, request: string, expected: string, tally: Tally): Promise<void> {
  const connection = await WireConnection.open(port);
  try {
    for (;;) {
      const sending = connection.send(request);
      tally.sent++;
      const { status, headers, body } = await connection.response();
      await sending;
      tally.answered++;
      if (status === 200 && JSON.parse(body).outputs[0].data[0] === expected) tally.right++;
      if (headers['connection'] === 'close') {
        // By HTTP's rules nothing may be sent after that, so that nothing can get lost.
        tally.toldToClose++;
        assert.equal(await connection.ended(), '');
        return;
      }
    }
  } catch (error) {
    if (!(error instanceof ConnectionEnded)) throw error;
    tally.lost.push(error.received);
  } finally {
    connection.close();
  }
}

function hammerAll(port: number): { readonly tally: Tally; readonly over: Promise<unknown> } {
  const tally: Tally = { sent: 0, answered: 0, right: 0, toldToClose: 0, lost: [] };
  const texts = sentences();
  const clients = Array.from({ length: CLIENTS }, (_, i) => {
    const { text, language } = texts[i % texts.length]!;
    const inputs = [{ name: 'text', datatype: 'BYTES', shape: [1], data: [text] }];
    const body = JSON.stringify({ inputs, outputs: [{ name: 'language' }] });
    return hammer(port, requestBytes('POST', '/v2/models/language-id/infer', body), language, tally);
  });
  return { tally, over: Promise.all(clients) };
}

async function status(port: number, target: string): Promise<number> {
  const connection = await WireConnection.open(port);
  try {
    await connection.send(requestBytes('GET', target));
    return (await connection.response()).status;
  } finally {
    connection.close();
  }
}

/** A folder with a model that runs as long as its request says. */
function slowModels(scope: Scope): string {
  const folder = writeRepository(mkdtempSync(path.join(tmpdir(), 'shoal-stop-')), { slow: loopHang() });
  scope.after(async () => rmSync(folder, { recursive: true }));
  return folder;
}

function trips(count: number): string {
  const inputs = [{ name: 'trips', datatype: 'INT64', shape: [1], data: [count] }];
  return requestBytes('POST', '/v2/models/slow/infer', JSON.stringify({ inputs }));
}

async function inflight(port: number): Promise<number> {
  const connection = await WireConnection.open(port);
  try {
    await connection.send(requestBytes('GET', '/metrics'));
    const { body } = await connection.response();
    return Number(/^shoal_inflight_requests\{.*\} (\d+)$/m.exec(body)![1]);
  } finally {
    connection.close();
  }
}

async function accepts(port: number): Promise<boolean> {
  try {
    (await WireConnection.open(port)).close();
    return true;
  } catch {
    return false;
  }
}

async function allGone(pids: readonly number[]): Promise<void> {
  const start = performance.now();
  while (pids.some((pid) => existsSync(`/proc/${pid}`))) {
    assert.ok(performance.now() - start < 5000, 'an executor has outlived its server');
    await sleep(20);
  }
}

describe('SIGTERM', () => {
  it('under 64 hammering clients every request that was sent is answered, and the exit is orderly', async (t) => {
    const served = await ServeProcess.start(t, MODELS);
    const executors = served.children();
    assert.ok(executors.length >= 2);
    const { tally, over } = hammerAll(served.port);
    while (tally.answered < 1000) await sleep(10);
    served.signal('SIGTERM');
    const atSignal = tally.answered;
    assert.deepEqual(await served.exited, { code: 0, signal: null });
    await over;
    assert.deepEqual(tally.lost, []);
    assert.equal(tally.answered, tally.sent);
    assert.equal(tally.right, tally.sent);
    assert.equal(tally.toldToClose, CLIENTS);
    assert.ok(tally.answered >= atSignal + CLIENTS / 2, 'requests were under way when the signal came');
    await allGone(executors);
  });

  it('during the drain delay everything is served, new connections too, and readiness says no', async (t) => {
    const served = await ServeProcess.start(t, MODELS, '--drain-delay', '2s');
    const { tally, over } = hammerAll(served.port);
    while (tally.answered < 500) await sleep(10);
    assert.equal(await status(served.port, '/v2/health/ready'), 200);
    const start = performance.now();
    served.signal('SIGTERM');
    while ((await status(served.port, '/v2/health/ready')) !== 503) await sleep(5);
    const before = tally.answered;
    while (tally.answered < before + 2 * CLIENTS && performance.now() - start < 2000) await sleep(10);
    assert.ok(performance.now() - start < 2000, 'requests go on being answered before the delay is over');
    assert.equal(await status(served.port, '/v2/health/ready'), 503);
    assert.equal(await status(served.port, '/v2/health/live'), 200);
    assert.equal(tally.toldToClose, 0);
    assert.deepEqual(await served.exited, { code: 0, signal: null });
    assert.ok(performance.now() - start >= 2000);
    await over;
    assert.deepEqual(tally.lost, []);
    assert.equal(tally.right, tally.sent);
    assert.equal(tally.toldToClose, CLIENTS);
  });

  it('idle connections do not hold the exit', async (t) => {
    const served = await ServeProcess.start(t, MODELS);
    const connections = await Promise.all(Array.from({ length: 10 }, () => WireConnection.open(served.port)));
    for (const connection of connections.slice(5)) {
      await connection.send(requestBytes('GET', '/v2'));
      assert.equal((await connection.response()).status, 200);
    }
    const start = performance.now();
    served.signal('SIGTERM');
    assert.deepEqual(await served.exited, { code: 0, signal: null });
    assert.ok(performance.now() - start < 3000, `${performance.now() - start} ms`);
    for (const connection of connections) assert.equal(await connection.ended(), '');
  });

  it('a second signal ends the process at once, and its executors with it', async (t) => {
    const served = await ServeProcess.start(t, slowModels(t));
    const executors = served.children();
    const connection = await WireConnection.open(served.port);
    await connection.send(trips(5_000_000));
    while ((await inflight(served.port)) === 0);
    served.signal('SIGTERM');
    while (await accepts(served.port)) await sleep(10);
    const start = performance.now();
    served.signal('SIGTERM');
    assert.deepEqual(await served.exited, { code: 143, signal: null });
    assert.ok(performance.now() - start < 1000, `${performance.now() - start} ms`);
    await assert.rejects(connection.response(), ConnectionEnded);
    await allGone(executors);
  });

  it('a run that outlasts the drain timeout is cut', async (t) => {
    const served = await ServeProcess.start(t, slowModels(t), '--drain-timeout', '500ms');
    const executors = served.children();
    const connection = await WireConnection.open(served.port);
    await connection.send(trips(1e10));
    while ((await inflight(served.port)) === 0);
    const start = performance.now();
    served.signal('SIGTERM');
    assert.deepEqual(await served.exited, { code: 0, signal: null });
    assert.ok(performance.now() - start < 4000, `${performance.now() - start} ms`);
    await assert.rejects(connection.response(), ConnectionEnded);
    await allGone(executors);
  });
});
