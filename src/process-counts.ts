import { readdirSync, readFileSync } from 'node:fs';

/**
 * What the operating system has counted for the threads of a process, from Linux's `/proc` (proc(5)). Elsewhere, and
 * for a process that is gone, nothing is found.
 */

/** Counts of one thread, since it began. */
export interface ThreadCounts {
  /** Times it gave up its core to wait for something. */
  readonly voluntary: number;
  /** Times its core was taken from it. */
  readonly involuntary: number;
  /** CPU time, in milliseconds. */
  readonly cpuMs: number;
}

/** Counts of each thread of some processes, by `pid/tid`. */
export type ProcessCounts = ReadonlyMap<string, ThreadCounts>;

/** The counts of a thread's `status` and `schedstat`. */
export function parseThread(status: string, schedstat: string): ThreadCounts {
  const count = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)$`, 'm').exec(status)?.[1] ?? 0);
  return {
    voluntary: count('voluntary_ctxt_switches'),
    involuntary: count('nonvoluntary_ctxt_switches'),
    // Nanoseconds on a core come first.
    cpuMs: Number(schedstat.split(' ')[0]) / 1e6 || 0,
  };
}

/** What has been counted so far for all threads of these processes. */
export function processCounts(pids: readonly number[], root = '/proc'): ProcessCounts {
  const counts = new Map<string, ThreadCounts>();
  for (const pid of pids) {
    for (const tid of list(`${root}/${pid}/task`)) {
      const folder = `${root}/${pid}/task/${tid}`;
      const status = read(`${folder}/status`);
      if (status !== '') counts.set(`${pid}/${tid}`, parseThread(status, read(`${folder}/schedstat`)));
    }
  }
  return counts;
}

/** What was counted between two looks; a thread that ended meanwhile has taken its counts with it. */
export function countsBetween(before: ProcessCounts, after: ProcessCounts): ThreadCounts {
  let [voluntary, involuntary, cpuMs] = [0, 0, 0];
  for (const [key, counts] of after) {
    const earlier = before.get(key);
    voluntary += counts.voluntary - (earlier?.voluntary ?? 0);
    involuntary += counts.involuntary - (earlier?.involuntary ?? 0);
    cpuMs += counts.cpuMs - (earlier?.cpuMs ?? 0);
  }
  return { voluntary, involuntary, cpuMs };
}

/** Memory of a process that is in RAM, in bytes; 0 when it cannot be told. */
export function residentBytes(pid: number, root = '/proc'): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(read(`${root}/${pid}/status`))?.[1] ?? 0) * 1024;
}

/** Processes that a process has started and that are alive. */
export function childrenOf(pid: number, root = '/proc'): number[] {
  const children = list(`${root}/${pid}/task`).flatMap((tid) =>
    read(`${root}/${pid}/task/${tid}/children`).split(' ').filter(Boolean),
  );
  return children.map(Number);
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
