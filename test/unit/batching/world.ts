import assert from 'node:assert/strict';
import type { Batch } from '../../../src/batching/batch.ts';
import { Batcher } from '../../../src/batching/batcher.ts';
import { type ByteBudget, byteBudget } from '../../../src/batching/byte-budget.ts';
import { CoreTokens } from '../../../src/batching/core-tokens.ts';
import { CostEstimate } from '../../../src/batching/cost.ts';
import type { PendingRequest, Reply } from '../../../src/batching/request.ts';
import { type ErrorCode, type ShoalError, toShoalError } from '../../../src/errors.ts';
import { checkInputs } from '../../../src/tensor/signature.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeRunner } from '../../support/fake-runner.ts';
import { answerRows, ROW_SIGNATURE, type RowsSpec, rowInputs, runRows } from './row-model.ts';

/** Several batchers over one set of cores, driven by a test, with everything that must always hold checked. */

export interface WorldOptions {
  readonly cores: number;
  /** Threads of the runners of each batcher; as many batchers. */
  readonly threads: readonly number[];
  readonly maxBatchRows: number;
  readonly maxQueueRows: number;
  readonly limitBytes: number;
  readonly windowMs: number;
  readonly preferredRows?: readonly number[];
  readonly preservesOrder?: boolean;
  /** Levels of priority; 0: none. */
  readonly levels: number;
  readonly runMs: (rows: number) => number;
}

/** A request as the test knows it. */
interface Sent {
  readonly site: Site;
  readonly spec: RowsSpec;
  readonly outputs: readonly number[] | undefined;
  readonly request: PendingRequest;
  dispatches: number;
  /** Times that `events.settled` spoke of it. */
  settlements: number;
  cancelled: boolean;
  reply?: Reply;
  error?: ShoalError;
}

/** A batcher with what the test knows of it. */
interface Site {
  readonly batcher: Batcher;
  readonly threads: number;
  readonly runners: Set<FakeRunner>;
}

export class World {
  readonly clock: FakeClock = new FakeClock();
  readonly sent: Sent[] = [];
  readonly sites: readonly Site[];
  readonly #options: WorldOptions;
  readonly #tokens: CoreTokens;
  readonly #budget: ByteBudget;
  readonly #bySent: Map<PendingRequest, Sent> = new Map();
  /** All runners there ever were: one that was taken away ends its run first. */
  readonly #runners: { readonly site: Site; readonly runner: FakeRunner }[] = [];
  #numbers = 0;
  /** What went wrong where nobody would have seen it. */
  #failure: unknown;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#tokens = new CoreTokens(options.cores, this.clock);
    this.#budget = byteBudget(options.limitBytes);
    this.sites = options.threads.map((threads, i) => this.#makeSite(`m${i}`, threads));
    for (const site of this.sites) this.addRunner(site);
  }

  /** Rows with numbers that nobody else has. */
  spec(deeds: RowsSpec['deeds'], width: number, key: number): RowsSpec {
    this.#numbers += 10;
    return { first: this.#numbers, deeds, width, key };
  }

  /** Sends a request; a refusal is checked for being deserved. */
  submit(
    site: Site,
    spec: RowsSpec,
    options: {
      outputs?: readonly number[] | undefined;
      waitMs?: number;
      queueWaitMs?: number;
      priority?: number;
    } = {},
  ): Sent | undefined {
    const { outputs, waitMs = 1e9, queueWaitMs = Number.POSITIVE_INFINITY } = options;
    const inputs = checkInputs('fake', ROW_SIGNATURE, rowInputs(spec), this.#options.maxBatchRows);
    const nowMs = this.clock.now();
    const [queuedRows, heldBytes] = [site.batcher.queuedRows, this.#budget.heldBytes];
    let request: PendingRequest;
    try {
      request = site.batcher.submit({
        inputs,
        outputs,
        priority: this.#options.levels === 0 ? 0 : 1 + ((options.priority ?? 0) % this.#options.levels),
        receivedMs: nowMs,
        deadlineMs: nowMs + waitMs,
        queueDeadlineMs: nowMs + queueWaitMs,
      });
    } catch (thrown) {
      const { code } = toShoalError(thrown);
      const full =
        queuedRows + inputs.rows > this.#options.maxQueueRows || heldBytes + inputs.bytes > this.#options.limitBytes;
      const fits = inputs.rows <= this.#options.maxQueueRows && inputs.bytes <= this.#options.limitBytes;
      if (code === 'QUEUE_FULL') assert.ok(full && fits, 'refused though there is room');
      else if (code === 'INVALID_REQUEST') assert.ok(!fits, 'refused for ever though it can fit');
      else if (code === 'EXECUTOR_LOST') assert.ok(spec.deeds.includes('killer'), 'an innocent was refused');
      else if (code === 'DEADLINE_UNREACHABLE') assert.ok(waitMs < 1e9 || queueWaitMs < 1e9, 'there was no deadline');
      else assert.fail(`refused with ${code}`);
      return undefined;
    }
    assert.ok(queuedRows + inputs.rows <= this.#options.maxQueueRows, 'more rows wait than may');
    assert.ok(heldBytes + inputs.bytes <= this.#options.limitBytes, 'more bytes are held than may');
    const sent: Sent = { site, spec, outputs, request, dispatches: 0, settlements: 0, cancelled: false };
    this.sent.push(sent);
    this.#bySent.set(request, sent);
    request.promise.then(
      (reply) => {
        sent.reply = reply;
      },
      (error: unknown) => {
        sent.error = toShoalError(error);
      },
    );
    return sent;
  }

  cancel(sent: Sent): void {
    sent.cancelled = true;
    sent.site.batcher.cancel(sent.request);
  }

  addRunner(site: Site): void {
    const runner = new FakeRunner(this.clock, {
      threads: site.threads,
      compute: runRows,
      started: (one) => this.#guard(() => this.#started(site, one)),
    });
    site.runners.add(runner);
    this.#runners.push({ site, runner });
    site.batcher.addRunner(runner);
  }

  /** Takes a runner away; it ends its run first. */
  removeRunner(site: Site, runner: FakeRunner): void {
    site.runners.delete(runner);
    site.batcher.removeRunner(runner);
  }

  /**
   * A runner dies by no fault of its batch, and is replaced after a while. Not while it runs someone who has lost an
   * executor before: whoever is there twice counts as the culprit.
   */
  async kill(site: Site, runner: FakeRunner): Promise<void> {
    if (runner.current?.batch.members.some((member) => member.deaths > 0)) return;
    await this.#die(site, runner);
  }

  /** Lets time pass until everything is settled; every batcher gets a runner if it has none. */
  async finish(): Promise<void> {
    for (const site of this.sites) if (site.runners.size === 0) this.addRunner(site);
    await this.clock.settle();
    for (let steps = 0; this.sent.some((one) => one.request.state !== 'settled'); steps++) {
      assert.ok(steps < 10_000, 'requests are not settled however long one waits');
      const next = this.clock.nextTimerMs;
      assert.ok(next !== undefined && next < 1e6, 'requests wait and nothing is going to happen');
      await this.clock.advance(next - this.clock.now());
      this.check();
    }
    // Runs whose callers have all left may still be under way.
    await this.clock.advance(1000);
    this.check();
    for (const one of this.sent) this.#checkOutcome(one);
    assert.equal(this.#tokens.free, this.#options.cores);
    assert.equal(this.#budget.heldBytes, 0);
    for (const { site, spec, error } of [...this.sent]) {
      if (error?.code === 'EXECUTOR_LOST') assert.equal(this.submit(site, spec), undefined, 'a killer is let in again');
    }
  }

  /** What must hold whenever nothing is left to do at an instant. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
    let threads = 0;
    let bytes = 0;
    for (const site of this.sites) {
      const unsettled = this.sent.filter((one) => one.site === site && one.request.state !== 'settled');
      const waiting = unsettled.filter((one) => one.request.state === 'queued');
      assert.equal(site.batcher.queuedRows, rowsOf(waiting), 'queuedRows');
      assert.equal(site.batcher.inflightRequests, unsettled.length, 'inflightRequests');
      for (const { request } of unsettled) bytes += request.inputs.bytes;
      for (const { request } of unsettled) assert.ok(request.deadlineMs > this.clock.now(), 'a deadline was missed');
    }
    for (const { site, runner } of this.#runners) {
      if (runner.current !== undefined) threads += Math.min(site.threads, this.#options.cores);
    }
    assert.equal(this.#budget.heldBytes, bytes, 'heldBytes');
    assert.ok(threads <= this.#options.cores, 'more threads run than there are cores');
    assert.equal(this.#tokens.free, this.#options.cores - threads, 'free tokens');
    this.#checkNoIdleWait();
  }

  /** Work that could start has started: an idle runner and free cores never stand beside rows that wait. */
  #checkNoIdleWait(): void {
    const { cores, windowMs, maxBatchRows, preferredRows = [] } = this.#options;
    const able = this.sites.filter(
      (site) =>
        site.batcher.queuedRows > 0 && [...site.runners].some((runner) => !runner.dead && runner.current === undefined),
    );
    // The free tokens may be kept together for a wide runner whose turn it is.
    if (able.some((site) => Math.min(site.threads, cores) > this.#tokens.free)) return;
    for (const site of able) {
      const all = this.sent.filter((one) => one.site === site && one.request.state === 'queued');
      for (const key of new Set(all.map((one) => one.request.laneKey))) {
        const waiting = all.filter((one) => one.request.laneKey === key);
        assert.ok(windowMs > 0, 'rows wait beside an idle runner');
        const enough = preferredRows[0] ?? maxBatchRows;
        assert.ok(rowsOf(waiting) < enough, 'a batch of a size that is wanted waits for the window');
        for (const { request, dispatches } of waiting) {
          assert.equal(dispatches, 0, 'a request that is tried again waits for the window');
          assert.ok(this.clock.now() < request.stamps.enqueuedMs + windowMs, 'the window is over');
        }
      }
    }
  }

  /** What must hold for a batch when it starts; then lets it take its time. */
  #started(site: Site, runner: FakeRunner): void {
    const { batch } = runner.current!;
    const nowMs = this.clock.now();
    const members = batch.members.map((member) => this.#bySent.get(member)!);
    const { maxBatchRows } = this.#options;
    assert.ok(members.length > 0, 'an empty batch');
    assert.equal(batch.rows, rowsOf(members));
    assert.ok(batch.rows <= maxBatchRows, `${batch.rows} rows in one run`);
    for (const { request, site: own, spec } of members) {
      assert.equal(own, site, 'a batch has a request to another model');
      assert.equal(request.state, 'running', 'someone who is not waiting is run');
      assert.ok(request.deadlineMs >= nowMs, 'a request is run after its deadline');
      const { width, key } = members[0]!.spec;
      assert.deepEqual([spec.width, spec.key], [width, key], 'lanes are mixed');
    }
    if (batch.reason !== 'retry') this.#checkOrder(site, batch, members);
    for (const one of members) one.dispatches++;
    this.clock.setTimer(this.#options.runMs(batch.rows), () => {
      // It may have died meanwhile.
      if (runner.current?.batch !== batch) return;
      if (members.some(({ spec }) => spec.deeds.includes('killer'))) void this.#die(site, runner);
      else void runner.finish();
    });
  }

  /** First come, first served at each priority; and nobody is left behind whom the batch had room for. */
  #checkOrder(site: Site, batch: Batch, members: readonly Sent[]): void {
    const nowMs = this.clock.now();
    const all = this.sent
      .filter(({ site: own, request }) => own === site && request.state !== 'settled')
      .sort((a, b) => a.request.priority - b.request.priority);
    const waiting = all.filter(({ dispatches }) => dispatches === 0);
    const queue = waiting.filter(({ request }) => request.laneKey === batch.laneKey);
    assert.deepEqual(
      members,
      queue.slice(0, members.length),
      'a lane is not served in order, or somebody is run twice for no reason',
    );
    const next = queue[members.length];
    if (next !== undefined && batch.reason !== 'split') {
      const { maxBatchRows, preferredRows = [] } = this.#options;
      const size = preferredRows.findLast((rows) => rows <= rowsOf(queue)) ?? maxBatchRows;
      assert.ok(batch.rows + next.request.inputs.rows > size, 'somebody was left behind');
    }
    if (this.#options.windowMs === 0) {
      const tried = new Set(all.filter(isTriedAgain).map(({ request }) => request.laneKey));
      const urgent = waiting.find(({ request }) => !tried.has(request.laneKey));
      const first = members[0]!.request.priority;
      assert.ok(
        urgent === undefined || urgent.request.priority >= first,
        'a more urgent request of another lane waits',
      );
    }
    for (const { request } of members) {
      assert.ok(request.queueDeadlineMs >= nowMs, 'a request is run after its time to wait');
    }
  }

  async #die(site: Site, runner: FakeRunner): Promise<void> {
    site.runners.delete(runner);
    // The batcher hears of a runner that dies idle from whoever watches its process.
    if (runner.current === undefined) site.batcher.removeRunner(runner);
    this.clock.setTimer(3, () => this.addRunner(site));
    await runner.die();
  }

  #guard(check: () => void): void {
    try {
      check();
    } catch (failure) {
      this.#failure ??= failure;
    }
  }

  #checkOutcome(sent: Sent): void {
    const { spec, outputs, request, settlements, reply } = sent;
    assert.equal(settlements, 1, 'settled once');
    assert.equal(request.state, 'settled');
    if (reply === undefined) {
      this.#checkError(sent, sent.error!.code);
      return;
    }
    assert.ok(
      spec.deeds.every((deed) => deed === 'innocent'),
      'a bad row was answered',
    );
    const expected = answerRows(request.inputs.tensors);
    const wanted = outputs ?? [...expected.keys()];
    assert.deepEqual(
      reply.outputs.map(comparable),
      wanted.map((index) => comparable(expected.get(index)!)),
    );
    const { receivedMs, enqueuedMs, dispatchedMs, computeStartMs, computeEndMs, settledMs } = request.stamps;
    const stamps = [receivedMs, enqueuedMs, dispatchedMs, computeStartMs, computeEndMs, settledMs];
    assert.deepEqual(
      stamps,
      stamps.toSorted((a, b) => a - b),
      'stamps in order',
    );
  }

  #checkError({ spec, request, dispatches, cancelled }: Sent, code: ErrorCode): void {
    if (code === 'CANCELLED') assert.ok(cancelled);
    else if (code === 'DEADLINE_EXCEEDED') {
      const { deadlineMs, queueDeadlineMs } = request;
      // Whoever has been run once has waited in time, even if it has to be run again.
      const atMs = dispatches > 0 ? deadlineMs : Math.min(deadlineMs, queueDeadlineMs);
      assert.ok(atMs <= request.stamps.settledMs, 'expired early');
    } else if (code === 'EXECUTOR_LOST')
      assert.ok(spec.deeds.includes('killer'), 'an innocent lost its executor twice');
    else if (code === 'INVALID_REQUEST') {
      assert.ok(spec.deeds.includes('poison') && !spec.deeds.includes('killer'), "an innocent got a poison's error");
    } else assert.fail(`rejected with ${code}`);
  }

  #makeSite(name: string, threads: number): Site {
    const { maxBatchRows, maxQueueRows, windowMs, levels } = this.#options;
    const batcher = new Batcher({
      name,
      signature: ROW_SIGNATURE,
      shares: true,
      maxBatchRows,
      maxQueueRows,
      maxQueueRequests: Number.POSITIVE_INFINITY,
      maxLevelRequests: levels === 0 ? undefined : () => Number.POSITIVE_INFINITY,
      preferredRows: this.#options.preferredRows ?? [],
      windowMs,
      preservesOrder: this.#options.preservesOrder ?? false,
      budget: this.#budget,
      tokens: this.#tokens,
      cost: new CostEstimate(),
      clock: this.clock,
      events: {
        batchEnded: () => {},
        settled: (request, code) => {
          const one = this.#bySent.get(request)!;
          one.settlements++;
          if (!this.#options.preservesOrder || code !== undefined) return;
          const earlier = this.sent.slice(0, this.sent.indexOf(one));
          const isOwed = earlier.some(({ site, request: other }) => site === one.site && other.state !== 'settled');
          if (isOwed) this.#failure ??= new Error('answered before a request that was accepted earlier');
        },
        refused: () => {},
        unbatchable: (reason) => assert.fail(reason),
      },
    });
    return { batcher, threads, runners: new Set() };
  }
}

function rowsOf(sent: readonly Sent[]): number {
  return sent.reduce((sum, { request }) => sum + request.inputs.rows, 0);
}

function comparable({
  datatype,
  shape,
  bytes,
}: {
  datatype: string;
  shape: readonly number[];
  bytes: Uint8Array;
}): object {
  return { datatype, shape, bytes: Buffer.from(bytes).toString('base64') };
}

function isTriedAgain({ request, dispatches }: Sent): boolean {
  return request.state === 'queued' && dispatches > 0;
}
