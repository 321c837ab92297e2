import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** CPU time and memory of processes, from Linux's `/proc` (proc(5)). */

/** Ticks of `/proc/stat` per second: USER_HZ, which is 100 on every architecture Node runs on. */
const TICKS_PER_SECOND = 100;

/** `pid` and everything below it. */
export function processTree(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    // The name in parentheses may hold anything; the parent is the second field behind it.
    const parent = Number(read(`/proc/${name}/stat`).split(') ').at(-1)?.split(' ')[1]);
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [Number(name)]);
    else siblings.push(Number(name));
  }
  const tree = [pid];
  for (let i = 0; i < tree.length; i++) tree.push(...(children.get(tree[i]!) ?? []));
  return tree;
}

/** CPU seconds that all threads of a process have used so far; threads that have ended are not counted. */
export function cpuSeconds(pid: number): number {
  let nanoseconds = 0;
  for (const thread of list(`/proc/${pid}/task`)) {
    nanoseconds += Number(read(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0]);
  }
  return nanoseconds / 1e9;
}

/** CPU seconds so far of a process alone and of its whole tree. */
export interface TreeCpu {
  readonly root: number;
  readonly tree: number;
}

/** See {@link TreeCpu}. */
export function treeCpu(pid: number): TreeCpu {
  const [root = 0, ...below] = processTree(pid).map(cpuSeconds);
  return { root, tree: below.reduce((sum, seconds) => sum + seconds, root) };
}

/** Proportional set size of a whole process tree in bytes: memory shared by n processes counts 1/n in each. */
export function treePssBytes(pid: number): number {
  let kilobytes = 0;
  for (const one of processTree(pid)) {
    kilobytes += Number(/^Pss:\s+(\d+) kB$/m.exec(read(`/proc/${one}/smaps_rollup`))?.[1] ?? 0);
  }
  return kilobytes * 1024;
}

/** CPU seconds that the whole machine has been busy so far, stolen time included. */
export function machineBusySeconds(): number {
  const [, user, nice, system, , , irq, softirq, steal] = (read('/proc/stat').split('\n')[0] ?? '').split(/\s+/);
  const ticks = [user, nice, system, irq, softirq, steal].reduce((sum, field) => sum + Number(field ?? 0), 0);
  return ticks / TICKS_PER_SECOND;
}

/** Cores of the machine; more than what this process may use when it is confined. */
export function machineCores(): number {
  return read('/proc/stat').match(/^cpu\d+ /gm)?.length ?? availableParallelism();
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    // The process ended between being listed and being read.
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
