import { readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';

/** Nice value while a model is loaded and probed, so that those who serve do not notice. */
const LOADING_PRIORITY = 10;

/** Bit of CAP_SYS_NICE in the kernel's capability masks. */
const CAP_SYS_NICE = 1n << 23n;

/**
 * Runs `task` at low priority, where the process is allowed to come back from it: lowering is free to everyone,
 * raising again takes a capability, and an executor that stayed low would serve slowly for ever.
 */
export async function atLowPriority(task: () => Promise<void>): Promise<void> {
  const before = os.getPriority();
  if (before >= LOADING_PRIORITY || !canRaisePriority()) return task();
  os.setPriority(LOADING_PRIORITY);
  try {
    await task();
  } finally {
    // The session's threads were started meanwhile and took over the low priority.
    for (const thread of readdirSync('/proc/self/task')) os.setPriority(Number(thread), before);
  }
}

function canRaisePriority(): boolean {
  try {
    const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    return mask !== undefined && (BigInt(`0x${mask}`) & CAP_SYS_NICE) !== 0n;
  } catch {
    return false;
  }
}
