import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { REPOSITORY_ROOT } from '../test/support/root.ts';
import { stop } from './children.ts';
import { treePssBytes } from './proc.ts';
import { startShoal } from './servers/shoal.ts';

/** How soon Shoal with the bundled models is ready, and what it holds in memory then. */

/** One start. */
export interface StartRun {
  readonly readyMs: number;
  /** Proportional set size of all processes, the larger of right after being ready and a second later. */
  readonly pssBytes: number;
}

const SETTLE_MS = 1000;

/** Starts Shoal `times` times, one after the other. */
export async function measureStart(times: number): Promise<StartRun[]> {
  const runs: StartRun[] = [];
  for (let i = 0; i < times; i++) {
    const shoal = await startShoal(join(REPOSITORY_ROOT, 'models'));
    const atOnce = treePssBytes(shoal.child.pid!);
    await sleep(SETTLE_MS);
    const later = treePssBytes(shoal.child.pid!);
    await stop(shoal.child);
    runs.push({ readyMs: shoal.readyMs, pssBytes: Math.max(atOnce, later) });
  }
  return runs;
}
