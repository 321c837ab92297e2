import type { WaitingRoom } from './waiting-room.ts';

/** Bytes that all batchers of a server hold for waiting and running requests. */
export interface ByteBudget {
  heldBytes: number;
  readonly limitBytes: number;
  /** Where callers wait for room. */
  readonly waiting: Set<WaitingRoom>;
}

/** A budget of which nothing is held. */
export function byteBudget(limitBytes: number): ByteBudget {
  return { heldBytes: 0, limitBytes, waiting: new Set() };
}
