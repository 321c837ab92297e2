import type { Batch } from '../batching/batch.ts';
import type { BatchWatch, Runner } from '../batching/batcher.ts';
import { messageOf } from '../errors.ts';
import { Executor } from '../executor/executor.ts';
import type { CheckReport, Finding, ProbeRequest } from '../executor/messages.ts';
import { addVerdict, describeInfluence, type OutputVerdict, worstOf } from '../tensor/verdict.ts';
import { applySettings, type Served } from './apply-settings.ts';
import { type Certificate, type CheckResult, certificateOf } from './certificate.ts';
import { CheckSchedule } from './check-schedule.ts';
import type { BatchingCheck, ModelSettings } from './model-settings.ts';
import { ProvenSizes } from './proven-sizes.ts';

/** Is told what live rows have shown. Must not throw. */
export interface CertifierListener {
  /** Requests may share runs from now on. */
  share(served: Served, finding: Finding): void;
  /** Every request is to run alone from now on. */
  stopSharing(): void;
  /** There is another sentence to say of how the model is batched, or the reason for it is another. */
  said(sentence: string, isBad: boolean): void;
  /** A look at a run took so long. */
  checked(result: CheckResult, ms: number): void;
}

export interface CertifierOptions {
  readonly mode: BatchingCheck;
  readonly settings: ModelSettings;
  /** How the model was probed, and what was found and made of it. */
  readonly plan: ProbeRequest;
  readonly finding: Finding;
  readonly served: Served;
  /** What one row alone takes, and the compute of all runs so far, in milliseconds. */
  readonly rowMs: () => number;
  readonly computeMs: () => number;
  /** The longest that a look may take. */
  readonly limitMs: () => number;
  readonly listener: CertifierListener;
}

/** After so many answered requests real rows are looked at, where generated ones have not told; each but once. */
const LOOK_AFTER = [3, 16, 128, 1024, 8192] as const;
/** Runs that are kept to look at, and how long before it they begin to be. */
const KEPT_RUNS = 8;
const KEEP_BEFORE = 32;

/** Runs whose rows prove a size. */
const KEPT_FOR_SIZES = 4;

/** So many looks may fail before there are no more. */
const FAILURES_ALLOWED = 2;

/**
 * Keeps a model version's {@link Certificate} by what its live rows show. Where the probe could not tell, requests run
 * alone until the first real rows have; where they share runs, a few are looked at, and found to influence each other
 * they share none from then on. Nobody is answered from a run in which that was seen.
 */
export class Certifier implements BatchWatch {
  readonly limit: BatchWatch['limit'];
  readonly #options: CertifierOptions;
  readonly #schedule: CheckSchedule;
  /** Undefined unless only proven sizes are used. */
  readonly #sizes: ProvenSizes | undefined;
  #served: Served;
  #certificate: Certificate;
  /** *open*: real rows are to tell whether rows may share runs. *sharing*: they do, and are looked at. */
  #phase: 'open' | 'sharing' | 'closed';
  #isLooking = false;
  /** Runs of the open phase, and looks that were taken in it. */
  #runs = 0;
  #looks = 0;
  #failures = 0;
  /** Runs kept in a row by each runner to prove a size. */
  readonly #keptBy: WeakMap<Runner, number> = new WeakMap();

  constructor(options: CertifierOptions) {
    const { mode, finding, served } = options;
    this.#options = options;
    this.#served = served;
    this.#certificate = certificateOf(finding);
    this.#phase = mode === 'load' ? 'closed' : served.shares ? 'sharing' : finding.isOpen ? 'open' : 'closed';
    this.#schedule = new CheckSchedule(options);
    this.#sizes = mode === 'strict' ? new ProvenSizes(finding.exactSizes) : undefined;
    const sizes = this.#sizes;
    this.limit = sizes && ((ahead, maxRows) => (this.#served.shares ? sizes.limit(ahead, maxRows) : maxRows));
  }

  get certificate(): Certificate {
    const sizes = this.#sizes;
    return sizes === undefined ? this.#certificate : { ...this.#certificate, exactSizes: sizes.proven };
  }

  /** Notes that the model's answers have shown by their shape that it cannot be batched. */
  close(): void {
    this.#phase = 'closed';
  }

  /** See {@link BatchWatch.keeps}. */
  keeps(batch: Batch): number {
    if (this.#phase === 'closed') return 0;
    if (this.#phase === 'open') return ++this.#runs > LOOK_AFTER[this.#looks]! - KEEP_BEFORE ? KEPT_RUNS : 0;
    if (this.#isLooking) return 0;
    if (this.#sizes?.wanted !== undefined && this.#schedule.mayProve(this.#sizes.wanted)) return KEPT_FOR_SIZES;
    return batch.members.length > 1 && this.#schedule.isDue(batch.rows) ? 1 : 0;
  }

  /** See {@link BatchWatch.examine}. */
  async examine(batch: Batch, runner: Runner): Promise<boolean> {
    if (this.#isLooking || !(runner instanceof Executor)) return false;
    if (this.#phase === 'open' && this.#runs < LOOK_AFTER[this.#looks]!) return false;
    this.#isLooking = true;
    const startMs = performance.now();
    try {
      if (this.#phase === 'open') await this.#lookAtRealRows(runner);
      else if (this.#phase === 'sharing') return await this.#lookAtRun(batch, runner);
      return false;
    } catch (thrown) {
      this.#failed(messageOf(thrown), performance.now() - startMs);
      return false;
    } finally {
      this.#isLooking = false;
    }
  }

  async #lookAtRealRows(executor: Executor): Promise<void> {
    const { plan, settings, mode, limitMs, listener } = this.#options;
    this.#looks++;
    const startMs = performance.now();
    const finding = await executor.probe({ ...plan, useKept: true }, limitMs());
    const isLast = this.#looks === LOOK_AFTER.length;
    listener.checked(resultOf(finding.outputs), performance.now() - startMs);
    if (finding.isOpen && !isLast) return;
    this.#certificate = certificateOf(finding);
    this.#served = applySettings(settings, { ...finding, isOpen: false }, mode);
    this.#phase = this.#served.shares ? 'sharing' : 'closed';
    this.#sizes?.prove(finding.exactSizes);
    if (this.#served.shares) listener.share(this.#served, finding);
    listener.said(this.#served.reason, false);
  }

  async #lookAtRun(batch: Batch, executor: Executor): Promise<boolean> {
    const { listener, limitMs } = this.#options;
    const { signature } = this.#served;
    const size = this.#sizeToProve(batch, executor);
    const alone = batch.members.length > 1 ? [this.#schedule.rowToCheck(batch.rows)] : [];
    if (size === undefined && alone.length === 0) return false;
    const report = await executor.check(
      {
        inputAxes: signature.inputs.map(({ batchAxis }) => batchAxis),
        outputAxes: signature.outputs.map(({ batchAxis }) => batchAxis),
        alone,
        sizes: size === undefined ? [] : [size],
      },
      limitMs(),
    );
    this.#schedule.checked(alone.length > 0 ? batch.rows : undefined, report.ms);
    listener.checked(resultOf(report.outputs), report.ms);
    if (size !== undefined) this.#sizes!.tried(size, report.exactSizes.includes(size));
    return this.#judge(batch, report);
  }

  /** The size that the rows kept by an executor may prove now. */
  #sizeToProve(batch: Batch, executor: Executor): number | undefined {
    const wanted = this.#sizes?.wanted;
    if (wanted === undefined || !this.#schedule.mayProve(wanted)) return undefined;
    const kept = (this.#keptBy.get(executor) ?? 0) + 1;
    // Equal rows at every place would hide what different ones do to each other.
    const isEnough = kept > 1 || batch.rows > 1;
    this.#keptBy.set(executor, isEnough ? 0 : kept);
    return isEnough ? wanted : undefined;
  }

  /** Adds what a check has shown. @returns whether the batch's members must run again, alone. */
  #judge(batch: Batch, report: CheckReport): boolean {
    const { settings, mode, listener } = this.#options;
    const before = this.#certificate;
    const outputs = before.outputs.map((known, i) => {
      const more = report.outputs[i]!;
      return more.verdict === 'unknown' ? known : addVerdict(known, more);
    });
    const changed = report.outputs.filter(({ verdict }) => verdict === 'leaking');
    if (changed.length === 0) {
      this.#certificate = { ...before, outputs, verdict: worstOf(outputs.map(({ verdict }) => verdict)) };
      if (this.#certificate.verdict !== before.verdict) {
        const reason = `rows answer the same alone and beside others${this.#certificate.verdict === 'rounding' ? ' within rounding' : ''}, seen in a run of ${batch.rows} rows`;
        this.#say({ ...this.#certificate, evidence: 'real', reason }, true, false);
      }
      if (this.#sizes === undefined || report.outputs.every(({ verdict }) => verdict !== 'rounding')) return false;
      this.#sizes.tried(batch.rows, false);
      return true;
    }
    this.#phase = 'closed';
    const reason = report.isRepeatable
      ? `${describeInfluence(changed)} (seen in a run of ${batch.rows} rows)`
      : 'its answers differ from run to run';
    const seen = report.isRepeatable
      ? outputs
      : outputs.map((one) => (one.verdict === 'leaking' ? { ...one, verdict: 'unknown' as const } : one));
    const verdict = worstOf(seen.map((one) => one.verdict));
    this.#say({ ...before, outputs: seen, verdict, evidence: 'real', reason }, false, true);
    // Whoever insists was told so before.
    if (settings.insistsOnBatching && mode !== 'strict') return false;
    this.#served = { ...this.#served, shares: false };
    listener.stopSharing();
    return true;
  }

  #say(certificate: Certificate, batched: boolean, isBad: boolean): void {
    const { settings, mode, finding } = this.#options;
    this.#certificate = certificate;
    const { reason } = certificate;
    const { signature } = finding;
    this.#options.listener.said(
      applySettings(settings, { signature, batched, reason, isOpen: false }, mode).reason,
      isBad,
    );
  }

  /** A look did not end well; the run that was looked at did. */
  #failed(why: string, ms: number): void {
    const { listener } = this.#options;
    listener.checked('failed', ms);
    const isOpen = this.#phase === 'open';
    if (!isOpen && ++this.#failures <= FAILURES_ALLOWED) return;
    this.#phase = 'closed';
    if (isOpen) this.#say({ ...this.#certificate, reason: `real rows together cannot run it: ${why}` }, false, true);
  }
}

function resultOf(outputs: readonly OutputVerdict[]): CheckResult {
  const verdict = worstOf(outputs.flatMap((one) => (one.verdict === 'unknown' ? [] : [one.verdict])));
  return verdict === 'leaking' ? 'changed' : verdict === 'rounding' ? 'rounding' : 'same';
}
