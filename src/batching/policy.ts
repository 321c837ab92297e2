import type { DrainState } from './drain-table.ts';
import type { ReleaseReason } from './request.ts';

/** What the policy knows of a lane. */
export interface LaneView {
  readonly rows: number;
  /** Bytes of a row of that request. */
  readonly rowBytes: number;
  /** Priority of the request that is to be taken next: 1 is the most urgent, 0 where there are no levels. */
  readonly priority: number;
  /** Since when that request has waited. */
  readonly nextMs: number;
  /** Since when its oldest request has waited; the same where there are no levels. */
  readonly oldestMs: number;
  /** Whether its next batch is a group that is tried again. */
  readonly hasRetry: boolean;
}

/** What the policy decides by. Nothing else may influence it: the same function runs in tests and replays. */
export interface PolicyState {
  readonly nowMs: number;
  readonly lanes: readonly LaneView[];
  /** Whether requests may share a run at all. */
  readonly batched: boolean;
  /** The most rows of a run. */
  readonly maxRows: number;
  /** Row counts that a run should have, ascending; empty: as many as wait. */
  readonly preferredRows: readonly number[];
  /** How long an oldest request may be held back for others to arrive; 0, the default, never holds back. */
  readonly windowMs: number;
  /** Since when the runner that asks has been idle. */
  readonly idleSinceMs: number;
  /** What the measured curve says of a lane; undefined while it is not known, or not to be decided by. */
  readonly drain: ((view: LaneView) => DrainState | undefined) | undefined;
}

export type Decision =
  | { readonly kind: 'run'; readonly lane: number; readonly maxRows: number; readonly reason: ReleaseReason }
  /** Nothing is due before that instant. */
  | { readonly kind: 'wait'; readonly untilMs: number }
  /** Nothing waits. */
  | { readonly kind: 'nothing' };

/**
 * Decides for one idle runner what it shall run, in the lane with the most urgent request (with the oldest among equally
 * urgent ones): where preferred sizes are set, the largest that can be reached; otherwise as many rows as the measured
 * curve makes best, or all that wait, up to the largest size. A window holds nothing back that has reached a size. Pure:
 * no clock, no state.
 */
export function decide(state: PolicyState): Decision {
  let lane = -1;
  let untilMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < state.lanes.length; i++) {
    const view = state.lanes[i]!;
    if (view.rows === 0) continue;
    const waits = state.batched && !view.hasRetry && view.rows < (state.preferredRows[0] ?? state.maxRows);
    const due = waits ? view.oldestMs + state.windowMs : state.nowMs;
    if (due > state.nowMs) untilMs = Math.min(untilMs, due);
    else if (lane < 0 || goesBefore(view, state.lanes[lane]!)) lane = i;
  }
  if (lane >= 0) {
    const view = state.lanes[lane]!;
    const preferred = view.hasRetry ? undefined : state.preferredRows.findLast((rows) => rows <= view.rows);
    const maxRows = state.batched ? (preferred ?? state.maxRows) : 1;
    const piece = pieceOf(state, view);
    if (piece !== undefined) return { kind: 'run', lane, maxRows: piece, reason: 'split' };
    return { kind: 'run', lane, maxRows, reason: reasonFor(state, view) };
  }
  return untilMs < Number.POSITIVE_INFINITY ? { kind: 'wait', untilMs } : { kind: 'nothing' };
}

function goesBefore(a: LaneView, b: LaneView): boolean {
  return a.priority === b.priority ? a.nextMs < b.nextMs : a.priority < b.priority;
}

/** The rows to take of those that wait, when fewer than fit are better. */
function pieceOf(state: PolicyState, view: LaneView): number | undefined {
  if (!state.batched || view.hasRetry || state.preferredRows.length > 0) return undefined;
  const drain = state.drain?.(view);
  if (drain === undefined) return undefined;
  const piece = drain.table.rowsToTake(drain, view.rows);
  return piece < Math.min(view.rows, state.maxRows) ? piece : undefined;
}

function reasonFor(state: PolicyState, lane: LaneView): ReleaseReason {
  if (lane.hasRetry) return 'retry';
  if (!state.batched) return 'alone';
  if (lane.rows >= (state.preferredRows[0] ?? state.maxRows)) return 'full';
  if (state.windowMs > 0) return 'window';
  return lane.oldestMs <= state.idleSinceMs ? 'freed' : 'idle';
}
