import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

/** One who wants to know when its client has left. */
export interface Leaver {
  left(): void;
}

const WAITING = Symbol('shoal.waiting');

/** In the order of arrival; more than one only where a client pipelines. */
type WatchedSocket = Socket & { [WAITING]?: Leaver[] };

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
    const fresh: Leaver[] = [];
    socket[WAITING] = fresh;
    socket.once('close', () => {
      for (const one of fresh.splice(0)) one.left();
    });
    waiting = fresh;
  }
  waiting.push(leaver);
}

/** Ends what {@link watchLeaver} began. */
export function forgetLeaver(request: IncomingMessage, leaver: Leaver): void {
  const waiting = (request.socket as WatchedSocket)[WAITING];
  const index = waiting?.indexOf(leaver) ?? -1;
  if (index >= 0) waiting!.splice(index, 1);
}
