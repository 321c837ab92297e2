import { type ChildProcess, spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Batch } from '../batching/batch.ts';
import type { Runner, RunResult } from '../batching/batcher.ts';
import { childEnvironment } from '../child-environment.ts';
import type { Clock, Timer } from '../clock.ts';
import { ShoalError } from '../errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { cpuTimeMs } from './cpu-time.ts';
import { explainFailure, withoutLocations } from './failures.ts';
import {
  decodeControl,
  decodeTensors,
  encodeControl,
  encodeTensors,
  type Frame,
  FrameAssembler,
  type FrameKind,
} from './frame.ts';
import type { CheckReport, CheckRequest, Failure, Finding, LoadReport, LoadRequest, ProbeRequest } from './messages.ts';

/** How long a run may take before its executor counts as hung. */
export interface HangLimits {
  /** CPU time by which it may exceed what its batch was expected to cost. A throttled container uses none of it up. */
  readonly cpuMs: number;
  /** Wall-clock time, for hangs that use no CPU; far above the other. */
  readonly wallMs: number;
}

export interface ExecutorOptions {
  readonly clock: Clock;
  /** What messages call the model. */
  readonly name: string;
  readonly load: LoadRequest;
  /** Time limit of loading, and of probing. */
  readonly loadTimeoutMs: number;
  /** Limits for a batch, by what is known of its cost. */
  readonly hangLimits: (batch: Batch) => HangLimits;
  /** Ends the process if it aborts before the model is loaded; afterwards that is the holder's business. */
  readonly signal?: AbortSignal | undefined;
  /** The executor's program; needed where a bundler has moved it. */
  readonly entry?: string | undefined;
  /** Called once when the process has ended, however it came to that. */
  readonly onExit: (executor: Executor, reason: string) => void;
}

interface Running {
  readonly id: number;
  readonly batch: Batch;
  readonly sinceMs: number;
  /** The process's CPU time when the run was first looked at. */
  cpuAtMs: number | undefined;
  readonly resolve: (result: RunResult) => void;
  readonly reject: (error: ShoalError) => void;
}

interface Control {
  readonly resolve: (message: unknown) => void;
  readonly reject: (error: ShoalError) => void;
  readonly timer: Timer;
}

/** The session's number; an executor holds one model version for now, but frames always say which they mean. */
const SESSION = 1;

/** How often a running batch is looked at for a hang. */
const WATCH_MS = 1000;

/** Lines of the process's standard error that are kept for messages. */
const STDERR_KEPT = 4096;

/**
 * The front's side of an executor process: starts it, has it load its model, hands it batches one at a time, and
 * kills it when it hangs. It can die at any moment; whoever waits for it is then rejected with EXECUTOR_LOST.
 */
export class Executor implements Runner {
  readonly threads: number;
  readonly #options: ExecutorOptions;
  readonly #child: ChildProcess;
  readonly #pipe: Duplex;
  readonly #frames: FrameAssembler = new FrameAssembler();
  #control: Control | undefined;
  #running: Running | undefined;
  #runs = 0;
  #watch: Timer | undefined;
  #stderr = '';
  /** Why it was killed, when it was we who did it. */
  #killedFor: string | undefined;
  #exited = false;
  #diedRunning = false;

  private constructor(options: ExecutorOptions) {
    this.#options = options;
    this.threads = options.load.intraOpThreads;
    const entry = options.entry ?? fileURLToPath(new URL('./main.js', import.meta.url));
    this.#child = spawn(process.execPath, [entry], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      env: childEnvironment(),
    });
    this.#pipe = this.#child.stdio[3] as Duplex;
    this.#pipe.on('data', (chunk: Buffer) => this.#receive(chunk));
    // The pipe breaks when the process dies; the 'exit' event tells what to do about it.
    this.#pipe.on('error', () => {});
    this.#child.stderr!.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-STDERR_KEPT);
    });
    this.#child.on('error', (error) => this.#gone(`it could not be started: ${error.message}`));
    // 'close' comes after the last output has been read, so that an answer given before the end still counts.
    this.#child.on('close', (code, signal) =>
      this.#gone(signal === null ? `it exited with code ${code}` : `it was ended by ${signal}`),
    );
  }

  /**
   * Starts a process and loads a model in it.
   *
   * @throws {ShoalError} MODEL_NOT_READY when ONNX Runtime refused the model, EXECUTOR_LOST when loading ended the
   * process or took too long; each with the reason.
   */
  static async start(options: ExecutorOptions): Promise<{ executor: Executor; report: LoadReport }> {
    const { signal } = options;
    const executor = new Executor(options);
    const end = (): void => executor.kill('it is not needed any more');
    signal?.addEventListener('abort', end);
    if (signal?.aborted) end();
    try {
      const report = await executor.#ask('load', options.load, 'loading');
      return { executor, report: report as LoadReport };
    } catch (thrown) {
      executor.kill('its model could not be loaded');
      throw thrown;
    } finally {
      signal?.removeEventListener('abort', end);
    }
  }

  /**
   * Has the model probed for batch axes, with what is known of them already; no run may be under way.
   *
   * @param limitMs the longest it may take; default: as long as loading may.
   * @throws {ShoalError} EXECUTOR_LOST when that ended the process or took too long.
   */
  async probe(request: ProbeRequest, limitMs?: number): Promise<Finding> {
    return (await this.#ask('probe', request, 'probing', limitMs)) as Finding;
  }

  /**
   * Has runs that were kept examined; no run may be under way.
   *
   * @throws {ShoalError} EXECUTOR_LOST when that ended the process or took too long, MODEL_NOT_READY when it failed.
   */
  async check(request: CheckRequest, limitMs: number): Promise<CheckReport> {
    return (await this.#ask('check', request, 'checking a run', limitMs)) as CheckReport;
  }

  /** Whether it ended in the middle of a run. */
  get diedRunning(): boolean {
    return this.#diedRunning;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** See {@link Runner.run}. */
  run(batch: Batch, keep = 0): Promise<RunResult> {
    return new Promise((resolve, reject) => {
      if (this.#exited || this.#killedFor !== undefined) {
        reject(this.#lost('it had ended before the run'));
        return;
      }
      const id = ++this.#runs;
      const inputs = batch.inputs().map((input, index) => ({ index, ...input }));
      const pieces = encodeTensors('run', SESSION, id, [keep, 0], batch.outputs(), inputs);
      this.#running = { id, batch, sinceMs: this.#options.clock.now(), cpuAtMs: undefined, resolve, reject };
      this.#watch ??= this.#options.clock.setTimer(WATCH_MS, () => this.#look());
      if (pieces.length === 1) this.#pipe.write(pieces[0]);
      else {
        this.#pipe.cork();
        for (const piece of pieces) this.#pipe.write(piece);
        this.#pipe.uncork();
      }
    });
  }

  /** Ends the process at once, whatever it does. */
  kill(reason: string): void {
    if (this.#exited) return;
    this.#killedFor ??= reason;
    this.#child.kill('SIGKILL');
  }

  /** Lets the process end by itself: it does so when its pipe is closed and it is not running anything. */
  close(): void {
    this.#killedFor ??= 'it was closed';
    this.#pipe.end();
  }

  #ask(kind: FrameKind, message: unknown, what: string, limitMs?: number): Promise<unknown> {
    const { clock, loadTimeoutMs } = this.#options;
    const timeoutMs = Math.min(limitMs ?? loadTimeoutMs, loadTimeoutMs);
    return new Promise((resolve, reject) => {
      if (this.#exited) {
        reject(this.#lost('it had ended before'));
        return;
      }
      const timer = clock.setTimer(timeoutMs, () => this.kill(`${what} took longer than ${timeoutMs / 1000} s`));
      this.#control = { resolve, reject, timer };
      this.#pipe.write(encodeControl(kind, SESSION, message));
    });
  }

  #receive(chunk: Buffer): void {
    try {
      for (const frame of this.#frames.push(chunk)) this.#handle(frame);
    } catch (thrown) {
      this.kill(`what it sent cannot be read: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    }
  }

  #handle(frame: Frame): void {
    if (this.#control !== undefined) {
      const { resolve, reject, timer } = this.#control;
      this.#control = undefined;
      timer.cancel();
      if (frame.kind === 'failed') reject(this.#refused((decodeControl(frame) as Failure).message));
      else resolve(decodeControl(frame));
      return;
    }
    const running = this.#running;
    // An answer nobody waits for can only be a fault of the stream; #receive ends the process for it.
    if (running === undefined || frame.id !== running.id) throw new Error('an answer without a run');
    this.#running = undefined;
    if (frame.kind === 'failed') {
      running.reject(explainFailure(this.#options.name, (decodeControl(frame) as Failure).message));
      return;
    }
    const { numbers, tensors } = decodeTensors(frame);
    const outputs = new Map<number, Tensor>();
    for (const { index, tensor } of tensors) outputs.set(index, tensor);
    running.resolve({ outputs, computeStartMs: numbers[0], computeEndMs: numbers[1] });
  }

  /** Looks at a run that has lasted a while. */
  #look(): void {
    this.#watch = undefined;
    const running = this.#running;
    if (running === undefined || this.#exited) return;
    this.#watch = this.#options.clock.setTimer(WATCH_MS, () => this.#look());
    const wallMs = this.#options.clock.now() - running.sinceMs;
    if (wallMs < WATCH_MS / 2) return;
    const limits = this.#options.hangLimits(running.batch);
    const cpuMs = cpuTimeMs(this.#child.pid);
    if (cpuMs !== undefined) running.cpuAtMs ??= cpuMs;
    const usedMs = cpuMs === undefined ? 0 : cpuMs - running.cpuAtMs!;
    if (usedMs > limits.cpuMs)
      this.kill(`a run used more than ${Math.round(limits.cpuMs)} ms of CPU time and did not end`);
    else if (wallMs > limits.wallMs) this.kill(`a run did not end within ${Math.round(limits.wallMs)} ms`);
  }

  #gone(how: string): void {
    if (this.#exited) return;
    this.#exited = true;
    this.#watch?.cancel();
    const reason = this.#killedFor ?? how;
    this.#control?.timer.cancel();
    this.#control?.reject(this.#lost(reason));
    this.#control = undefined;
    const running = this.#running;
    this.#running = undefined;
    this.#diedRunning = running !== undefined;
    running?.reject(this.#lost(reason));
    this.#options.onExit(this, reason);
  }

  #refused(said: string): ShoalError {
    // Where the file lies is the log's matter; this text goes to callers, too.
    const message = withoutLocations(said).replace(/^Load model from .+? failed: ?/, 'it cannot be loaded: ');
    // ONNX Runtime tells only on standard error which library it could not load.
    const library = /Failed to load library [^\n]*error: ([^\n]*)/.exec(this.#stderr)?.[1];
    return new ShoalError(
      'MODEL_NOT_READY',
      library === undefined ? message : `${message} (${library.trim().replace(/\S*\//, '')})`,
    );
  }

  #lost(reason: string): ShoalError {
    return new ShoalError('EXECUTOR_LOST', `the executor of model '${this.#options.name}' was lost: ${reason}`);
  }
}
