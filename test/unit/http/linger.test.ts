import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { describe, it, mock } from 'node:test';
import { hasMuchToCome, lingeringBody } from '../../../src/http/linger.ts';

/** The part of a request that lingering looks at. */
class FakeRequest extends EventEmitter {
  resumed = false;

  resume(): void {
    this.resumed = true;
  }
}

function linger(): { request: FakeRequest; stream: Readable; ended: () => boolean } {
  const request = new FakeRequest();
  const stream = lingeringBody(Buffer.from('body'), request as unknown as IncomingMessage);
  let isOver = false;
  stream.on('end', () => {
    isOver = true;
  });
  return { request, stream, ended: () => isOver };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('hasMuchToCome', () => {
  it('is true of chunks and of long bodies that have not all come', () => {
    const of = (headers: Record<string, string>, complete = false): boolean => hasMuchToCome({ complete, headers });
    assert.equal(of({}), false);
    assert.equal(of({ 'content-length': '0' }), false);
    assert.equal(of({ 'content-length': String(2 ** 20) }), false);
    assert.equal(of({ 'content-length': String(2 ** 20 + 1) }), true);
    assert.equal(of({ 'transfer-encoding': 'chunked' }), true);
    assert.equal(of({ 'transfer-encoding': 'chunked' }, true), false);
    assert.equal(of({ 'content-length': '999999999' }, true), false);
  });
});

describe('lingeringBody', () => {
  it('gives the body at once and ends when the request has come to its end', async () => {
    const { request, stream, ended } = linger();
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    await turn();
    assert.equal(Buffer.concat(chunks).toString(), 'body');
    assert.equal(request.resumed, true);
    request.emit('data', Buffer.alloc(1000));
    await turn();
    assert.equal(ended(), false);
    request.emit('close');
    await turn();
    assert.equal(ended(), true);
    assert.equal(request.listenerCount('data'), 0);
  });

  it('ends when too much has been thrown away', async () => {
    const { request, stream, ended } = linger();
    stream.resume();
    for (let i = 0; i < 64; i++) request.emit('data', Buffer.alloc(2 ** 20));
    await turn();
    assert.equal(ended(), false);
    request.emit('data', Buffer.alloc(1));
    await turn();
    assert.equal(ended(), true);
  });

  it('ends after some seconds', async () => {
    let elapse = (): void => {};
    const timeout = mock.method(globalThis, 'setTimeout', (task: () => void, ms: number) => {
      assert.equal(ms, 5000);
      elapse = task;
    });
    const { stream, ended } = linger();
    timeout.mock.restore();
    stream.resume();
    await turn();
    assert.equal(ended(), false);
    elapse();
    await turn();
    assert.equal(ended(), true);
  });

  it('leaves nothing behind when its connection breaks', async () => {
    const { request, stream } = linger();
    stream.destroy();
    await turn();
    assert.equal(request.listenerCount('data'), 0);
    request.emit('close');
  });
});
