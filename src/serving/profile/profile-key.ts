import { createHash, type Hash } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import type { ModelSource } from '../repository.ts';
import type { ProfileKey } from './profile.ts';

/**
 * What a profile of this model on this machine holds for. Reads the model's files whole.
 *
 * @param provider where the model runs.
 */
export async function keyOf(source: ModelSource, cores: number, provider: string): Promise<ProfileKey> {
  return {
    digest: await digestOf(source),
    runtime: runtimeVersion(),
    processor: `${os.arch()} ${os.cpus()[0]?.model.trim() ?? 'unknown'}`,
    cores,
    provider,
    graphOptimization: source.settings.session.graphOptimization,
  };
}

/** SHA-256 over the model file and, where they count for its size, the files beside it, which may hold its weights. */
async function digestOf({ file, bytes }: ModelSource): Promise<string> {
  const hash = createHash('sha256');
  await addFile(hash, file);
  if ((await stat(file)).size !== bytes) {
    const folder = path.dirname(file);
    for (const entry of (await readdir(folder)).sort()) {
      const beside = path.join(folder, entry);
      if (entry === path.basename(file) || !(await stat(beside)).isFile()) continue;
      hash.update(`\0${entry}\0`);
      await addFile(hash, beside);
    }
  }
  return hash.digest('hex');
}

async function addFile(hash: Hash, file: string): Promise<void> {
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
}

function runtimeVersion(): string {
  const file = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
