import { byteBudget } from '../batching/byte-budget.ts';
import { CoreTokens } from '../batching/core-tokens.ts';
import { systemClock } from '../clock.ts';
import type { Config } from '../config.ts';
import { grantedMemoryBytes } from '../granted.ts';
import { type ModelSummary, ModelVersion, type ServingContext, type VersionEvents } from './model-version.ts';
import { chooseProvider, type ProviderChoice } from './provider.ts';
import { findModels } from './repository.ts';

const NO_EVENTS: VersionEvents = {
  batchEnded: () => {},
  settled: () => {},
  refused: () => {},
  restarted: () => {},
  checked: () => {},
  finished: () => {},
};
const NO_LOG = { info: () => {}, warn: () => {}, error: () => {} };

/**
 * Loads and probes what lies at `path`, one model after the other, and lets it go again; see {@link findModels}.
 *
 * @throws {ServeError} MODELS_MISSING, NAME_TWICE or NAME_INVALID.
 */
export async function inspectModels(path: string, config: Config): Promise<ModelSummary[]> {
  const sources = await findModels(path);
  let provider: Promise<ProviderChoice> | undefined;
  const context: ServingContext = {
    config,
    clock: systemClock,
    log: NO_LOG,
    tokens: new CoreTokens(config.cores, systemClock),
    budget: byteBudget(config.maxQueueBytes),
    memoryBytes: grantedMemoryBytes(),
    provider: () => {
      provider ??= chooseProvider(config.provider, systemClock);
      return provider;
    },
    eventsFor: () => NO_EVENTS,
    placed: () => {},
    released: () => {},
  };
  const summaries: ModelSummary[] = [];
  for (const source of sources) {
    const version = new ModelVersion(source, context);
    await version.load();
    summaries.push(version.summary());
    version.close();
  }
  return summaries;
}
