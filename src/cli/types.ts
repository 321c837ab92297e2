import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Config } from '../config.ts';
import { messageOf } from '../errors.ts';
import type { ModelSummary } from '../server.ts';
import { type TypedModel, writeTypes } from '../tensor/write-types.ts';
import { EXIT, type Host } from './host.ts';
import { type InspectModels, noModels, readModels } from './inspect.ts';

/** What `shoal types` is told beside the configuration. */
export interface TypesOptions {
  /** The file to write; undefined: stdout. */
  readonly out: string | undefined;
  /** Whether pipelines are to be checked by the types, too. */
  readonly forPipelines: boolean;
}

/**
 * Writes TypeScript types of the models at `path`, the highest version of each. Exit code 1 when one failed, when there
 * was none or when the file cannot be written, 3 when the folder cannot be served at all; nothing is written then.
 *
 * @throws {ConfigError} when nothing is at `path`.
 */
export async function types(
  path: string,
  config: Config,
  { out, forPipelines }: TypesOptions,
  inspectModels: InspectModels,
  host: Host,
): Promise<number> {
  const models = await readModels(path, config, inspectModels, host);
  if (models === undefined) return EXIT.cannotServe;
  if (models.length === 0) {
    host.err(noModels(path, host));
    return EXIT.failed;
  }
  const typed: TypedModel[] = [];
  let failed = false;
  for (const { name, version, signature, reason = 'no reason given' } of highestVersions(models)) {
    if (signature !== undefined) typed.push({ name, version, signature });
    else {
      failed = true;
      host.err(`shoal: model '${name}' version ${version} failed: ${reason}\n`);
    }
  }
  if (failed) return EXIT.failed;
  const text = writeTypes(typed, `shoal types ${path}${forPipelines ? ' --for-pipelines' : ''}`, forPipelines);
  if (out === undefined) host.out(text);
  else {
    try {
      writeFileSync(resolve(host.cwd, out), text);
    } catch (error) {
      host.err(`shoal: ${out} cannot be written: ${messageOf(error)}\n`);
      return EXIT.failed;
    }
  }
  return EXIT.ok;
}

/** The version of each model that is served unless a request names one. */
function highestVersions(models: readonly ModelSummary[]): readonly ModelSummary[] {
  const highest = new Map<string, ModelSummary>();
  for (const model of models) {
    const other = highest.get(model.name);
    if (other === undefined || Number(model.version) > Number(other.version)) highest.set(model.name, model);
  }
  return [...highest.values()];
}
