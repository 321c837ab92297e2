import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** One who wants to know when its client has left. */
export interface Leaver {
  left(): void;
}

const WAITING = Symbol('shoal.waiting');

type WatchedSocket = Socket & { [WAITING]?: Set<Leaver> };

/**
 * Has `leaver.left()` called when the connection of `response` is closed while it waits. One listener serves a
 * connection for its whole life, since adding one for each of its requests would cost more than all the rest of it.
 */
export function watchLeaver(response: ServerResponse, leaver: Leaver): void {
  const socket = response.socket as WatchedSocket | null;
  if (socket === null || socket.destroyed) {
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
export function forgetLeaver(response: ServerResponse, leaver: Leaver): void {
  (response.socket as WatchedSocket | null)?.[WAITING]?.delete(leaver);
}
