import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { ConfigInput } from '../../src/config.ts';
import { Service, type ServiceDeps } from '../../src/service.ts';
import { type RepositoryContent, writeRepository } from './models.ts';

/** Something with an end, such as a test's context. */
export interface Scope {
  after(task: () => Promise<void>): void;
}

/**
 * A service over a temporary folder with these models, all of them loaded. It runs on the CPU and logs nothing unless
 * told otherwise; at the scope's end it is drained and the folder removed.
 *
 * @param models written into the folder, or a function that fills it.
 */
export async function startService(
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
  await service.loaded();
  return service;
}
