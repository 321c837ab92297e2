import { closeSync, openSync, write, writeSync } from 'node:fs';
import type { Runner, RunResult } from '../batching/batcher.ts';
import type { BatchInfo, PendingRequest, Stamps, Submission } from '../batching/request.ts';
import type { Clock, Timer } from '../clock.ts';
import { type ErrorCode, messageOf, ServeError } from '../errors.ts';
import { requestLine, runLine, TRACE_FORMAT, type TraceHead, type TraceModel } from '../replay/trace-format.ts';
import type { CheckResult } from '../serving/certificate.ts';
import type { ModelVersion, VersionEvents } from '../serving/model-version.ts';

/** Lines are written when there are so many characters of them, */
const FLUSH_CHARS = 64 * 1024;
/** or after this time. */
const FLUSH_MS = 1000;
/** Lanes of a version that have numbers of their own; further ones share the last. */
const MOST_LANES = 4096;

export interface TraceOptions {
  readonly file: string;
  /** The file does not become longer. */
  readonly maxBytes: number;
  readonly cores: number;
  /** The server's option. */
  readonly scheduling: string;
  readonly clock: Clock;
  /** Is told, once, when nothing more is recorded. */
  readonly ended: (why: string) => void;
}

/** Writes what comes to a server into a file, for `shoal replay`; see {@link TraceHead}. Nothing waits for it. */
export class TraceRecorder {
  readonly #options: TraceOptions;
  readonly #startMs: number;
  readonly #file: number;
  #bytesLeft: number;
  #text = '';
  #timer: Timer | undefined;
  #writing = false;
  #ended = false;
  #closed = false;
  #models = 0;

  /** @throws {ServeError} TRACE_FILE when the file cannot be written. */
  constructor(options: TraceOptions) {
    this.#options = options;
    this.#startMs = options.clock.now();
    this.#bytesLeft = options.maxBytes;
    try {
      this.#file = openSync(options.file, 'w');
    } catch (thrown) {
      throw new ServeError('TRACE_FILE', `the trace cannot be written: ${messageOf(thrown)}`, { cause: thrown });
    }
    const head: TraceHead = {
      shoalTrace: TRACE_FORMAT,
      startedAt: new Date().toISOString(),
      cores: options.cores,
    };
    this.#add(`${JSON.stringify(head)}\n`);
  }

  /** Has what happens to a version recorded, and told to `events` as before. */
  watch(version: ModelVersion, events: VersionEvents): VersionEvents {
    return new RecordedEvents(this, version, events);
  }

  /** @internal A number for a version, whose line it writes. */
  nameModel(version: ModelVersion): number {
    const id = this.#models++;
    const { name, maxBatchSize, sharesRuns, batchWindowMs } = version;
    const model: TraceModel = {
      model: name,
      version: version.version,
      id,
      maxBatchSize: sharesRuns ? maxBatchSize : 1,
      batchWindowMs,
      scheduling: this.#options.scheduling,
      threads: version.summary().threads,
    };
    this.#add(`${JSON.stringify(model)}\n`);
    return id;
  }

  /** @internal */
  request(
    id: number,
    lane: number,
    rows: number,
    stamps: Pick<Stamps, 'enqueuedMs' | 'dispatchedMs' | 'settledMs'>,
    code: ErrorCode | undefined,
  ): void {
    const { enqueuedMs, dispatchedMs, settledMs } = stamps;
    const atMs = enqueuedMs - this.#startMs;
    const queueMs = dispatchedMs > 0 ? dispatchedMs - enqueuedMs : 0;
    this.#add(requestLine({ atMs, id, lane, rows, outcome: code ?? 'ok', ms: settledMs - enqueuedMs, queueMs }));
  }

  /** @internal */
  run(id: number, { rows, requests, reason }: BatchInfo, startMs: number, endMs: number): void {
    this.#add(runLine({ startMs: startMs - this.#startMs, id, rows, requests, ms: endMs - startMs, reason }));
  }

  /** @internal */
  get nowMs(): number {
    return this.#options.clock.now();
  }

  /** Writes what is left and closes the file. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    try {
      // A write that is under way is of earlier lines, at its own position.
      if (this.#text !== '') writeSync(this.#file, this.#text);
    } catch (thrown) {
      this.#end(messageOf(thrown));
    }
    this.#text = '';
    if (!this.#writing) closeSync(this.#file);
  }

  #add(line: string): void {
    if (this.#ended || this.#closed) return;
    // Names of models may have characters of several bytes; all else has one each.
    this.#bytesLeft -= line.charCodeAt(0) === 0x7b ? Buffer.byteLength(line) : line.length;
    if (this.#bytesLeft < 0) {
      this.#flush();
      this.#end(`it has reached ${this.#options.maxBytes} bytes`);
      return;
    }
    this.#text += line;
    if (this.#text.length >= FLUSH_CHARS) this.#flush();
    else this.#timer ??= this.#options.clock.setTimer(FLUSH_MS, () => this.#flush());
  }

  #flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#writing || this.#text === '') return;
    const bytes = Buffer.from(this.#text);
    this.#text = '';
    this.#writing = true;
    this.#write(bytes);
  }

  #write(bytes: Buffer): void {
    write(this.#file, bytes, 0, bytes.length, null, (error, written) => {
      if (error === null && written < bytes.length) {
        this.#write(bytes.subarray(written));
        return;
      }
      this.#writing = false;
      if (error !== null) this.#end(messageOf(error));
      if (this.#closed) closeSync(this.#file);
      else if (this.#text.length >= FLUSH_CHARS) this.#flush();
      else if (this.#text !== '') this.#timer ??= this.#options.clock.setTimer(FLUSH_MS, () => this.#flush());
    });
  }

  #end(why: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.ended(why);
  }
}

/** Passes events on, and has the recorder write a line of those it records. */
class RecordedEvents implements VersionEvents {
  readonly #recorder: TraceRecorder;
  readonly #version: ModelVersion;
  readonly #events: VersionEvents;
  /** Numbers of lanes by their keys, which say something of what requests hold. */
  readonly #lanes: Map<string, number> = new Map();
  #id: number | undefined;

  constructor(recorder: TraceRecorder, version: ModelVersion, events: VersionEvents) {
    this.#recorder = recorder;
    this.#version = version;
    this.#events = events;
  }

  batchEnded(info: BatchInfo, startMs: number, endMs: number, result: RunResult | undefined, runner: Runner): void {
    this.#recorder.run(this.#number(), info, startMs, endMs);
    this.#events.batchEnded(info, startMs, endMs, result, runner);
  }

  settled(request: PendingRequest, code: ErrorCode | undefined): void {
    const { laneKey, inputs, stamps } = request;
    this.#recorder.request(this.#number(), this.#lane(laneKey), inputs.rows, stamps, code);
    this.#events.settled(request, code);
  }

  refused(code: ErrorCode, submission?: Submission): void {
    if (submission !== undefined) {
      const { laneKey, rows } = submission.inputs;
      const { nowMs } = this.#recorder;
      const stamps = { enqueuedMs: nowMs, dispatchedMs: 0, settledMs: nowMs };
      this.#recorder.request(this.#number(), this.#lane(laneKey), rows, stamps, code);
    }
    this.#events.refused(code, submission);
  }

  restarted(): void {
    this.#events.restarted();
  }

  checked(result: CheckResult, ms: number): void {
    this.#events.checked(result, ms);
  }

  finished(...ended: Parameters<VersionEvents['finished']>): void {
    this.#events.finished(...ended);
  }

  #number(): number {
    this.#id ??= this.#recorder.nameModel(this.#version);
    return this.#id;
  }

  #lane(key: string): number {
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = Math.min(this.#lanes.size, MOST_LANES - 1);
      if (this.#lanes.size < MOST_LANES) this.#lanes.set(key, lane);
    }
    return lane;
  }
}
