import { invalid } from '../errors.ts';
import type { BatchingSettings, QueueSettings } from './model-settings.ts';

/**
 * The level of a request: 1 is the most urgent; 0 where the model has no levels. As in Triton, a request that names none,
 * 0, or one beyond those there are has the model's default level (`docs/protocol/extension_schedule_policy.md` of
 * triton-inference-server/server).
 *
 * @param priority as the request has it.
 * @throws {ShoalError} INVALID_REQUEST for anything but a whole number from 0.
 */
export function levelOf(priority: number | undefined, { priorityLevels, defaultPriority }: BatchingSettings): number {
  if (priority !== undefined && !(Number.isInteger(priority) && priority >= 0)) {
    throw invalid(`priority is ${priority}, expected a whole number from 0`);
  }
  if (priorityLevels === 0) return 0;
  return priority === undefined || priority === 0 || priority > priorityLevels ? defaultPriority : priority;
}

/** The limits of the queue of a level; every level has a queue of its own. */
export function queueOf(level: number, { queue, queueByPriority }: BatchingSettings): QueueSettings {
  return queueByPriority.get(level) ?? queue;
}
