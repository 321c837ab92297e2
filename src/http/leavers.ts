import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

/** One who wants to know when its client has left. */
export interface Leaver {
  left(): void;
}

const WAITING = Symbol('shoal.waiting');

type WatchedSocket = Socket & { [WAITING]?: Set<Leaver> };

/**
 * Has `leaver.left()` called when the connection of `request` is closed while it waits. One listener serves a
 * connection for its whole life, since adding one for each of its requests would cost more than all the rest of it.
 */
export function watchLeaver(request: IncomingMessage, leaver: Leaver): void {
  // Not the response's socket: it has none yet when its request was sent before the one before it was answered.
  const socket: WatchedSocket = request.socket;
  if (socket.destroyed) {
    leaver.left();
    return;
  }
  let waiting = socket[WAITING];
  if (waiting === undefined) {
    const fresh: Set<Leaver> = new Set();
    socket[WAITING] = fresh;
    socket.once('close', () => {
      for (const one of fresh) one.left();
    });
    waiting = fresh;
  }
  waiting.add(leaver);
}

/** Ends what {@link watchLeaver} began. */
export function forgetLeaver(request: IncomingMessage, leaver: Leaver): void {
  (request.socket as WatchedSocket)[WAITING]?.delete(leaver);
}
