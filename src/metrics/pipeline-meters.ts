import type { Stamps } from '../batching/request.ts';
import type { ErrorCode } from '../errors.ts';
import type { PipelineCall } from '../pipeline/pipeline-call.ts';
import type { PipelineEvents, PipelineProtocol, PipelineVersion } from '../pipeline/pipeline-version.ts';
import { StageTally } from '../pipeline/stage-tally.ts';
import { HotHistogram, SECONDS } from './histogram.ts';
import type { Tally, VersionTally } from './version-meters.ts';

/** How requests end, as a label: `ok`, or the code of their error. */
type Outcome = 'ok' | ErrorCode;

/** The counters of one pipeline. */
export class PipelineMeters implements PipelineEvents {
  readonly name: string;
  /** The pipeline whose state is shown beside the counters; undefined until it is served. */
  version: PipelineVersion | undefined;
  readonly duration: HotHistogram = new HotHistogram(SECONDS);
  /** How long its code held the event loop within one turn. */
  readonly holds: HotHistogram = new HotHistogram(SECONDS);
  /** Requests by protocol and outcome, as they came up. */
  readonly outcomes: Map<PipelineProtocol, Map<Outcome, number>> = new Map();
  /** Of all calls that have ended. */
  readonly stages: StageTally = new StageTally();
  /** Calls that have been answered, and what they took, from taken to settled. */
  readonly success: Tally = { count: 0, ms: 0 };
  readonly fail: Tally = { count: 0, ms: 0 };
  /** Wall-clock milliseconds of the last call; 0 before the first. */
  lastRequestMs = 0;

  constructor(name: string) {
    this.name = name;
  }

  placed(version: PipelineVersion): void {
    this.version = version;
  }

  refused(): void {
    // Every door reports such a request as finished, too.
  }

  finished(
    protocol: PipelineProtocol,
    receivedMs: number,
    endMs: number,
    code: ErrorCode | undefined,
    _stamps: Readonly<Stamps> | undefined,
  ): void {
    const outcome = code ?? 'ok';
    let counts = this.outcomes.get(protocol);
    if (counts === undefined) {
      counts = new Map();
      this.outcomes.set(protocol, counts);
    }
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    this.duration.observe((endMs - receivedMs) / 1e3);
  }

  settled({ stamps, stages }: PipelineCall, code: ErrorCode | undefined): void {
    const tally = code === undefined ? this.success : this.fail;
    tally.count++;
    tally.ms += stamps.settledMs - stamps.enqueuedMs;
    this.lastRequestMs = Date.now();
    this.stages.add(stages);
  }

  /** Calls as statistics have them: each is a run of one row, and what it takes is compute. */
  tally(): VersionTally {
    const { count, ms } = this.success;
    const all = { runs: count, handoverMs: 0, computeMs: ms, handbackMs: 0 };
    return {
      version: this.version!,
      successes: count,
      fail: this.fail,
      queueMs: 0,
      handoverMs: 0,
      computeMs: ms,
      handbackMs: 0,
      rows: count,
      runs: count,
      sizes: new Map(count === 0 ? [] : [[1, all]]),
      lastRequestMs: this.lastRequestMs,
    };
  }

  held(ms: number): void {
    this.holds.observe(ms / 1e3);
  }
}
