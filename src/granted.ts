import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';

/**
 * What this process may use: the machine, narrowed by CPU affinity and by control groups.
 *
 * A container without its own cgroup namespace sees in `/proc/self/cgroup` a path that its mount does not have, because
 * its own group is mounted as the root. So each group from that path up to the root is looked at and files that do not
 * exist are passed over. See cgroups(7) and the kernel's "Control Group v2".
 */

/**
 * Cores granted: the smallest of the affinity mask and every CPU quota on the way up, rounded down, at least 1.
 *
 * @param root where `proc` and `sys` are looked for.
 * @param available cores in the affinity mask.
 */
export function grantedCores(root = '/', available: number = availableParallelism()): number {
  let cores = available;
  for (const { version, folder } of controlGroups(root, 'cpu')) {
    const quota = version === 2 ? cpuMax(read(folder, 'cpu.max')) : cfsQuota(folder);
    if (quota !== undefined) cores = Math.min(cores, quota);
  }
  return Math.max(1, Math.floor(cores));
}

/**
 * Bytes of memory granted: the smallest of the machine's memory and every limit on the way up.
 *
 * @param root where `proc` and `sys` are looked for.
 */
export function grantedMemoryBytes(root = '/'): number {
  const total = /^MemTotal:\s+(\d+) kB$/m.exec(read(root, 'proc/meminfo') ?? '')?.[1];
  let bytes = total === undefined ? totalmem() : Number(total) * 1024;
  for (const { version, folder } of controlGroups(root, 'memory')) {
    const limit = positive(read(folder, version === 2 ? 'memory.max' : 'memory.limit_in_bytes'));
    if (limit !== undefined) bytes = Math.min(bytes, limit);
  }
  return bytes;
}

interface ControlGroup {
  readonly version: 1 | 2;
  readonly folder: string;
}

/** The folders of the process's own group and all groups above it, of both versions, for one controller. */
function controlGroups(root: string, controller: string): ControlGroup[] {
  const groups: ControlGroup[] = [];
  const sys = join(root, 'sys/fs/cgroup');
  for (const line of (read(root, 'proc/self/cgroup') ?? '').split('\n')) {
    // `hierarchy:controllers:path`; version 2 has hierarchy 0 and no controllers.
    const [, id, controllers = '', path = '/'] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    if (id === undefined) continue;
    if (id === '0' && controllers === '') {
      for (const mount of [sys, join(sys, 'unified')]) addUpwards(groups, 2, mount, path);
    } else if (controllers.split(',').includes(controller)) {
      for (const mount of new Set([join(sys, controllers), join(sys, controller)])) addUpwards(groups, 1, mount, path);
    }
  }
  return groups;
}

function addUpwards(groups: ControlGroup[], version: 1 | 2, mount: string, path: string): void {
  // A group outside the namespace's root shows as `/../other`; what is above the mount cannot be read from here.
  const names = path.split('/').filter((name) => name !== '' && name !== '..');
  for (let depth = names.length; depth >= 0; depth--) {
    groups.push({ version, folder: join(mount, ...names.slice(0, depth)) });
  }
}

/** `cpu.max` is `quota period` in microseconds, or `max period`. */
function cpuMax(text: string | undefined): number | undefined {
  const [quota, period] = (text ?? '').trim().split(/\s+/);
  return ratio(positive(quota), positive(period) ?? 100_000);
}

/** A quota of −1 stands for none. */
function cfsQuota(folder: string): number | undefined {
  return ratio(positive(read(folder, 'cpu.cfs_quota_us')), positive(read(folder, 'cpu.cfs_period_us')));
}

function ratio(quota: number | undefined, period: number | undefined): number | undefined {
  return quota === undefined || period === undefined ? undefined : quota / period;
}

function positive(text: string | undefined): number | undefined {
  const value = Number(text?.trim() || Number.NaN);
  return value > 0 ? value : undefined;
}

function read(folder: string, file: string): string | undefined {
  try {
    return readFileSync(join(folder, file), 'utf8');
  } catch {
    return undefined;
  }
}
