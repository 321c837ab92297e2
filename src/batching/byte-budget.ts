import type { Clock } from '../clock.ts';
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

/** Takes bytes of a budget for what is no request in a queue yet. */
export interface BudgetShare {
  /** Takes `bytes` more; false when there is no room for them, and nothing is taken then. */
  hold(bytes: number): boolean;
  /** Gives back what was taken. Who waits for room is let in one turn later: the request itself comes before them. */
  free(bytes: number): void;
}

/** A share of the budget. */
export function shareOf(budget: ByteBudget, clock: Clock): BudgetShare {
  return {
    hold(bytes) {
      if (budget.heldBytes + bytes > budget.limitBytes) return false;
      budget.heldBytes += bytes;
      return true;
    },
    free(bytes) {
      budget.heldBytes -= bytes;
      if (budget.waiting.size === 0) return;
      clock.nextTurn(() => {
        for (const room of budget.waiting) room.admit();
      });
    },
  };
}
