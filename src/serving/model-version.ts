import { Batcher, type BatcherEvents, type BatcherOptions } from '../batching/batcher.ts';
import type { ByteBudget } from '../batching/byte-budget.ts';
import type { CoreTokens } from '../batching/core-tokens.ts';
import { CostEstimate } from '../batching/cost.ts';
import { sayVerdict } from '../batching/curve-verdict.ts';
import { PendingRequest, type Reply, type Stamps, type Submission } from '../batching/request.ts';
import type { Clock } from '../clock.ts';
import type { Config } from '../config.ts';
import { type ErrorCode, invalid, messageOf, ShoalError, toShoalError } from '../errors.ts';
import type { Executor, HangLimits } from '../executor/executor.ts';
import type { Finding, ProbeRequest } from '../executor/messages.ts';
import { checkInputs, checkOutputs, type Signature } from '../tensor/signature.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { unknownOutput } from '../tensor/verdict.ts';
import { applySettings, planProbe, type Served } from './apply-settings.ts';
import type { Certificate, CheckResult } from './certificate.ts';
import { Certifier } from './certifier.ts';
import { checkTensors } from './check-tensors.ts';
import { describeSettings } from './describe-settings.ts';
import { ExecutorPool } from './executor-pool.ts';
import type { BatchingCheck, BatchingSettings, ModelSettings, QueueSettings } from './model-settings.ts';
import { levelOf, queueOf } from './priority-levels.ts';
import { type Profile, runsOf } from './profile/profile.ts';
import type { ProfileCache } from './profile/profile-cache.ts';
import { chooseForModel, type ProviderChoice } from './provider.ts';
import type { ModelSource } from './repository.ts';
import type { Pending, Servable } from './servable.ts';
import { type Spread, spreadByProfile, spreadOver } from './threads.ts';
import { VerdictWatch } from './verdict-watch.ts';
import { describeCurve, type VersionProfile } from './version-profile.ts';

export type ModelState = 'loading' | 'ready' | 'draining' | 'unloaded' | 'failed';

/** How a request came in. */
export type Protocol = 'v2' | 'v1' | 'grpc' | 'library';

/** What a model version and its doors report. Calls must not throw. */
export interface VersionEvents extends Omit<BatcherEvents, 'unbatchable'> {
  /** A lost executor is being replaced. */
  restarted(): void;
  /** A shared run, or real rows of a model that is not batched yet, have been looked at. */
  checked(result: CheckResult, ms: number): void;
  /**
   * A request to this version has come to its end at `endMs`, its reply encoded; `code` is undefined when it was
   * answered, and `stamps` are there once it was queued. `fetchMs`: how long
   * the inputs of one that was not queued were fetched.
   */
  finished(
    protocol: Protocol,
    receivedMs: number,
    endMs: number,
    code: ErrorCode | undefined,
    stamps: Readonly<Stamps> | undefined,
    fetchMs?: number,
  ): void;
}

/** Lines for the log; pino's loggers fit. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What all model versions of a server share. */
export interface ServingContext {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Log;
  readonly tokens: CoreTokens;
  readonly budget: ByteBudget;
  /** Memory that batches may be sized by, in bytes. */
  readonly memoryBytes: number;
  /** Settles once for all models: they run on the same provider. */
  readonly provider: () => Promise<ProviderChoice>;
  /** What `shoal profile` has stored; undefined: nothing is looked for. */
  readonly profiles?: ProfileCache | undefined;
  /** Called when a version is made. */
  readonly eventsFor: (version: ModelVersion) => VersionEvents;
  /** A version is the one that requests for its number go to from now on. */
  readonly placed: (version: ModelVersion) => void;
  /** A version is gone for good. */
  readonly released: (version: ModelVersion) => void;
  /** Where the executor's program is, if not beside this one. */
  readonly executorEntry?: string | undefined;
  /** CPU time after which a run may count as hung at the earliest; 10 s unless tests have less patience. */
  readonly hangFloorMs?: number | undefined;
}

/** Options of {@link ModelVersion.submit}. */
export interface SubmitOptions {
  /** Names of the outputs wanted, in that order; left out or empty: all. */
  readonly outputs?: readonly string[] | undefined;
  /** How long the caller waits, in milliseconds; default and upper limit is the server's request timeout. */
  readonly timeoutMs?: number | undefined;
  /** How long the request may wait for its run to begin, in milliseconds. */
  readonly queueTimeoutMs?: number | undefined;
  /**
   * Where the model's configuration has levels of priority: 1 is run first; 0, too large or left out stands for the
   * default level. Otherwise it changes nothing.
   */
  readonly priority?: number | undefined;
  /** When the request began, on the monotonic clock; default now. */
  readonly receivedMs?: number | undefined;
  /** How long the request's inputs were fetched, in milliseconds. */
  readonly fetchMs?: number | undefined;
}

/** Options of {@link ModelVersion.infer}. */
export interface InferOptions extends SubmitOptions {
  /** What a full queue means: wait for room, until the request's time is over, or be refused, the default. */
  readonly whenFull?: 'wait' | 'refuse' | undefined;
  /** Gives the request up when aborted. */
  readonly signal?: AbortSignal | undefined;
}

/** What is known of a model version, for people and for `inspect`. */
export interface ModelSummary {
  readonly name: string;
  readonly version: string;
  readonly state: ModelState;
  /** Why it is failed; `unloaded` when it was unloaded while the server goes on. */
  readonly reason: string | undefined;
  readonly provider: string;
  /** Why it runs there. */
  readonly providerReason: string;
  readonly instances: number;
  readonly maxInstances: number;
  /** Threads per instance. */
  readonly threads: number;
  /** One sentence: whether requests share runs, and why. */
  readonly batching: string;
  readonly maxBatchSize: number;
  /** One line: what the model's configuration sets; undefined when it has none. */
  readonly configuration: string | undefined;
  readonly signature: Signature | undefined;
  readonly file: string;
  readonly fileBytes: number;
  readonly loadMs: number | undefined;
}

/** The reason of a version that was unloaded, as Triton gives it. */
const UNLOADED = 'unloaded';

/** A batch may use this share of the memory granted. */
const MEMORY_SHARE = 0.25;

/** One executor may hold this share of the memory granted. */
const EXECUTOR_MEMORY_SHARE = 0.5;

const HANG_FLOOR_MS = 10_000;
/** A run is hung when it takes this many times what the dearest comparable one took. */
const HANG_FACTOR = 20;
/** A container may be throttled, so that the wall clock proves little. */
const HANG_WALL_FACTOR = 6;
/** A look at runs has hung when it takes this many times what one row takes, and longer than any run may. */
const CHECK_FACTOR = 200;

/**
 * One version of a model: its executors, its batcher and its states. It is the door to inference for every caller;
 * HTTP uses it as the library does.
 *
 * loading → ready → draining → unloaded, or failed with a reason.
 */
export class ModelVersion implements Servable {
  readonly kind = 'model' as const;
  readonly opaque: undefined;
  readonly source: ModelSource;
  readonly events: VersionEvents;
  readonly #context: ServingContext;
  readonly #cost: CostEstimate = new CostEstimate();
  readonly #spread: Spread;
  #stored: Profile | undefined;
  readonly #configuration: string | undefined;
  #state: ModelState = 'loading';
  #reason: string | undefined;
  #provider: ProviderChoice | undefined;
  #batcher: Batcher | undefined;
  #batching = 'not loaded yet';
  #certifier: Certifier | undefined;
  /** Compute of all runs. */
  #computeMs = 0;
  #maxBatchSize = 1;
  #loadMs: number | undefined;
  #pool: ExecutorPool | undefined;
  #watch: VerdictWatch | undefined;
  #loaded: Promise<void> | undefined;
  #drained: Promise<void> | undefined;

  constructor(source: ModelSource, context: ServingContext) {
    this.source = source;
    this.#context = context;
    this.#spread = spreadOver(
      {
        cores: context.config.cores,
        instances: source.settings.instances.count ?? context.config.instances,
        intraOpThreads: source.settings.session.intraOpThreads ?? context.config.intraOpThreads,
      },
      source.bytes,
    );
    this.#configuration = source.problem === undefined ? describeSettings(source.settings) : undefined;
    this.events = context.eventsFor(this);
  }

  get name(): string {
    return this.source.name;
  }

  get version(): string {
    return this.source.version;
  }

  get state(): ModelState {
    return this.#state;
  }

  /** Whether a request would be answered now: ready, and an executor is alive. */
  get isReady(): boolean {
    return this.#state === 'ready' && this.#batcher!.runners > 0;
  }

  /** Undefined until it is loaded. */
  get signature(): Signature | undefined {
    return this.#batcher?.signature;
  }

  /** Names of the classes of each output that has them, by the output's name; a class is an index into its list. */
  get labels(): ReadonlyMap<string, readonly string[]> {
    return this.settings.labels;
  }

  /** Whether requests share runs. */
  get sharesRuns(): boolean {
    return this.#batcher?.shares ?? false;
  }

  /** What is known of whether rows may share a run; undefined until it is loaded. */
  get certificate(): Certificate | undefined {
    return this.#certifier?.certificate;
  }

  get maxBatchSize(): number {
    return this.#maxBatchSize;
  }

  get batchWindowMs(): number {
    return this.settings.batching.windowMs ?? this.#context.config.batchWindowMs;
  }

  /** What the model's configuration asks for. */
  get settings(): ModelSettings {
    return this.source.settings;
  }

  get queuedRows(): number {
    return this.#batcher?.queuedRows ?? 0;
  }

  get queuedRequests(): number {
    return this.#batcher?.queuedRequests ?? 0;
  }

  get inflightRequests(): number {
    return this.#batcher?.inflightRequests ?? 0;
  }

  get executors(): number {
    return this.#batcher?.runners ?? 0;
  }

  summary(): ModelSummary {
    const { provider, device } = this.#provider ?? { provider: 'cpu', device: 0 };
    return {
      name: this.name,
      version: this.version,
      state: this.#state,
      reason: this.#reason,
      provider: provider === 'cuda' ? `cuda:${device}` : provider,
      providerReason: this.#provider?.reason ?? 'not chosen yet',
      instances: this.executors,
      maxInstances: this.#spread.instances,
      threads: this.#spread.threads,
      batching: this.#batching,
      maxBatchSize: this.#maxBatchSize,
      configuration: this.#configuration,
      signature: this.signature,
      file: this.source.file,
      fileBytes: this.source.bytes,
      loadMs: this.#loadMs,
    };
  }

  /** What has been measured of it; undefined until it is loaded. */
  profile(): VersionProfile | undefined {
    if (this.#batcher === undefined) return undefined;
    const spread = { cores: this.#context.config.cores, ...this.#spread };
    const unbatched = this.sharesRuns ? undefined : this.#batching;
    return describeCurve(this.#cost, spread, this.#maxBatchSize, unbatched, this.#stored);
  }

  /** Loads and probes the model; afterwards it is ready or failed. Never rejects; repeated calls join the first. */
  load(): Promise<void> {
    this.#loaded ??= this.#load();
    return this.#loaded;
  }

  async #load(): Promise<void> {
    if (this.#state !== 'loading') return;
    const { clock, config, log } = this.#context;
    const start = clock.now();
    try {
      if (this.source.problem !== undefined) throw new Error(this.source.problem);
      this.#provider = await chooseForModel(this.settings, this.#context.provider);
      if (this.#provider.problem !== undefined) throw new Error(this.#provider.problem);
      await this.#useProfile(this.#provider);
      if ((this.#state as ModelState) !== 'loading') return;
      this.#pool = this.#createPool(this.#provider);
      const { executor, plan, finding, served } = await this.#startProbed(this.#pool);
      if ((this.#state as ModelState) !== 'loading') {
        executor.close();
        return;
      }
      const { signature, shares } = served;
      this.#batching = served.reason;
      const { settings } = this;
      this.#maxBatchSize = this.#limitRows(signature, finding);
      const profiled = this.#stored === undefined ? [] : runsOf(this.#stored, this.#spread);
      this.#cost.assume(profiled.length > 0 ? profiled : finding.runs);
      this.#certifier = this.#createCertifier(plan, finding, served);
      this.#batcher = new Batcher({
        name: this.name,
        signature,
        shares,
        maxBatchRows: this.#maxBatchSize,
        maxQueueRows: settings.maxQueueRows ?? config.maxQueueRows,
        ...queueLimits(settings.batching),
        preferredRows: this.#preferredRows(),
        windowMs: this.batchWindowMs,
        splits: config.scheduling === 'measured',
        preservesOrder: settings.batching.preservesOrder,
        budget: this.#context.budget,
        tokens: this.#context.tokens,
        cost: this.#cost,
        clock,
        events: this.#batcherEvents(),
        watch: this.#certifier,
      });
      this.#watch = this.#createWatch();
      this.#pool.adopt(executor);
      this.#loadMs = clock.now() - start;
      this.#state = 'ready';
      const { provider, providerReason } = this.summary();
      const fields = {
        ...this.#labels(),
        provider,
        providerReason,
        loadMs: Math.round(this.#loadMs),
        configuration: this.#configuration,
      };
      log.info(
        { ...fields, batching: this.#batching, maxBatchSize: this.#maxBatchSize, curve: this.profile()!.sentence },
        `model '${this.name}' version ${this.version} is ready`,
      );
    } catch (thrown) {
      this.#fail(messageOf(thrown));
    }
  }

  /** Looks for what `shoal profile` has measured of the model on this machine, and says so if that advises another spread. */
  async #useProfile({ provider }: ProviderChoice): Promise<void> {
    const { config, profiles, log } = this.#context;
    this.#stored = await profiles?.find(this.source, config.cores, provider);
    const { instances, session } = this.settings;
    const asked = {
      instances: instances.count ?? config.instances,
      intraOpThreads: session.intraOpThreads ?? config.intraOpThreads,
    };
    const advised = spreadByProfile(this.#spread, asked, this.#stored);
    if (advised === this.#spread) return;
    const [would, is] = [advised, this.#spread].map(({ instances: n, threads }) => `${n} × ${threads}`);
    const text = `its profile advises ${would} (executors × threads) in place of ${is}`;
    log.info({ ...this.#labels(), served: this.#spread, advised }, `model '${this.name}': ${text}`);
  }

  /**
   * Checks a request and queues it. Nothing is waited for; the request's promise settles exactly once.
   *
   * @param inputs by name, as tensors whose bytes must not change until the promise has settled.
   * @throws {ShoalError} INVALID_REQUEST, MODEL_NOT_READY, SHUTTING_DOWN, QUEUE_FULL, DEADLINE_UNREACHABLE or
   * EXECUTOR_LOST; the promise rejects with CANCELLED, DEADLINE_EXCEEDED, INFERENCE_FAILED, INVALID_REQUEST (ONNX
   * Runtime refused the values), EXECUTOR_LOST or MODEL_NOT_READY.
   */
  submit(inputs: ReadonlyMap<string, Tensor>, options: SubmitOptions = {}): PendingRequest {
    const [batcher, submission] = this.#prepare(inputs, options, options.receivedMs);
    return batcher.submit(submission);
  }

  #prepare(
    inputs: ReadonlyMap<string, Tensor>,
    options: SubmitOptions,
    beganMs: number | undefined,
  ): [Batcher, Submission] {
    const batcher = this.#batcher;
    if (batcher === undefined || this.#state === 'failed' || this.#state === 'unloaded') {
      this.events.refused('MODEL_NOT_READY');
      throw this.notReady();
    }
    checkTimeout('timeoutMs', options.timeoutMs);
    checkTimeout('queueTimeoutMs', options.queueTimeoutMs);
    const { signature } = batcher;
    const checked = checkInputs(this.name, signature, inputs, this.#maxBatchSize);
    const outputs = checkOutputs(this.name, signature, options.outputs);
    const nowMs = this.#context.clock.now();
    const { requestTimeoutMs } = this.#context.config;
    const receivedMs = beganMs ?? nowMs;
    const { batching } = this.settings;
    const priority = levelOf(options.priority, batching);
    const queueTimeoutMs = queueOf(priority, batching).timeoutMs ?? Number.POSITIVE_INFINITY;
    const submission = {
      inputs: checked,
      outputs,
      priority,
      receivedMs,
      fetchMs: options.fetchMs,
      deadlineMs: receivedMs + Math.min(requestTimeoutMs, options.timeoutMs ?? requestTimeoutMs),
      queueDeadlineMs: nowMs + Math.min(options.queueTimeoutMs ?? Number.POSITIVE_INFINITY, queueTimeoutMs),
    };
    return [batcher, submission];
  }

  /** {@link ModelVersion.submit} as one promise, for callers in this process, whose tensors nobody has checked yet. */
  async infer(inputs: ReadonlyMap<string, Tensor>, options: InferOptions = {}): Promise<Reply> {
    const receivedMs = options.receivedMs ?? this.#context.clock.now();
    const finished = (code: ErrorCode | undefined, stamps?: Readonly<Stamps>): void =>
      this.events.finished('library', receivedMs, this.#context.clock.now(), code, stamps);
    const { signal } = options;
    let request: PendingRequest | undefined;
    let cancel: (() => void) | undefined;
    try {
      checkTensors(inputs);
      const [batcher, submission] = this.#prepare(inputs, options, receivedMs);
      const taken =
        options.whenFull === 'wait' ? await batcher.submitWhenRoom(submission, signal) : batcher.submit(submission);
      request = taken;
      cancel = () => this.cancel(taken);
      if (signal?.aborted) cancel();
      signal?.addEventListener('abort', cancel);
      const reply = await taken.promise;
      finished(undefined, reply.stamps);
      return reply;
    } catch (thrown) {
      finished(toShoalError(thrown).code, request?.stamps);
      throw thrown;
    } finally {
      if (cancel !== undefined) signal?.removeEventListener('abort', cancel);
    }
  }

  /** Gives a request up; see {@link Batcher.cancel}. */
  cancel(request: Pending): void {
    if (request instanceof PendingRequest) this.#batcher?.cancel(request);
  }

  /** Takes no more requests; resolves when all accepted ones are settled and the executors have been let go. */
  drain(): Promise<void> {
    this.#drained ??= this.#drain(new ShoalError('SHUTTING_DOWN', `model '${this.name}' is being shut down`));
    return this.#drained;
  }

  /** {@link ModelVersion.drain} because the model was unloaded or has been replaced, while the server goes on. */
  unload(): Promise<void> {
    this.#reason = UNLOADED;
    if (this.#state === 'ready') this.#state = 'draining';
    this.#drained ??= this.#drain(this.notReady()).then(() =>
      this.#context.log.info(this.#labels(), `model '${this.name}' version ${this.version} is unloaded`),
    );
    return this.#drained;
  }

  async #drain(error: ShoalError): Promise<void> {
    if (this.#state === 'ready' || this.#state === 'draining') {
      this.#state = 'draining';
      await this.#batcher!.drain(error);
    }
    this.close();
  }

  /** Ends everything at once; requests that are not settled are rejected. */
  close(): void {
    if (this.#state !== 'failed' || this.#reason === UNLOADED) this.#state = 'unloaded';
    this.#batcher?.close(new ShoalError('SHUTTING_DOWN', `model '${this.name}' was shut down before it answered`));
    this.#pool?.close();
  }

  /** See {@link ExecutorPool.kill}. */
  kill(): void {
    this.#pool?.kill();
  }

  /** The error for a request that this version cannot take now. */
  notReady(): ShoalError {
    const why = this.#state === 'failed' ? `: ${this.#reason}` : '';
    return new ShoalError('MODEL_NOT_READY', `model '${this.name}' version ${this.version} is ${this.#state}${why}`);
  }

  async #startProbed(pool: ExecutorPool): Promise<Started> {
    const { settings } = this;
    const { executor, report } = await pool.start();
    let plan: ProbeRequest | undefined;
    try {
      plan = planProbe(settings, report.signature);
      const finding = await executor.probe(plan);
      return { executor, plan, finding, served: applySettings(settings, finding, this.#batchingCheck) };
    } catch (thrown) {
      executor.kill('its probe failed');
      if (plan === undefined || this.#state !== 'loading' || !(thrown instanceof ShoalError)) throw thrown;
      // Generated inputs may have ended it; the model may still be fine with real ones.
      const { executor: second } = await pool.start();
      const reason = `generated inputs cannot run it: ${messageOf(thrown)}`;
      const unknown = { batched: false, isOpen: true, reason, signature: report.signature };
      const served = applySettings(settings, unknown, this.#batchingCheck);
      const outputs = served.signature.outputs.map(unknownOutput);
      const finding: Finding = {
        ...unknown,
        evidence: 'generated',
        outputs,
        exactSizes: [1],
        bytesPerRow: 0,
        runs: [],
      };
      return { executor: second, plan, finding, served };
    }
  }

  get #batchingCheck(): BatchingCheck {
    return this.settings.batchingCheck ?? this.#context.config.batchingCheck;
  }

  /** The most rows of a request and of a run. */
  #limitRows({ batched }: Signature, { bytesPerRow }: Finding): number {
    const asked = this.settings.maxBatchSize || this.#context.config.maxBatchSize;
    const byMemory = bytesPerRow > 0 ? (MEMORY_SHARE * this.#context.memoryBytes) / bytesPerRow : asked;
    return batched ? Math.max(1, Math.min(asked, Math.floor(byMemory))) : 1;
  }

  #preferredRows(): number[] {
    return this.settings.batching.preferredRows.filter((rows) => rows <= this.#maxBatchSize);
  }

  #createWatch(): VerdictWatch {
    return new VerdictWatch(this.#cost, this.#maxBatchSize, (verdict) =>
      this.#context.log.info(
        { ...this.#labels(), verdict },
        `model '${this.name}': ${sayVerdict(verdict, this.#stored?.best)}`,
      ),
    );
  }

  #createCertifier(plan: ProbeRequest, finding: Finding, served: Served): Certifier {
    return new Certifier({
      mode: this.#batchingCheck,
      settings: this.settings,
      plan,
      finding,
      served,
      rowMs: () => this.#cost.expectedMs(1) ?? 0,
      computeMs: () => this.#computeMs,
      limitMs: () => Math.max(this.#context.hangFloorMs ?? HANG_FLOOR_MS, CHECK_FACTOR * this.#cost.upperMs(1, 0)),
      listener: {
        share: ({ signature }, real) => {
          this.#maxBatchSize = this.#limitRows(signature, real);
          this.#cost.assume(real.runs);
          this.#watch = this.#createWatch();
          this.#batcher!.share(signature, this.#maxBatchSize, this.#preferredRows());
        },
        stopSharing: () => this.#batcher!.stopSharing(),
        said: (sentence, isBad) => {
          this.#batching = sentence;
          const fields = { ...this.#labels(), batching: sentence, certificate: this.certificate };
          this.#context.log[isBad ? 'warn' : 'info'](fields, `model '${this.name}' is ${sentence}`);
        },
        checked: (result, ms) => this.events.checked(result, ms),
      },
    });
  }

  #createPool({ provider, device }: ProviderChoice): ExecutorPool {
    const { clock, config, executorEntry } = this.#context;
    return new ExecutorPool({
      clock,
      name: this.name,
      load: {
        file: this.source.file,
        provider,
        device,
        intraOpThreads: this.#spread.threads,
        graphOptimization: this.settings.session.graphOptimization,
        outputs: this.settings.outputs.length === 0 ? undefined : this.settings.outputs.map(({ name }) => name),
      },
      loadTimeoutMs: config.loadTimeoutMs,
      hangLimits: (batch) => this.#hangLimits(batch.rows, batch.bytes),
      entry: executorEntry,
      maxInstances: this.#spread.instances,
      memoryBudgetBytes: EXECUTOR_MEMORY_SHARE * this.#context.memoryBytes,
      listener: {
        added: (executor) => this.#batcher!.addRunner(executor),
        removed: (executor) => this.#batcher!.removeRunner(executor),
        restarted: () => this.events.restarted(),
        gaveUp: (reason) => this.#fail(reason),
        warned: (message) => this.#context.log.warn(this.#labels(), `an executor of model '${this.name}' ${message}`),
      },
    });
  }

  #hangLimits(rows: number, bytes: number): HangLimits {
    const floorMs = this.#context.hangFloorMs ?? HANG_FLOOR_MS;
    const cpuMs = Math.max(floorMs, HANG_FACTOR * this.#spread.threads * this.#cost.upperMs(rows, bytes));
    return { cpuMs, wallMs: HANG_WALL_FACTOR * cpuMs };
  }

  #batcherEvents(): BatcherEvents {
    const { events } = this;
    return {
      batchEnded: (info, startMs, endMs, result, runner) => {
        events.batchEnded(info, startMs, endMs, result, runner);
        if (result !== undefined) this.#computeMs += result.computeEndMs - result.computeStartMs;
        // Those that were answered by this run are still in flight.
        this.#pool!.runEnded(runner, endMs - startMs, result !== undefined, this.inflightRequests > 1);
        if (this.sharesRuns) this.#watch!.runEnded();
      },
      settled: (request, code) => events.settled(request, code),
      refused: (code, submission) => events.refused(code, submission),
      unbatchable: (reason) => {
        this.#certifier!.close();
        this.#batching = `unbatched: ${reason}`;
        this.#context.log.warn(this.#labels(), `model '${this.name}': ${reason}`);
      },
    };
  }

  #fail(reason: string): void {
    if (this.#state === 'unloaded') return;
    // One that is being unloaded ends as unloaded all the same.
    if (this.#reason !== UNLOADED) {
      this.#state = 'failed';
      this.#reason = reason;
    }
    this.#batcher?.close(this.notReady());
    this.#pool?.close();
    this.#context.log.error(
      { ...this.#labels(), file: this.source.file },
      `model '${this.name}' version ${this.version} failed: ${reason}`,
    );
  }

  #labels(): { model: string; version: string } {
    return { model: this.name, version: this.version };
  }
}

/** A version's first executor, with what its model is. */
interface Started {
  readonly executor: Executor;
  readonly plan: ProbeRequest;
  readonly finding: Finding;
  readonly served: Served;
}

/** How many requests may wait: in all, or at each level where a model has levels. */
function queueLimits(batching: BatchingSettings): Pick<BatcherOptions, 'maxQueueRequests' | 'maxLevelRequests'> {
  const most = ({ maxRequests }: QueueSettings): number => maxRequests ?? Number.POSITIVE_INFINITY;
  return batching.priorityLevels === 0
    ? { maxQueueRequests: most(batching.queue), maxLevelRequests: undefined }
    : { maxQueueRequests: Number.POSITIVE_INFINITY, maxLevelRequests: (level) => most(queueOf(level, batching)) };
}

/** @throws {ShoalError} INVALID_REQUEST: a time that is none would switch all limits off. */
function checkTimeout(name: string, ms: number | undefined): void {
  if (ms !== undefined && !(ms >= 0)) throw invalid(`${name} is ${ms}, expected milliseconds from 0`);
}
