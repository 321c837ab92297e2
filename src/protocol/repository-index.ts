import type { IndexEntry } from '../serving/served-model.ts';

/** States of a model version as Triton's repository index names them; `UNKNOWN` is never used here. */
export type TritonState = 'READY' | 'UNAVAILABLE' | 'LOADING' | 'UNLOADING';

/** An entry of the repository index. */
export interface RepositoryIndexEntry {
  readonly name: string;
  /** Left out for a model that has never been loaded. */
  readonly version?: string;
  readonly state: TritonState;
  /** Why it is not ready; always there, for some clients read it unchecked. */
  readonly reason: string;
}

const STATES: Readonly<Record<IndexEntry['state'], TritonState>> = {
  loading: 'LOADING',
  ready: 'READY',
  draining: 'UNLOADING',
  unloaded: 'UNAVAILABLE',
  failed: 'UNAVAILABLE',
  absent: 'UNAVAILABLE',
};

/**
 * The reply to a request for the repository index (triton-inference-server/server,
 * `docs/protocol/extension_model_repository.md`).
 */
export function repositoryIndex(entries: readonly IndexEntry[]): RepositoryIndexEntry[] {
  return entries.map(({ name, version, state, isReady, reason }) => {
    const withoutExecutor = state === 'ready' && !isReady;
    return {
      name,
      ...(version === undefined ? {} : { version }),
      state: withoutExecutor ? 'UNAVAILABLE' : STATES[state],
      reason: withoutExecutor ? 'its executor is being replaced' : state === 'draining' ? '' : reason,
    };
  });
}
