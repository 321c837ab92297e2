import { collectDefaultMetrics, Registry } from 'prom-client';
import type { ByteBudget } from '../batching/byte-budget.ts';
import type { CurveVerdict } from '../batching/curve-verdict.ts';
import { CHECK_RESULTS } from '../serving/certificate.ts';
import type { ModelVersion } from '../serving/model-version.ts';
import type { Servable } from '../serving/servable.ts';
import { VERDICTS } from '../tensor/verdict.ts';
import { addCounter, addGauge, addHistogram } from './collectors.ts';
import { addFetchMetrics, FetchMeters } from './fetch-meters.ts';
import { HotHistogram, SECONDS } from './histogram.ts';
import { PipelineMeters } from './pipeline-meters.ts';
import { addPipelineMetrics } from './pipeline-metrics.ts';
import { addTritonMetrics, FIRST_RESPONSE_MS } from './triton-metrics.ts';
import { OUTCOMES, PROTOCOLS, RELEASE_REASONS, STAGES, VersionMeters, type VersionTally } from './version-meters.ts';

const STATES = ['loading', 'ready', 'draining', 'unloaded', 'failed'] as const;
const VERSION_LABELS = ['model', 'version'] as const;

/** Gauges of prom-client that are named like counters, which Prometheus' own check refuses. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

/** How often the event loop's delay is sampled. */
const LOOP_SAMPLE_MS = 20;

/** What the metrics say of the program itself. */
export interface BuildInfo {
  readonly version: string;
  readonly node: string;
  readonly onnxruntime: string;
  readonly cores: number;
}

/** All metrics of a server, on a registry of their own. Labels are bounded: models and versions on disk, fixed words. */
export class ServerMetrics {
  readonly registry: Registry = new Registry();
  readonly #meters: Map<string, VersionMeters> = new Map();
  readonly #pipelines: Map<string, PipelineMeters> = new Map();
  readonly #loopDelay: HotHistogram = new HotHistogram(SECONDS);
  readonly #loopTimer: NodeJS.Timeout;
  readonly #triton: boolean;

  /** @param options `triton`: Triton's series beside ours. */
  constructor(build: BuildInfo, budget: ByteBudget, { triton = false }: { readonly triton?: boolean } = {}) {
    this.#triton = triton;
    let due = performance.now() + LOOP_SAMPLE_MS;
    this.#loopTimer = setInterval(() => {
      const now = performance.now();
      this.#loopDelay.observe(Math.max(0, now - due) / 1e3);
      due = now + LOOP_SAMPLE_MS;
    }, LOOP_SAMPLE_MS);
    this.#loopTimer.unref();
    collectDefaultMetrics({ register: this.registry });
    for (const name of MISNAMED) this.registry.removeSingleMetric(name);
    this.#addServer(build, budget);
    this.#addRequests();
    this.#addBatches();
    this.#addAccount();
    this.#addModels();
    this.#addCurves();
    if (triton) {
      addTritonMetrics(this.registry, (visit) =>
        this.#each((labels, meters) => {
          if (meters.version.state !== 'unloaded') visit(labels, meters);
        }),
      );
    }
  }

  /**
   * The counters of a version, which appear in the metrics from now on. One that is to take another's place goes on
   * with that one's, so that they do not begin again from 0 and what is still running on the old one is counted.
   */
  metersFor(version: ModelVersion): VersionMeters {
    let meters = this.#meters.get(keyOf(version));
    if (meters === undefined) {
      meters = new VersionMeters(version, this.#triton ? FIRST_RESPONSE_MS : undefined);
      this.#meters.set(keyOf(version), meters);
    }
    return meters;
  }

  /** Has the metrics show this version's state from now on, no more that of the version whose place it took. */
  placed(version: ModelVersion): void {
    this.metersFor(version).version = version;
  }

  /** Takes a version that is gone out of the metrics, unless another has taken its place. */
  released(version: ModelVersion): void {
    if (this.#meters.get(keyOf(version))?.version === version) this.#meters.delete(keyOf(version));
  }

  /** The counters of a version that has been given some by {@link ServerMetrics.metersFor} and is not gone. */
  metersOf(version: ModelVersion): VersionMeters {
    return this.#meters.get(keyOf(version))!;
  }

  /** What statistics of a version, or of a pipeline, are made from. */
  tallyOf(servable: Servable): VersionTally {
    return servable.kind === 'pipeline'
      ? this.#pipelines.get(servable.name)!.tally()
      : this.#meters.get(keyOf(servable))!;
  }

  /** The counters of a pipeline. */
  pipelineMetersFor(name: string): PipelineMeters {
    if (this.#pipelines.size === 0) addPipelineMetrics(this.registry, () => this.#pipelines.values());
    let meters = this.#pipelines.get(name);
    if (meters === undefined) {
      meters = new PipelineMeters(name);
      this.#pipelines.set(name, meters);
    }
    return meters;
  }

  close(): void {
    clearInterval(this.#loopTimer);
    this.registry.clear();
  }

  /** Adds the metrics of a fetcher of remote inputs, and gives what it has to tell. */
  addFetches(): FetchMeters {
    const meters = new FetchMeters();
    addFetchMetrics(this.registry, meters);
    return meters;
  }

  #addServer(build: BuildInfo, budget: ByteBudget): void {
    const { registry } = this;
    addGauge(registry, {
      name: 'shoal_build_info',
      help: 'Versions of the program; always 1.',
      labelNames: ['version', 'node', 'onnxruntime'],
      read: (report) => report({ version: build.version, node: build.node, onnxruntime: build.onnxruntime }, 1),
    });
    addGauge(registry, {
      name: 'shoal_granted_cores',
      help: 'Cores that runs may use together.',
      read: (report) => report({}, build.cores),
    });
    addGauge(registry, {
      name: 'shoal_queue_bytes',
      help: 'Bytes of inputs that accepted requests hold, all models together.',
      read: (report) => report({}, budget.heldBytes),
    });
    addHistogram(registry, {
      name: 'shoal_event_loop_delay_seconds',
      help: 'How late the event loop was, sampled every 20 ms.',
      read: (report) => report({}, this.#loopDelay),
    });
  }

  #addRequests(): void {
    const { registry } = this;
    addCounter(registry, {
      name: 'shoal_requests_total',
      help: 'Inference requests to a known model version, by how they ended.',
      labelNames: [...VERSION_LABELS, 'protocol', 'outcome'],
      read: (report) =>
        this.#each((labels, meters) => {
          for (const protocol of PROTOCOLS) {
            for (const outcome of OUTCOMES)
              report({ ...labels, protocol, outcome }, meters.outcomes.get(protocol)![outcome]);
          }
        }),
    });
    addHistogram(registry, {
      name: 'shoal_request_duration_seconds',
      help: 'From the headers read to the reply handed to the socket.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.duration)),
    });
    addHistogram(registry, {
      name: 'shoal_stage_duration_seconds',
      help: 'Parts of a request, which add up to its duration; a failed one has those that it came to.',
      labelNames: [...VERSION_LABELS, 'stage'],
      read: (report) =>
        this.#each((labels, meters) => {
          for (const stage of STAGES) {
            // Only where there are remote inputs.
            if (stage === 'fetch' && meters.stages.fetch.sum === 0) continue;
            report({ ...labels, stage }, meters.stages[stage]);
          }
        }),
    });
    addCounter(registry, {
      name: 'shoal_rejected_total',
      help: 'Requests turned away before they were queued.',
      labelNames: [...VERSION_LABELS, 'reason'],
      read: (report) =>
        this.#each((labels, meters) => {
          for (const [code, count] of meters.rejections) report({ ...labels, reason: code.toLowerCase() }, count);
        }),
    });
    addCounter(registry, {
      name: 'shoal_cancelled_total',
      help: 'Accepted requests whose caller left before the answer; who leaves while sending is no part of it.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.cancelled)),
    });
    addGauge(registry, {
      name: 'shoal_inflight_requests',
      help: 'Requests accepted and not answered yet.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.version.inflightRequests)),
    });
    addGauge(registry, {
      name: 'shoal_switch_ratio',
      help: 'Share of the work that was decoding, handing over and back, and encoding: T_switch / T_total.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.switchRatio)),
    });
  }

  /** T_total = T_compute + T_switch; rates of these say how it has been lately. */
  #addAccount(): void {
    const { registry } = this;
    addCounter(registry, {
      name: 'shoal_compute_seconds_total',
      help: 'T_compute: what runs took to compute.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.runComputeMs / 1e3)),
    });
    addCounter(registry, {
      name: 'shoal_switch_seconds_total',
      help: 'T_switch: decoding, handing over and back, and encoding.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.switchMs / 1e3)),
    });
    addCounter(registry, {
      name: 'shoal_request_cost_seconds_total',
      help: 'What of T_compute answered requests have a share in, by their rows; the rest was for nobody.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.costMs / 1e3)),
    });
  }

  #addBatches(): void {
    const { registry } = this;
    addHistogram(registry, {
      name: 'shoal_batch_rows',
      help: 'Rows per run.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.batchRows)),
    });
    addHistogram(registry, {
      name: 'shoal_batch_requests',
      help: 'Requests per run.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.batchRequests)),
    });
    addCounter(registry, {
      name: 'shoal_batches_total',
      help: 'Runs, by why they were started when they were.',
      labelNames: [...VERSION_LABELS, 'reason'],
      read: (report) =>
        this.#each((labels, meters) => {
          for (const reason of RELEASE_REASONS) report({ ...labels, reason }, meters.reasons[reason]);
        }),
    });
    addGauge(registry, {
      name: 'shoal_queue_rows',
      help: 'Rows that wait for a run.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.version.queuedRows)),
    });
    addCounter(registry, {
      name: 'shoal_executor_busy_seconds_total',
      help: 'Time executors were busy with runs, handing over included.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.busyMs / 1e3)),
    });
    addCounter(registry, {
      name: 'shoal_executor_restarts_total',
      help: 'Executors started in place of lost ones.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.restarts)),
    });
  }

  #addModels(): void {
    const { registry } = this;
    addGauge(registry, {
      name: 'shoal_executors',
      help: 'Executors that are alive and loaded.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.version.executors)),
    });
    addGauge(registry, {
      name: 'shoal_model_state',
      help: '1 for the state a version is in, 0 for the others.',
      labelNames: [...VERSION_LABELS, 'state'],
      read: (report) =>
        this.#each((labels, meters) => {
          for (const state of STATES) report({ ...labels, state }, meters.version.state === state ? 1 : 0);
        }),
    });
    addGauge(registry, {
      name: 'shoal_model_info',
      help: 'Where a version runs and whether it is batched; always 1.',
      labelNames: [...VERSION_LABELS, 'provider', 'batching'],
      read: (report) =>
        this.#each((labels, { version }) => {
          // Before it is loaded, nothing is known of it.
          if (version.signature === undefined) return;
          const batching = version.sharesRuns ? 'batched' : 'unbatched';
          report({ ...labels, provider: version.summary().provider, batching }, 1);
        }),
    });
    addGauge(registry, {
      name: 'shoal_batching_certificate',
      help: 'What a row beside others is, compared with the same row alone: 1 for the verdict of each output.',
      labelNames: [...VERSION_LABELS, 'output', 'verdict'],
      read: (report) =>
        this.#each((labels, { version }) => {
          for (const { name, verdict } of version.certificate?.outputs ?? []) {
            for (const one of VERDICTS) report({ ...labels, output: name, verdict: one }, one === verdict ? 1 : 0);
          }
        }),
    });
    addCounter(registry, {
      name: 'shoal_batching_checks_total',
      help: 'Runs looked at for whether rows influence each other, by how that came out.',
      labelNames: [...VERSION_LABELS, 'result'],
      read: (report) =>
        this.#each((labels, meters) => {
          for (const result of CHECK_RESULTS) report({ ...labels, result }, meters.checks[result]);
        }),
    });
    addCounter(registry, {
      name: 'shoal_batching_check_seconds_total',
      help: 'Time that took.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, meters) => report(labels, meters.checkMs / 1e3)),
    });
    addGauge(registry, {
      name: 'shoal_model_load_duration_seconds',
      help: 'Time to load and probe a version.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#each((labels, { version }) => report(labels, (version.summary().loadMs ?? 0) / 1e3)),
    });
  }

  #addCurves(): void {
    const { registry } = this;
    addGauge(registry, {
      name: 'shoal_cost_curve_seconds',
      help: 'What a run of so many rows takes, as measured; for rows of the size that most runs have.',
      labelNames: [...VERSION_LABELS, 'rows'],
      read: (report) =>
        this.#each((labels, { version }) => {
          for (const { rows, ms } of version.profile()?.doublings ?? [])
            report({ ...labels, rows: `${rows}` }, ms / 1e3);
        }),
    });
    addGauge(registry, {
      name: 'shoal_batching_gain',
      help: 'Rows per second at the knee of the cost curve, over those of one row at a time; absent while it is not known.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#eachVerdict((labels, { gain }) => report(labels, gain)),
    });
    addGauge(registry, {
      name: 'shoal_batching_knee_rows',
      help: 'The fewest rows of a run with which rows per second are within 5 % of the most; absent while it is not known.',
      labelNames: VERSION_LABELS,
      read: (report) => this.#eachVerdict((labels, { kneeRows }) => report(labels, kneeRows)),
    });
  }

  #eachVerdict(visit: (labels: { model: string; version: string }, verdict: CurveVerdict) => void): void {
    this.#each((labels, { version }) => {
      const verdict = version.profile()?.verdict;
      if (verdict !== undefined && verdict.kind !== 'unknown') visit(labels, verdict);
    });
  }

  #each(visit: (labels: { model: string; version: string }, meters: VersionMeters) => void): void {
    for (const meters of this.#meters.values())
      visit({ model: meters.version.name, version: meters.version.version }, meters);
  }
}

/** What tells a version's counters apart from all others'. A name has no slash. */
function keyOf({ name, version }: Pick<Servable, 'name' | 'version'>): string {
  return `${name}/${version}`;
}
