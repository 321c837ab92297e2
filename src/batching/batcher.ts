import type { Clock } from '../clock.ts';
import { type ErrorCode, ShoalError, toShoalError } from '../errors.ts';
import type { Signature } from '../tensor/signature.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { Admission, expired, type QueueLimits, type QueueState } from './admission.ts';
import { AnswerOrder } from './answer-order.ts';
import { Batch, RowsInfluenced, RowsMismatch } from './batch.ts';
import type { CoreTokens, TokenUser } from './core-tokens.ts';
import { DrainPlan } from './drain-plan.ts';
import type { DrainState } from './drain-table.ts';
import { EarliestTimer } from './earliest-timer.ts';
import { Lane } from './lane.ts';
import { LevelTally } from './level-tally.ts';
import { PoisonList } from './poison.ts';
import { type Decision, decide, type LaneView } from './policy.ts';
import { Rejoin } from './rejoin.ts';
import { type BatchInfo, PendingRequest, type Submission } from './request.ts';
import { RunnerSlots, type Slot } from './runner-slots.ts';
import { WaitingRoom } from './waiting-room.ts';

/** What a runner gives back. */
export interface RunResult {
  /** By index in the signature's outputs. */
  readonly outputs: ReadonlyMap<number, Tensor>;
  readonly computeStartMs: number;
  readonly computeEndMs: number;
}

/** What the batcher hands batches to: an executor, or a test's fake. */
export interface Runner {
  /** Threads a run keeps busy, so the core tokens it needs. */
  readonly threads: number;
  /**
   * Runs one batch; called again only after the promise has settled. The batch's memory may be read until then.
   *
   * @param keep so many runs, this one included, are to be kept for a {@link BatchWatch}; default 0.
   * @throws {ShoalError} INFERENCE_FAILED or INVALID_REQUEST when the model refused the batch, EXECUTOR_LOST when the
   * runner is gone; it is not called again then.
   */
  run(batch: Batch, keep?: number): PromiseLike<RunResult>;
}

/** What a batcher reports. Calls must not throw. */
export interface BatcherEvents {
  /** A run has ended, well or not; its runner was busy from `startMs` to `endMs`. `result` is undefined when it failed. */
  batchEnded(info: BatchInfo, startMs: number, endMs: number, result: RunResult | undefined, runner: Runner): void;
  /** A request that was accepted has been settled; `code` is undefined when it was answered. */
  settled(request: PendingRequest, code: ErrorCode | undefined): void;
  /** A request was refused at the door; `submission` is left out when it did not come that far. */
  refused(code: ErrorCode, submission?: Submission): void;
  /** The model's answers showed that it cannot be batched; from now on it is not. */
  unbatchable(reason: string): void;
}

/** Looks at some runs before anyone is answered from them. Calls must not throw. */
export interface BatchWatch {
  /** How many runs, this one included, the runner is to keep to have them examined; 0: nothing is looked at. */
  keeps(batch: Batch): number;
  /**
   * Looks at a run that went well, whose runner stays busy meanwhile. Never rejects.
   *
   * @returns whether its members must be run again, each alone.
   */
  examine(batch: Batch, runner: Runner): Promise<boolean>;
  /**
   * How many rows may be taken at most; left out: as many as the policy says.
   *
   * @param ahead row counts of the requests that wait, in the order in which they are taken.
   */
  readonly limit?: ((ahead: Iterable<number>, maxRows: number) => number) | undefined;
}

export interface BatcherOptions extends QueueLimits {
  readonly signature: Signature;
  /** Whether requests share runs, where the signature allows it. */
  readonly shares: boolean;
  readonly maxBatchRows: number;
  /** See {@link PolicyState.preferredRows}. */
  readonly preferredRows: readonly number[];
  readonly windowMs: number;
  /** Whether the measured curve may have fewer rows taken than wait; otherwise all that fit are. Default: it may. */
  readonly splits?: boolean;
  /** Whether answers come in the order in which their requests were accepted. */
  readonly preservesOrder: boolean;
  readonly tokens: CoreTokens;
  readonly clock: Clock;
  readonly events: BatcherEvents;
  /** Default: nothing is looked at. */
  readonly watch?: BatchWatch | undefined;
}

/** Lane of the requests that were checked by a signature without rows: whatever becomes of it, they run alone. */
const ALONE = '\0alone';

/**
 * The micro-batching queue of one model version. It owns every request from {@link Batcher.submit} until the request
 * is settled, which happens exactly once whatever fails: answered with its own rows, or rejected.
 */
export class Batcher implements TokenUser, QueueState {
  spentMs = 0;
  /** Rows that wait. */
  queuedRows = 0;
  /** Requests that are accepted and not settled. */
  inflightRequests = 0;
  readonly #options: BatcherOptions;
  readonly #clock: Clock;
  readonly #lanes: Map<string, Lane> = new Map();
  readonly #slots: RunnerSlots;
  readonly #running: Set<Batch> = new Set();
  readonly #poison: PoisonList = new PoisonList();
  readonly #rejoin: Rejoin = new Rejoin();
  readonly #order: AnswerOrder | undefined;
  readonly #room: WaitingRoom;
  readonly #admission: Admission;
  /** Undefined where settings say how many rows are taken. */
  #plan: DrainPlan | undefined;
  /** See {@link QueueState.levels}. */
  readonly levels: LevelTally | undefined;
  #collecting = false;
  #signature: Signature;
  /** That of the lane {@link ALONE}. */
  readonly #alone: Signature;
  #shares: boolean;
  #maxBatchRows: number;
  #preferredRows: readonly number[];
  #closed: ShoalError | undefined;
  #drained: (() => void)[] = [];
  /** What the policy last said, valid until anything changes. */
  #next: { readonly slot: Slot; readonly decision: Decision; readonly lanes: readonly Lane[] } | undefined;
  /** At the earliest of all deadlines; it then looks at everyone. */
  readonly #deadline: EarliestTimer;
  /** At the end of the earliest batch window. */
  readonly #window: EarliestTimer;

  constructor(options: BatcherOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#slots = new RunnerSlots(options.clock);
    this.#signature = options.signature;
    this.#alone = withoutRows(options.signature);
    this.#shares = options.shares;
    this.#maxBatchRows = options.maxBatchRows;
    this.#preferredRows = options.preferredRows;
    this.levels = options.maxLevelRequests === undefined ? undefined : new LevelTally();
    this.#order = options.preservesOrder ? new AnswerOrder() : undefined;
    this.#room = new WaitingRoom(options.budget.waiting);
    this.#admission = new Admission(options);
    this.#plan = this.#newPlan();
    this.#deadline = new EarliestTimer(options.clock, () => this.#expire());
    this.#window = new EarliestTimer(options.clock, () => this.#claimsLess());
  }

  /** The signature batches are formed by; not batched any more once the model has proven unbatchable. */
  get signature(): Signature {
    return this.#signature;
  }

  /** Whether requests share runs. */
  get shares(): boolean {
    return this.#shares && this.#signature.batched;
  }

  /** Requests that wait. */
  get queuedRequests(): number {
    let requests = 0;
    for (const lane of this.#lanes.values()) requests += lane.requests;
    return requests;
  }

  get runners(): number {
    return this.#slots.size;
  }

  /**
   * Takes over a request.
   *
   * @param arrivedMs since when it waits; default now.
   * @throws {ShoalError} QUEUE_FULL or DEADLINE_UNREACHABLE (with a time to come back), EXECUTOR_LOST for inputs that
   * have killed executors before, DEADLINE_EXCEEDED, or what the batcher was closed with; the caller keeps the
   * request then.
   */
  submit(submission: Submission, arrivedMs?: number): PendingRequest {
    const refusal = this.#refusal(submission);
    if (refusal !== undefined) {
      this.#options.events.refused(refusal.code, submission);
      throw refusal;
    }
    const nowMs = this.#clock.now();
    const { inputs } = submission;
    const request = new PendingRequest(submission, inputs.batched ? inputs.laneKey : ALONE, arrivedMs ?? nowMs);
    this.#lane(request.laneKey, request.priority).push(request);
    this.queuedRows += inputs.rows;
    this.#plan?.arrived(inputs.rows, nowMs);
    this.levels?.count(request, 1);
    this.inflightRequests++;
    this.#options.budget.heldBytes += inputs.bytes;
    this.#order?.add(request);
    this.#deadline.arm(request.expiresMs);
    this.#changed();
    if (this.#slots.idle() !== undefined) this.#options.tokens.request(this);
    return request;
  }

  /**
   * {@link Batcher.submit} for callers who would rather wait than be refused by a full queue.
   *
   * @param signal ends the wait with CANCELLED.
   */
  async submitWhenRoom(submission: Submission, signal?: AbortSignal): Promise<PendingRequest> {
    const fits = (): boolean => this.#closed !== undefined || this.#admission.fullness(submission, this) === undefined;
    // Most find room at once, and need no timer.
    if (this.#room.isEmpty && fits()) return this.submit(submission);
    const { deadlineMs } = submission;
    const arrivedMs = this.#clock.now();
    const late = new AbortController();
    const timer = Number.isFinite(deadlineMs)
      ? this.#clock.setTimer(Math.ceil(deadlineMs - this.#clock.now()), () => late.abort())
      : undefined;
    const ended = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]);
    const left = (): ShoalError =>
      late.signal.aborted ? expired(this.#options.name) : new ShoalError('CANCELLED', 'the caller left');
    try {
      return await this.#room.enter(fits, () => this.submit(submission, arrivedMs), ended, left);
    } finally {
      timer?.cancel();
    }
  }

  /** Lets a request go that nobody waits for any more. It is dropped before it is run; a running one's rows are not used. */
  cancel(request: PendingRequest): void {
    // Doors call this for every request that ends; making an error for nothing would cost more than the request.
    if (request.state === 'settled') return;
    this.#giveUp(request, new ShoalError('CANCELLED', 'the caller left'));
  }

  /** Adds a runner that is ready. */
  addRunner(runner: Runner): void {
    this.#slots.add(runner);
    this.#changed();
    this.#options.tokens.request(this);
  }

  /** Removes a runner; one that runs ends its batch first. */
  removeRunner(runner: Runner): void {
    if (this.#slots.remove(runner)) this.#claimsLess();
  }

  /** Has requests share runs from now on; those that wait were checked by the signature before and are run by that. */
  share(signature: Signature, maxBatchRows: number, preferredRows: readonly number[]): void {
    this.#signature = signature;
    this.#shares = true;
    this.#maxBatchRows = maxBatchRows;
    this.#preferredRows = preferredRows;
    this.#plan = this.#newPlan();
    this.#claimsLess();
  }

  /** Has every request run alone from now on, those, too, whose shared run has not ended yet. */
  stopSharing(): void {
    this.#shares = false;
    this.#claimsLess();
  }

  /** Takes no more requests, answering new ones with `error`; resolves when all accepted ones are settled. */
  drain(error: ShoalError): Promise<void> {
    this.#closed = error;
    this.#room.admit();
    return new Promise((resolve) => {
      this.#drained.push(resolve);
      this.#checkDrained();
    });
  }

  /** Takes no more requests and rejects all that are not settled with `error`. */
  close(error: ShoalError): void {
    this.#closed = error;
    this.#room.admit();
    for (const request of this.#unsettled()) this.#giveUp(request, error);
    this.#deadline.cancel();
    this.#window.cancel();
  }

  /** See {@link TokenUser.tokensWanted}. */
  tokensWanted(): number {
    const next = this.#decide();
    if (next === undefined) return 0;
    if (next.decision.kind === 'run') return Math.min(next.slot.runner.threads, this.#options.tokens.total);
    if (next.decision.kind === 'wait') this.#window.arm(next.decision.untilMs);
    return 0;
  }

  /** See {@link TokenUser.start}. */
  start(tokens: number): void {
    const next = this.#decide();
    if (next?.decision.kind !== 'run') throw new Error('a batcher was started with nothing to start');
    const { slot, decision, lanes } = next;
    const lane = lanes[decision.lane]!;
    const { watch } = this.#options;
    const isAlone = lane.key === ALONE;
    const maxRows = isAlone ? 1 : decision.maxRows;
    const members = lane.take(watch?.limit?.(lane.ahead(), maxRows) ?? maxRows);
    if (lane.requests === 0) this.#lanes.delete(lane.key);
    const batch = new Batch(isAlone ? this.#alone : this.#signature, members, lane.key, decision.reason);
    const nowMs = this.#clock.now();
    for (const member of members) {
      member.stamps.dispatchedMs = nowMs;
      this.levels?.count(member, -1);
    }
    this.queuedRows -= batch.rows;
    slot.busy = true;
    if (this.#slots.size > 1) slot.freeAtMs = nowMs + (this.#options.cost.expectedMs(batch.rows, batch.bytes) ?? 0);
    this.#running.add(batch);
    this.#changed();
    this.#room.admit();
    const keep = watch?.keeps(batch) ?? 0;
    const run = keep > 0 ? this.#runWatched(slot.runner, batch, keep, watch!) : slot.runner.run(batch);
    run.then(
      (result) => this.#ended(slot, batch, tokens, nowMs, result, undefined),
      (thrown: unknown) => this.#ended(slot, batch, tokens, nowMs, undefined, thrown),
    );
  }

  async #runWatched(runner: Runner, batch: Batch, keep: number, watch: BatchWatch): Promise<RunResult> {
    const result = await runner.run(batch, keep);
    if ((await watch.examine(batch, runner)) && batch.members.length > 1) throw new RowsInfluenced();
    return result;
  }

  #refusal(submission: Submission): ShoalError | undefined {
    if (this.#closed !== undefined) return this.#closed;
    const { queueDeadlineMs, deadlineMs, inputs } = submission;
    const leftMs = Math.min(queueDeadlineMs, deadlineMs) - this.#clock.now();
    const refusal = this.#admission.refusal(submission, this, leftMs);
    if (refusal !== undefined || !this.#poison.has(inputs)) return refusal;
    const { name } = this.#options;
    return new ShoalError(
      'EXECUTOR_LOST',
      `these inputs have ended the executor of model '${name}' twice; they are refused`,
    );
  }

  #ended(
    slot: Slot,
    batch: Batch,
    tokens: number,
    startMs: number,
    result: RunResult | undefined,
    thrown: unknown,
  ): void {
    const nowMs = this.#clock.now();
    slot.busy = false;
    this.#running.delete(batch);
    slot.idleSinceMs = nowMs;
    let answers: Tensor[][] | undefined;
    let failure = thrown;
    if (result !== undefined && batch.members.length > 1 && !this.shares) failure = new RowsInfluenced();
    else if (result !== undefined) {
      try {
        answers = batch.split(result.outputs);
        const computeMs = result.computeEndMs - result.computeStartMs;
        this.#options.cost.observe(batch.rows, batch.bytes, computeMs);
        this.#plan?.ran(batch.rows, batch.bytes, nowMs - startMs - computeMs);
      } catch (wrong) {
        failure = wrong;
      }
    }
    if (answers === undefined) this.#recover(slot, batch, failure);
    else if (this.#shouldCollect(batch)) this.#collect(batch, nowMs);
    this.#changed();
    // The next batch is on its way before this one's callers are woken, unless they are awaited.
    this.#options.tokens.giveBack(this, tokens, nowMs - startMs);
    this.#options.events.batchEnded(batch.info, startMs, nowMs, result, slot.runner);
    if (answers !== undefined) this.#answer(batch, answers, result!);
    this.#checkDrained();
  }

  #shouldCollect(batch: Batch): boolean {
    const { cost } = this.#options;
    const maxBatchRows = this.#maxBatchRows;
    // With other lanes or runners there is other work to do meanwhile.
    if (!this.shares || this.#lanes.size !== 1 || this.#slots.size !== 1) return false;
    const expectedMs = (rows: number): number | undefined => cost.expectedMs(rows);
    return this.#rejoin.decide({ waiting: this.queuedRows, answered: batch.rows, maxRows: maxBatchRows, expectedMs });
  }

  /** Holds the next batch back for two turns of the event loop: in the one between, answered callers come back. */
  #collect(batch: Batch, startMs: number): void {
    this.#collecting = true;
    const waiting = this.queuedRows;
    this.#clock.nextTurn(() =>
      this.#clock.nextTurn(() => {
        this.#collecting = false;
        this.#rejoin.observe(batch.rows, this.queuedRows - waiting, this.#clock.now() - startMs);
        this.#changed();
        this.#options.tokens.request(this);
        this.#options.tokens.serve();
      }),
    );
  }

  #answer(batch: Batch, answers: readonly Tensor[][], result: RunResult): void {
    const { info, members } = batch;
    for (let i = 0; i < members.length; i++) {
      const member = members[i]!;
      if (member.state === 'settled') continue;
      member.stamps.computeStartMs = result.computeStartMs;
      member.stamps.computeEndMs = result.computeEndMs;
      if (this.#order === undefined) this.#settle(member, answers[i]!, info);
      else this.#order.answer(member, () => this.#settle(member, answers[i]!, info));
    }
  }

  #settle(request: PendingRequest, outputs: readonly Tensor[], info: BatchInfo): void {
    if (request.resolve(outputs, info, this.#clock.now())) this.#release(request, undefined);
  }

  /** Decides for each member of a batch that gave no answers: it is tried again, or its caller gets the error. */
  #recover(slot: Slot, batch: Batch, failure: unknown): void {
    const members = batch.members.filter((member) => member.state === 'running');
    const isMismatch = failure instanceof RowsMismatch && batch.batched;
    if (isMismatch || failure instanceof RowsInfluenced) {
      if (isMismatch) this.#stopBatching(failure.message);
      for (const member of members) this.#again(batch, [member]);
      return;
    }
    const error = toShoalError(failure);
    if (error.code === 'EXECUTOR_LOST') {
      this.removeRunner(slot.runner);
      // Alone, so that whoever kills the executor again does it to nobody else.
      for (const member of members) {
        if (member.survivesDeath()) this.#again(batch, [member]);
        else {
          this.#poison.add(member.inputs);
          this.#giveUp(member, error);
        }
      }
    } else if (batch.members.length === 1) {
      for (const member of members) this.#giveUp(member, error);
    } else {
      // Halving finds the culprits in fewer than 2·n runs: at most twice what running each alone would cost.
      const half = Math.ceil(members.length / 2);
      this.#again(batch, members.slice(0, half));
      this.#again(batch, members.slice(half));
    }
  }

  #stopBatching(reason: string): void {
    if (!this.#signature.batched) return;
    this.#signature = withoutRows(this.#signature);
    this.#options.events.unbatchable(reason);
  }

  #again(batch: Batch, group: readonly PendingRequest[]): void {
    if (group.length === 0) return;
    this.#lane(batch.laneKey, group[0]!.priority).retry(group);
    for (const request of group) {
      this.queuedRows += request.inputs.rows;
      this.levels?.count(request, 1);
    }
  }

  /** Settles a request with an error, wherever it is. */
  #giveUp(request: PendingRequest, error: ShoalError): void {
    const waits = request.state === 'queued';
    if (!request.reject(error, this.#clock.now())) return;
    if (waits) {
      this.queuedRows -= request.inputs.rows;
      this.levels?.count(request, -1);
      const lane = this.#lanes.get(request.laneKey)!;
      lane.dropped(request);
      if (lane.requests === 0) this.#lanes.delete(lane.key);
      this.#claimsLess();
    }
    this.#release(request, error.code);
    this.#order?.advance();
    this.#checkDrained();
  }

  #release(request: PendingRequest, code: ErrorCode | undefined): void {
    this.inflightRequests--;
    this.#options.budget.heldBytes -= request.inputs.bytes;
    this.#options.events.settled(request, code);
    for (const room of this.#options.budget.waiting) room.admit();
  }

  #decide(): { readonly slot: Slot; readonly decision: Decision; readonly lanes: readonly Lane[] } | undefined {
    if (this.#collecting) return undefined;
    if (this.#next !== undefined) return this.#next;
    const slot = this.#slots.idle();
    if (slot === undefined || this.#lanes.size === 0) return undefined;
    const lanes = [...this.#lanes.values()];
    const nowMs = this.#clock.now();
    const decision = decide({
      nowMs,
      lanes: lanes.map(viewOf),
      batched: this.shares,
      maxRows: this.#maxBatchRows,
      preferredRows: this.#preferredRows,
      windowMs: this.#options.windowMs,
      idleSinceMs: slot.idleSinceMs,
      drain: this.#plan && ((view) => this.#drainState(slot, view, nowMs)),
    });
    if (decision.kind === 'run') this.#next = { slot, decision, lanes };
    return { slot, decision, lanes };
  }

  #newPlan(): DrainPlan | undefined {
    const { windowMs, splits, cost } = this.#options;
    if (windowMs > 0 || this.#preferredRows.length > 0 || splits === false) return undefined;
    return new DrainPlan(cost, this.#maxBatchRows);
  }

  #drainState(slot: Slot, { rows, rowBytes }: LaneView, nowMs: number): DrainState | undefined {
    const { tokens } = this.#options;
    const runners = this.#slots.atOnce(slot, tokens.total);
    const others = this.#slots.others(slot, tokens.free >= 2 * slot.runner.threads);
    return this.#plan?.state({ waiting: rows, rowBytes, runners, ...others, nowMs });
  }

  #lane(key: string, priority: number): Lane {
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = new Lane(key, priority);
      this.#lanes.set(key, lane);
    }
    return lane;
  }

  #changed(): void {
    this.#next = undefined;
  }

  /** Notes that there is less to start: tokens that were kept free for it may be another's now. */
  #claimsLess(): void {
    this.#changed();
    this.#options.tokens.request(this);
  }

  #expire(): void {
    const nowMs = this.#clock.now();
    let earliest = Number.POSITIVE_INFINITY;
    for (const request of this.#unsettled()) {
      if (request.expiresMs <= nowMs) this.#giveUp(request, expired(this.#options.name));
      else earliest = Math.min(earliest, request.expiresMs);
    }
    this.#deadline.arm(earliest);
  }

  #unsettled(): PendingRequest[] {
    const all: PendingRequest[] = [];
    for (const lane of this.#lanes.values()) for (const request of lane.waiting()) all.push(request);
    for (const batch of this.#running) {
      for (const member of batch.members) if (member.state === 'running') all.push(member);
    }
    for (const request of this.#order?.held() ?? []) all.push(request);
    return all;
  }

  #checkDrained(): void {
    if (this.inflightRequests > 0) return;
    for (const resolve of this.#drained.splice(0)) resolve();
  }
}

function viewOf(lane: Lane): LaneView {
  const next = lane.next();
  // Groups that are tried again may have been found to be empty by that.
  const { rows, hasRetry } = lane;
  if (next === undefined) return { rows, rowBytes: 0, priority: 0, nextMs: 0, oldestMs: 0, hasRetry };
  const nextMs = next.stamps.enqueuedMs;
  const rowBytes = next.inputs.bytes / next.inputs.rows;
  return { rows, rowBytes, priority: next.priority, nextMs, oldestMs: lane.waitingSinceMs(next), hasRetry };
}

function withoutRows(signature: Signature): Signature {
  const { inputs, outputs } = signature;
  return { ...signature, inputs: inputs.map(withoutAxis), outputs: outputs.map(withoutAxis), batched: false };
}

function withoutAxis<T extends { readonly batchAxis: number | null }>(spec: T): T {
  return { ...spec, batchAxis: null };
}
