import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { systemClock } from '../clock.ts';
import type { Config } from '../config.ts';
import { ConfigError } from '../config-error.ts';
import { messageOf } from '../errors.ts';
import { grantedMemoryBytes } from '../granted.ts';
import { decodeInferRequest } from '../http/v2-codec.ts';
import type { Profile } from '../serving/profile/profile.ts';
import { openProfileCache } from '../serving/profile/profile-cache.ts';
import { profileModel } from '../serving/profile/profile-model.ts';
import { chooseProvider, type ProviderChoice } from '../serving/provider.ts';
import { findModels, type ModelSource } from '../serving/repository.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { explainStartFailure } from './explain.ts';
import { EXIT, type Host } from './host.ts';
import { formatProfile } from './profile-report.ts';

/** What `shoal profile` is to do. */
export interface ProfileJob {
  /** A model file, the folder of a model or of several, or the name of a model in the models folder. */
  readonly model: string;
  /** How long the measurement of a model may take, in seconds; loading not counted. */
  readonly seconds: number;
  /** A file with the body of an infer request in JSON, whose rows are used; undefined: rows are made up. */
  readonly input: string | undefined;
  readonly json: boolean;
}

/**
 * Measures whether batching pays for a model, how many rows a run should have and how the model is best spread over the
 * cores; prints that and stores it for the server. Exit code 1 when a model could not be measured.
 *
 * @throws {ConfigError} when the model or the input cannot be read.
 */
export async function profile(job: ProfileJob, config: Config, host: Host): Promise<number> {
  const inputs = job.input === undefined ? undefined : readInputs(job.input, host);
  let sources: readonly ModelSource[];
  try {
    sources = highestVersions(await findModels(locate(job.model, config, host)));
  } catch (error) {
    const reason = explainStartFailure(error, config);
    if (reason === undefined) throw error;
    host.err(`shoal: ${reason}\n`);
    return EXIT.cannotServe;
  }
  if (sources.length === 0) {
    host.err(`shoal: no models in ${job.model}\n`);
    return EXIT.failed;
  }
  const cache = openProfileCache(config, (message) => host.err(`shoal: ${message}\n`));
  let provider: Promise<ProviderChoice> | undefined;
  const context = {
    config,
    clock: systemClock,
    memoryBytes: grantedMemoryBytes(),
    provider: () => {
      provider ??= chooseProvider(config.provider, systemClock);
      return provider;
    },
    forMs: job.seconds * 1e3,
    inputs,
  };
  const profiles: Profile[] = [];
  for (const source of sources) {
    try {
      const measured = await profileModel(source, context);
      profiles.push(measured);
      if (!job.json) host.out(`${profiles.length > 1 ? '\n' : ''}${formatProfile(measured, host.isTerminal)}`);
      const file = await cache?.write(source, measured);
      if (!job.json && file !== undefined) host.out(`Stored for shoal serve in ${file}\n`);
    } catch (thrown) {
      host.err(`shoal: model '${source.name}' version ${source.version}: ${messageOf(thrown)}\n`);
    }
  }
  if (job.json) host.out(`${JSON.stringify(profiles, null, 2)}\n`);
  return profiles.length === sources.length ? EXIT.ok : EXIT.failed;
}

/** The path of what is to be measured. */
function locate(model: string, config: Config, host: Host): string {
  const path = resolve(host.cwd, model);
  if (existsSync(path)) return path;
  const folder = resolve(host.cwd, config.models);
  for (const named of [resolve(folder, model), resolve(folder, `${model}.onnx`)]) if (existsSync(named)) return named;
  throw new ConfigError('argument <model>', model, `an .onnx file, a folder of models, or a model's name in ${folder}`);
}

function readInputs(file: string, host: Host): ReadonlyMap<string, Tensor> {
  try {
    const decoder = decodeInferRequest(readFileSync(resolve(host.cwd, file)), undefined);
    for (;;) {
      const { done, value } = decoder.next();
      if (done === true) return value.inputs;
    }
  } catch (thrown) {
    throw new ConfigError('--input', file, `a file with the JSON body of an infer request (${messageOf(thrown)})`);
  }
}

function highestVersions(sources: readonly ModelSource[]): ModelSource[] {
  const highest = new Map<string, ModelSource>();
  for (const source of sources) {
    const other = highest.get(source.name);
    if (other === undefined || Number(source.version) > Number(other.version)) highest.set(source.name, source);
  }
  return [...highest.values()];
}
