import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { describe, it } from 'node:test';
import { answerClientError } from '../../../src/http/client-error.ts';

/** The part of a connection that the answer to a broken request is written to. */
class FakeSocket extends EventEmitter {
  writable = true;
  destroyed = false;
  written = '';
  _httpMessage: FakeResponse | null = null;

  end(text: string): void {
    this.written += text;
    this.writable = false;
  }

  destroy(): void {
    this.destroyed = true;
    this.writable = false;
    this.emit('close');
  }

  resume(): void {}
}

class FakeResponse extends EventEmitter {
  headersSent = false;
  readonly req: { complete: boolean };

  constructor(complete: boolean) {
    super();
    this.req = { complete };
  }
}

function fail(socket: FakeSocket, code: string): void {
  answerClientError(Object.assign(new Error('Parse Error: words'), { code }), socket as unknown as Socket);
}

describe('answerClientError', () => {
  it('answers in JSON with a length, and closes', () => {
    for (const [code, status, error] of [
      ['HPE_INVALID_METHOD', '400 Bad Request', 'INVALID_REQUEST'],
      ['HPE_HEADER_OVERFLOW', '431 Request Header Fields Too Large', 'HEADERS_TOO_LARGE'],
      ['ERR_HTTP_REQUEST_TIMEOUT', '408 Request Timeout', 'BODY_TIMEOUT'],
    ] as const) {
      const socket = new FakeSocket();
      fail(socket, code);
      const [head, body] = socket.written.split('\r\n\r\n');
      const lines = head!.split('\r\n');
      assert.equal(lines[0], `HTTP/1.1 ${status}`);
      assert.deepEqual(lines.slice(1), [
        'content-type: application/json',
        `shoal-error-code: ${error}`,
        'connection: close',
        `content-length: ${Buffer.byteLength(body!)}`,
      ]);
      assert.deepEqual(Object.keys(JSON.parse(body!)), ['error']);
    }
  });

  it('gives up a connection that cannot be written to', () => {
    const reset = new FakeSocket();
    fail(reset, 'ECONNRESET');
    const closed = new FakeSocket();
    closed.writable = false;
    fail(closed, 'HPE_INVALID_METHOD');
    for (const socket of [reset, closed]) {
      assert.equal(socket.destroyed, true);
      assert.equal(socket.written, '');
    }
  });

  it('waits for the answers to the requests before, and answers once', () => {
    const socket = new FakeSocket();
    const [first, second] = [new FakeResponse(true), new FakeResponse(true)];
    socket._httpMessage = first;
    fail(socket, 'HPE_INVALID_METHOD');
    fail(socket, 'HPE_INVALID_CONSTANT');
    assert.equal(socket.written, '');
    socket._httpMessage = second;
    first.emit('close');
    assert.equal(socket.written, '');
    socket._httpMessage = null;
    second.emit('close');
    assert.match(socket.written, /^HTTP\/1\.1 400 /);
    assert.equal(socket.written.match(/HTTP\/1\.1/g)!.length, 1);
  });

  it('does not wait for the request that is itself broken', () => {
    const socket = new FakeSocket();
    socket._httpMessage = new FakeResponse(false);
    fail(socket, 'ERR_HTTP_REQUEST_TIMEOUT');
    assert.match(socket.written, /^HTTP\/1\.1 408 /);
  });

  it('writes nothing into an answer that has begun', () => {
    const socket = new FakeSocket();
    socket._httpMessage = new FakeResponse(false);
    socket._httpMessage.headersSent = true;
    fail(socket, 'ERR_HTTP_REQUEST_TIMEOUT');
    assert.equal(socket.written, '');
    assert.equal(socket.destroyed, true);
  });

  it('has nothing to answer when the connection has broken meanwhile', () => {
    const socket = new FakeSocket();
    const response = new FakeResponse(true);
    socket._httpMessage = response;
    fail(socket, 'HPE_INVALID_METHOD');
    socket.writable = false;
    response.emit('close');
    assert.equal(socket.written, '');
  });
});
