import type { Clock } from '../clock.ts';
import type { Config } from '../config.ts';
import { messageOf, ServeError } from '../errors.ts';
import type { Log } from '../serving/model-version.ts';
import type { ModelRegistry } from '../serving/registry.ts';
import { nameProblem } from '../serving/repository.ts';
import type { PipelineSource } from './folder.ts';
import { LoopAccount } from './loop-account.ts';
import { watchLoop } from './loop-watch.ts';
import { OffloadPool } from './offload-pool.ts';
import { type PipelineEvents, type PipelineHost, PipelineVersion } from './pipeline-version.ts';

/** What all pipelines of a server share. */
export interface PipelinesContext {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Log;
  /** Where their models are, and where they are found. */
  readonly registry: ModelRegistry;
  readonly eventsFor: (name: string) => PipelineEvents;
}

/** The pipelines of a server. */
export class Pipelines {
  readonly #versions: readonly PipelineVersion[];
  readonly #pool: OffloadPool;
  readonly #unwatch: () => void;

  /**
   * Adds the pipelines to the registry, which has its models already.
   *
   * @throws {ServeError} PIPELINE_INVALID for a name that is none or is taken, for models that are not there, and for
   * schemas that cannot be compiled.
   */
  constructor(sources: readonly PipelineSource[], context: PipelinesContext) {
    this.#pool = new OffloadPool(context.config.cores);
    const { registry } = context;
    this.#versions = sources.map((source) => {
      checkName(source, registry);
      const version = create(source, this.#host(source.name, context));
      registry.addPipeline(version);
      return version;
    });
    // With explicit model control a model may be loaded later.
    if (context.config.modelControlMode === 'none') for (const source of sources) checkModels(source, registry);
    this.#unwatch = sources.length === 0 ? () => {} : watchLoop();
    if (sources.length > 0) {
      const pipelines = this.#versions.map(({ name }) => name);
      context.log.info({ pipelines }, `pipelines are served: ${pipelines.join(', ')}`);
    }
  }

  /** In the order in which they were found. */
  get all(): readonly PipelineVersion[] {
    return this.#versions;
  }

  /** Whether no call is under way. */
  get isIdle(): boolean {
    return this.#versions.every((version) => version.inflightRequests === 0);
  }

  /** The pipeline of this name. */
  find(name: string): PipelineVersion | undefined {
    return this.#versions.find((version) => version.name === name);
  }

  /** Takes no more calls; resolves when all that were taken are settled. */
  async drain(): Promise<void> {
    await Promise.all(this.#versions.map((version) => version.drain()));
  }

  /** Rejects all calls that are not settled, and ends the threads of the pool. */
  async close(): Promise<void> {
    for (const version of this.#versions) version.close();
    await this.#pool.close();
    this.#unwatch();
  }

  #host(name: string, { config, clock, log, registry, eventsFor }: PipelinesContext): PipelineHost {
    const events = eventsFor(name);
    const ownLog = named(log, name);
    return {
      config,
      clock,
      log: ownLog,
      events,
      loop: new LoopAccount(name, ownLog, (ms) => events.held(ms)),
      infer: (model, inputs, options) => registry.infer(model, inputs, options),
      kindOf: (model) => registry.kindOf(model),
      offload: (url, exportName, value, options) => this.#pool.run(url, exportName, value, options),
      missing: (model) => {
        if (registry.kindOf(model) === 'model' && registry.find(model) === undefined)
          return `there is no model '${model}'`;
        const servable = registry.servable(model, undefined);
        return servable.isReady ? undefined : servable.notReady().message;
      },
    };
  }
}

function create({ name, pipeline, file }: PipelineSource, host: PipelineHost): PipelineVersion {
  try {
    return new PipelineVersion(name, pipeline, file, host);
  } catch (cause) {
    throw new ServeError('PIPELINE_INVALID', messageOf(cause), { cause });
  }
}

function checkName({ name, file }: PipelineSource, registry: ModelRegistry): void {
  const where = file === '' ? '' : ` (${file})`;
  if (name === '') throw new ServeError('PIPELINE_INVALID', `a pipeline that a program registers needs a name`);
  const problem = nameProblem(name);
  if (problem !== undefined) {
    throw new ServeError('PIPELINE_INVALID', `the pipeline name ${JSON.stringify(name)}${where} ${problem}`);
  }
  if (registry.kindOf(name) === 'pipeline') {
    throw new ServeError('PIPELINE_INVALID', `there are two pipelines '${name}'${where}`);
  }
  if (registry.find(name) !== undefined) {
    throw new ServeError(
      'PIPELINE_INVALID',
      `pipeline '${name}'${where} has the name of a model; rename one of the two`,
    );
  }
}

function checkModels({ name, pipeline }: PipelineSource, registry: ModelRegistry): void {
  for (const model of pipeline.models) {
    if (registry.names.includes(model)) continue;
    const names = registry.names.filter((one) => one !== name);
    const known = names.length === 0 ? 'there is none' : `there is ${names.map((one) => `'${one}'`).join(', ')}`;
    throw new ServeError('PIPELINE_INVALID', `pipeline '${name}' needs model '${model}', ${known}`);
  }
}

/** Lines that carry a pipeline's name. */
function named(log: Log, pipeline: string): Log {
  return {
    info: (fields, message) => log.info({ pipeline, ...fields }, message),
    warn: (fields, message) => log.warn({ pipeline, ...fields }, message),
    error: (fields, message) => log.error({ pipeline, ...fields }, message),
  };
}
