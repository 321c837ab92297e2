import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { FastifyPluginCallback } from 'fastify';
import { byteBudget } from './batching/byte-budget.ts';
import { CoreTokens } from './batching/core-tokens.ts';
import { type Clock, systemClock } from './clock.ts';
import { type Config, type ConfigInput, resolveConfig } from './config.ts';
import { grantedMemoryBytes } from './granted.ts';
import { addRoutes, addUnknownPaths } from './http/app.ts';
import type { HttpParts } from './http/parts.ts';
import type { RemoteTest } from './loading/remote.ts';
import { createLogger, type Logger } from './logging.ts';
import { type BuildInfo, ServerMetrics } from './metrics/server-metrics.ts';
import { TraceRecorder } from './metrics/trace-recorder.ts';
import { addTrainingMetrics } from './metrics/training-metrics.ts';
import { loadSchemaCompiler } from './pipeline/compiled-field.ts';
import type { Pipeline } from './pipeline/define.ts';
import { loadFolder, type PipelineSource } from './pipeline/folder.ts';
import type { PipelineEvents } from './pipeline/pipeline-version.ts';
import { Pipelines } from './pipeline/pipelines.ts';
import { LogSettings } from './protocol/log-settings.ts';
import type { RemoteInputs } from './protocol/remote-inputs.ts';
import type { createRemoteInputs } from './remote.ts';
import type { InferResult } from './serving/infer-result.ts';
import { type ControlParameters, findStartSources, ModelControl } from './serving/model-control.ts';
import type { InferOptions, ModelSummary } from './serving/model-version.ts';
import { openProfileCache } from './serving/profile/profile-cache.ts';
import { chooseProvider, type ProviderChoice } from './serving/provider.ts';
import { ModelRegistry } from './serving/registry.ts';
import type { ModelSource } from './serving/repository.ts';
import type { IndexEntry } from './serving/served-model.ts';
import type { Tensor } from './tensor/tensor.ts';
import { BackgroundTurns } from './training/background-turns.ts';
import type { Turn } from './training/training-plan.ts';
import { TRAINING_STATES } from './training/training-record.ts';
import { type TrainingContext, TrainingService } from './training/training-service.ts';

/** What a service may be given besides its configuration. */
export interface ServiceDeps {
  /** Default: JSON lines on stdout at the configured level. */
  readonly logger?: Logger;
  /** The executor's program, for bundlers that move it: the path of `executor/main.js`. */
  readonly executorEntry?: string;
  /** Pipelines to serve beside those of the folder. */
  readonly pipelines?: readonly Pipeline[];
  /** @internal For tests: CPU time after which a run may count as hung. */
  readonly hangFloorMs?: number;
  /** @internal For tests: memory that counts as granted. */
  readonly memoryBytes?: number;
  /** @internal For tests. */
  readonly clock?: Clock;
  /** @internal For tests. */
  readonly training?: Pick<TrainingContext, 'limits' | 'openFile' | 'makeFolder'>;
  /** @internal For tests: remote inputs from this machine. */
  readonly remoteTest?: RemoteTest;
}

export type { InferResult };

/** Options of {@link Service.plugin}. */
export interface PluginOptions {
  /** Whether it answers for unknown paths; default: only below a prefix. */
  readonly ownsUnknownPaths?: boolean;
}

/** Models loaded from a folder, with their batchers, executors and metrics; without a socket of its own. */
export class Service {
  readonly config: Config;
  readonly logger: Logger;
  readonly logSettings: LogSettings;
  readonly registry: ModelRegistry;
  readonly control: ModelControl;
  readonly pipelines: Pipelines;
  readonly metrics: ServerMetrics;
  readonly build: BuildInfo;
  readonly clock: Clock;
  /** Fetches inputs that are given by their addresses; undefined where nothing is fetched. */
  readonly remote: RemoteInputs | undefined;
  readonly #loaded: Promise<void>;
  /**
   * For {@link trainHead}: a step takes a core only when no batch could use it, so that training beside serving gives
   * way within one step.
   */
  readonly trainingTurn: Turn;
  readonly #trace: TraceRecorder | undefined;
  #trainings: TrainingService | undefined;
  #draining = false;
  #closesConnections = false;
  #drained: Promise<void> | undefined;

  private constructor(
    config: Config,
    logger: Logger,
    deps: ServiceDeps,
    sources: readonly ModelSource[],
    pipelines: readonly PipelineSource[],
    createRemote?: typeof createRemoteInputs,
  ) {
    this.config = config;
    this.logger = logger;
    this.logSettings = new LogSettings(logger);
    this.clock = deps.clock ?? systemClock;
    this.build = { ...versions(), node: process.versions.node, cores: config.cores };
    const budget = byteBudget(config.maxQueueBytes);
    this.metrics = new ServerMetrics(this.build, budget, { triton: config.tritonMetrics });
    this.#trace = this.#recordTrace();
    this.remote = createRemote?.(config, this.clock, budget, this.metrics, deps.remoteTest);
    const tokens = new CoreTokens(config.cores, this.clock);
    const background = new BackgroundTurns(tokens, this.clock);
    this.trainingTurn = () => background.turn();
    let provider: Promise<ProviderChoice> | undefined;
    this.registry = new ModelRegistry(sources, {
      config,
      clock: this.clock,
      log: logger,
      tokens,
      budget,
      memoryBytes: deps.memoryBytes ?? grantedMemoryBytes(),
      provider: () => {
        provider ??= chooseProvider(config.provider, this.clock, deps.executorEntry);
        return provider;
      },
      profiles: openProfileCache(config, (message) => logger.warn({}, message)),
      eventsFor: (version) => {
        const meters = this.metrics.metersFor(version);
        return this.#trace?.watch(version, meters) ?? meters;
      },
      placed: (version) => this.metrics.placed(version),
      released: (version) => this.metrics.released(version),
      executorEntry: deps.executorEntry,
      hangFloorMs: deps.hangFloorMs,
    });
    this.control = new ModelControl(this.registry, config);
    this.pipelines = this.#servePipelines(pipelines);
    this.#loaded = this.registry.load();
  }

  /**
   * Finds the models and starts to load them.
   *
   * @throws {ConfigError} for a wrong option. @throws {ServeError} when the models folder or a pipeline cannot be served.
   */
  static async create(options: ConfigInput | Config = {}, deps: ServiceDeps = {}): Promise<Service> {
    const config = resolveConfig(options);
    const sources = await findStartSources(config);
    const registered = (deps.pipelines ?? []).map((pipeline) => ({ name: pipeline.name ?? '', pipeline, file: '' }));
    const pipelines = [...(await loadFolder(config.pipelines, config.models)), ...registered];
    if (pipelines.length > 0) await loadSchemaCompiler();
    const remote = config.remoteHosts.length > 0 ? await import('./remote.ts') : undefined;
    const logger = deps.logger ?? createLogger(config);
    const service = new Service(config, logger, deps, sources, pipelines, remote?.createRemoteInputs);
    if (config.trainingDir !== undefined) {
      try {
        await service.#openTrainings(config.trainingDir, deps);
      } catch (thrown) {
        await service.drain(0);
        throw thrown;
      }
    }
    return service;
  }

  /** Examples and trainings; undefined without `--training-dir`. */
  get trainings(): TrainingService | undefined {
    return this.#trainings;
  }

  #servePipelines(sources: readonly PipelineSource[]): Pipelines {
    const { config, clock, logger, registry } = this;
    const eventsFor = (name: string): PipelineEvents => this.metrics.pipelineMetersFor(name);
    try {
      return new Pipelines(sources, { config, clock, log: logger, registry, eventsFor });
    } catch (thrown) {
      this.metrics.close();
      this.#trace?.close();
      throw thrown;
    }
  }

  #recordTrace(): TraceRecorder | undefined {
    const { cores, scheduling, traceFile: file, traceMaxBytes: maxBytes } = this.config;
    if (file === 'off') return undefined;
    const ended = (why: string): void => this.logger.warn({ file }, `nothing more is recorded in the trace: ${why}`);
    return new TraceRecorder({ file, maxBytes, cores, scheduling, clock: this.clock, ended });
  }

  /** Resolves when every model is ready or failed. */
  loaded(): Promise<void> {
    return this.#loaded;
  }

  summary(): ModelSummary[] {
    return this.registry.summary();
  }

  /** See {@link ModelControl.load}. */
  load(model: string, parameters?: ControlParameters): Promise<void> {
    return this.control.load(model, parameters);
  }

  /** See {@link ModelControl.unload}. */
  unload(model: string): Promise<void> {
    return this.control.unload(model);
  }

  /** See {@link ModelRegistry.index}. */
  index(readyOnly = false): Promise<IndexEntry[]> {
    return this.registry.index(readyOnly);
  }

  /** Why the server is not ready; undefined when it is. */
  notReady(): string | undefined {
    if (this.#draining) return 'the server is shutting down';
    if (!this.config.strictReadiness) return undefined;
    const unready = this.registry.unready();
    return unready.length === 0 ? undefined : unready.join('; ');
  }

  /**
   * Runs a model as an HTTP request would; concurrent calls share runs with each other and with HTTP's.
   *
   * @param inputs by name; their bytes must not change until the promise has settled.
   * @throws {ShoalError} MODEL_NOT_FOUND, and what {@link ModelVersion.submit} throws and rejects with.
   */
  async infer(
    model: string,
    inputs: Readonly<Record<string, Tensor>>,
    options: InferOptions & { readonly version?: string | undefined } = {},
  ): Promise<InferResult> {
    return this.registry.infer(model, inputs, options);
  }

  async #openTrainings(folder: string, deps: ServiceDeps): Promise<void> {
    this.#trainings = await TrainingService.open({
      folder,
      models: this.config.models,
      registry: this.registry,
      control: this.control,
      server: this,
      turn: this.trainingTurn,
      log: this.logger,
      ...deps.training,
    });
    const trainings = this.#trainings;
    addTrainingMetrics(this.metrics.registry, TRAINING_STATES, () => trainings.meters());
  }

  /**
   * A Fastify plugin with all routes: `app.register(service.plugin, { prefix: '/ml' })`. Body parser, hooks and error
   * handler stay within it, and so does the answer for unknown paths, which without a prefix is the host's. Closing
   * the app drains the service.
   */
  readonly plugin: FastifyPluginCallback<PluginOptions> = (app, { ownsUnknownPaths }, done) => {
    addRoutes(app, this.httpParts());
    if (ownsUnknownPaths ?? app.prefix !== '') addUnknownPaths(app);
    // Answers to what is under way close their connections, which would otherwise hold the host's end.
    app.addHook('preClose', (next) => {
      this.startDraining();
      this.closeConnections();
      next();
    });
    app.addHook('onClose', () => this.drain());
    done();
  };

  /** @internal */
  httpParts(): HttpParts {
    const { config, clock, registry, control, metrics, build, logger, logSettings, trainings, remote } = this;
    return {
      config,
      clock,
      registry,
      control,
      metrics,
      build,
      logger,
      logSettings,
      trainings,
      remote,
      notReady: () => this.notReady(),
      isDraining: () => this.#closesConnections,
    };
  }

  /** Says "not ready" from now on, and goes on serving. */
  startDraining(): void {
    this.#draining = true;
    this.#trainings?.interrupt();
    this.control.stop();
  }

  /** Has every further answer close its connection. */
  closeConnections(): void {
    this.#closesConnections = true;
  }

  /**
   * Finishes what was accepted and lets the executors go. Repeated calls join the first.
   *
   * @param timeoutMs the longest that may take; default the drain timeout.
   */
  drain(timeoutMs: number = this.config.drainTimeoutMs): Promise<void> {
    this.startDraining();
    this.#drained ??= this.#finish(timeoutMs);
    return this.#drained;
  }

  /** Pipelines first: what they have begun still asks models. */
  async #drainAll(): Promise<void> {
    const pipelines = this.pipelines.drain();
    if (!this.pipelines.isIdle) await pipelines;
    await this.registry.drain();
  }

  async #finish(timeoutMs: number): Promise<void> {
    let timer: { cancel(): void } | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.clock.setTimer(timeoutMs, resolve);
    });
    await Promise.race([Promise.all([this.#drainAll(), this.#trainings?.close()]), late]);
    timer!.cancel();
    await this.pipelines.close();
    this.registry.close();
    this.registry.kill();
    this.metrics.close();
    this.#trace?.close();
    await this.remote?.close();
  }
}

function versions(): { version: string; onnxruntime: string } {
  const read = (file: string | URL): string => (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  return {
    version: read(new URL('../../package.json', import.meta.url)),
    onnxruntime: read(createRequire(import.meta.url).resolve('onnxruntime-node/package.json')),
  };
}
