/** Something a {@link Clock} can call off. */
export interface Timer {
  cancel(): void;
}

/**
 * Time as the parts of the server see it; tests put a fake in its place.
 *
 * Instants are milliseconds on the system's monotonic clock, the same for all processes of one machine, so that
 * stamps taken in an executor and in the front can be subtracted from one another.
 */
export interface Clock {
  now(): number;
  /** Calls `task` once, `delayMs` from now. Does not keep the process alive unless told to. */
  setTimer(delayMs: number, task: () => void, options?: { readonly keepsAlive: boolean }): Timer;
  /** Calls `task` after the I/O that is already waiting has been handled: one turn of the event loop. */
  nextTurn(task: () => void): void;
}

/** The monotonic clock in milliseconds. */
export function monotonicMs(): number {
  // performance.now() counts from the start of its own process, hrtime from a point all processes share.
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}

export const systemClock: Clock = {
  now: monotonicMs,
  setTimer(delayMs, task, options) {
    // A delay over 2^31 − 1 would fire at once.
    const timer = setTimeout(task, Math.min(Math.max(delayMs, 0), 2 ** 31 - 1));
    if (options?.keepsAlive !== true) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  nextTurn(task) {
    setImmediate(task);
  },
};
