import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { grantedCores, grantedMemoryBytes } from '../../src/granted.ts';

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** A root folder with these files. */
function makeRoot(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'shoal-granted-'));
  folders.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

const V2 = { 'proc/self/cgroup': '0::/pod/container\n' };
const V1 = { 'proc/self/cgroup': '12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n' };

describe('grantedCores', () => {
  const cases: [string, Record<string, string>, number][] = [
    ['no control groups: the affinity mask', {}, 8],
    ['version 2: the quota of the own group', { ...V2, 'sys/fs/cgroup/pod/container/cpu.max': '250000 100000\n' }, 2],
    ['version 2: max is no limit', { ...V2, 'sys/fs/cgroup/pod/container/cpu.max': 'max 100000\n' }, 8],
    [
      'version 2: a smaller quota further up counts',
      {
        ...V2,
        'sys/fs/cgroup/pod/container/cpu.max': '600000 100000\n',
        'sys/fs/cgroup/pod/cpu.max': '300000 100000\n',
        'sys/fs/cgroup/cpu.max': '500000 100000\n',
      },
      3,
    ],
    [
      'version 2: a path that the mount does not have falls back to its root',
      { ...V2, 'sys/fs/cgroup/cpu.max': '400000 200000\n' },
      2,
    ],
    [
      'version 2: a group outside the namespace',
      { 'proc/self/cgroup': '0::/../other\n', 'sys/fs/cgroup/cpu.max': '300000 100000\n' },
      3,
    ],
    ['version 2: less than one core is one', { ...V2, 'sys/fs/cgroup/pod/container/cpu.max': '50000 100000\n' }, 1],
    ['version 2: more than there are', { ...V2, 'sys/fs/cgroup/pod/container/cpu.max': '9900000 100000\n' }, 8],
    [
      'version 1: quota over period',
      {
        ...V1,
        'sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us': '350000\n',
        'sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us': '100000\n',
      },
      3,
    ],
    [
      'version 1: −1 is no limit, the group above has one',
      {
        ...V1,
        'sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us': '-1\n',
        'sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us': '100000\n',
        'sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us': '100000\n',
        'sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us': '50000\n',
      },
      2,
    ],
    [
      'version 1: mounted under the controller alone, at its root',
      { ...V1, 'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '200000\n', 'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n' },
      2,
    ],
    [
      'both versions at once: the smallest',
      {
        'proc/self/cgroup': '4:cpu:/a\n0::/b\n',
        'sys/fs/cgroup/cpu/a/cpu.cfs_quota_us': '500000\n',
        'sys/fs/cgroup/cpu/a/cpu.cfs_period_us': '100000\n',
        'sys/fs/cgroup/unified/b/cpu.max': '400000 100000\n',
      },
      4,
    ],
    ['nonsense is passed over', { ...V2, 'sys/fs/cgroup/pod/container/cpu.max': 'lots\n' }, 8],
  ];
  for (const [name, files, expected] of cases) {
    it(name, () => assert.equal(grantedCores(makeRoot(files), 8), expected));
  }

  it('is within the affinity mask on this machine', () => {
    const cores = grantedCores();
    assert.ok(Number.isInteger(cores) && cores >= 1 && cores <= availableParallelism());
  });
});

describe('grantedMemoryBytes', () => {
  const meminfo = { 'proc/meminfo': 'MemTotal:       8000000 kB\nMemFree:         100 kB\n' };
  const cases: [string, Record<string, string>, number][] = [
    ['no control groups: the machine', meminfo, 8_000_000 * 1024],
    ['version 2', { ...meminfo, ...V2, 'sys/fs/cgroup/pod/container/memory.max': '1073741824\n' }, 2 ** 30],
    [
      'version 2: max here, a limit above',
      {
        ...meminfo,
        ...V2,
        'sys/fs/cgroup/pod/container/memory.max': 'max\n',
        'sys/fs/cgroup/pod/memory.max': '536870912\n',
      },
      2 ** 29,
    ],
    [
      'version 1: its largest number is no limit',
      { ...meminfo, ...V1, 'sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes': '9223372036854771712\n' },
      8_000_000 * 1024,
    ],
    ['version 1', { ...meminfo, ...V1, 'sys/fs/cgroup/memory/memory.limit_in_bytes': '268435456\n' }, 2 ** 28],
  ];
  for (const [name, files, expected] of cases) {
    it(name, () => assert.equal(grantedMemoryBytes(makeRoot(files)), expected));
  }

  it('is at most the memory of this machine', () => {
    const bytes = grantedMemoryBytes();
    assert.ok(bytes > 0 && bytes <= totalmem());
  });
});
