import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { ConfigInput } from '../../src/config.ts';
import { Service, type ServiceDeps } from '../../src/service.ts';
import { type RepositoryContent, writeRepository } from './models.ts';

/** Something with an end, such as a test's context. */
export interface Scope {
  readonly after: (task: () => Promise<void>) => void;
}

/** A scope for a whole suite: call it with the suite's `after`, before the suite's hooks run. */
export function suiteScope(after: (task: () => Promise<void>) => void): Scope {
  const tasks: (() => Promise<void>)[] = [];
  after(async () => {
    for (const task of tasks) await task();
  });
  return { after: (task) => tasks.push(task) };
}

/**
 * A service over a temporary folder with these models, which it starts to load. It runs on the CPU and logs nothing
 * unless told otherwise; at the scope's end it is drained and the folder removed.
 *
 * @param models written into the folder, or a function that fills it.
 */
export async function createService(
  scope: Scope,
  models: RepositoryContent | ((folder: string) => void),
  config: Omit<ConfigInput, 'models'> = {},
  deps: ServiceDeps = {},
): Promise<Service> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-models-'));
  let service: Service | undefined;
  scope.after(async () => {
    await service?.drain();
    rmSync(folder, { recursive: true });
  });
  if (typeof models === 'function') models(folder);
  else writeRepository(folder, models);
  service = await Service.create({ logLevel: 'silent', provider: 'cpu', ...config, models: folder }, deps);
  return service;
}

/** {@link createService} when all models are loaded. */
export async function startService(...args: Parameters<typeof createService>): Promise<Service> {
  const service = await createService(...args);
  await service.loaded();
  return service;
}
