import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { describe, it } from 'node:test';
import { forgetLeaver, type Leaver, watchLeaver } from '../../../src/http/leavers.ts';

class FakeSocket extends EventEmitter {
  destroyed = false;

  close(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

class Caller implements Leaver {
  times = 0;

  left(): void {
    this.times++;
  }
}

const requestOn = (socket: FakeSocket): IncomingMessage => ({ socket }) as unknown as IncomingMessage;

describe('leavers', () => {
  it('each that waits is told once when the connection closes, and those that are answered are not', () => {
    const socket = new FakeSocket();
    const request = requestOn(socket);
    const [first, second, third] = [new Caller(), new Caller(), new Caller()];
    for (const caller of [first, second, third]) watchLeaver(request, caller);
    forgetLeaver(request, second);
    socket.close();
    assert.deepEqual(
      [first, second, third].map(({ times }) => times),
      [1, 0, 1],
    );
  });

  it('one listener serves a connection for all of its requests', () => {
    const socket = new FakeSocket();
    for (let i = 0; i < 100; i++) {
      const caller = new Caller();
      watchLeaver(requestOn(socket), caller);
      forgetLeaver(requestOn(socket), caller);
    }
    assert.equal(socket.listenerCount('close'), 1);
  });

  it('who has left before is told at once', () => {
    const socket = new FakeSocket();
    socket.close();
    const caller = new Caller();
    watchLeaver(requestOn(socket), caller);
    assert.equal(caller.times, 1);
  });

  it('forgetting someone who was never watched, or twice, does nothing', () => {
    const socket = new FakeSocket();
    const [watched, other] = [new Caller(), new Caller()];
    forgetLeaver(requestOn(socket), other);
    watchLeaver(requestOn(socket), watched);
    forgetLeaver(requestOn(socket), other);
    socket.close();
    forgetLeaver(requestOn(socket), watched);
    assert.equal(watched.times, 1);
  });

  it('a leaver may forget itself and others when it is told', () => {
    const socket = new FakeSocket();
    const request = requestOn(socket);
    const last = new Caller();
    const first: Leaver = {
      left() {
        forgetLeaver(request, first);
        forgetLeaver(request, last);
      },
    };
    watchLeaver(request, first);
    watchLeaver(request, last);
    assert.doesNotThrow(() => socket.close());
  });
});
