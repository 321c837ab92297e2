import { readFileSync } from 'node:fs';

/** The kernel counts CPU time in hundredths of a second wherever Node runs. */
const TICK_MS = 10;

/** The CPU time a process has used, in milliseconds; undefined where that cannot be told. */
export function cpuTimeMs(pid: number | undefined): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name in brackets and may hold anything; user and system time are 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    return undefined;
  }
}
