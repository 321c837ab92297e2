import { type ChildProcess, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { childEnvironment } from '../../child-environment.ts';
import { monotonicMs } from '../../clock.ts';
import { ShoalError } from '../../errors.ts';
import type { ExampleParts } from './example-parts.ts';
import { type FrameKind, FrameReader, frameHeader, GRADIENT_HEAD } from './frame.ts';
import { coveredMs, type Span } from './shards.ts';

/** The gradient of a shard: its part of a step's mean. */
export interface ShardGradient {
  /** Its worker's memory: good until the worker's next step. */
  readonly gradient: Float64Array;
  /** Its part of the mean loss. */
  readonly loss: number;
  readonly right: number;
  /** How long the worker computed. */
  readonly computeMs: number;
  /** How long parameters and gradients took from end to end. */
  readonly communicationMs: number;
  /** How much of that the worker was computing meanwhile. */
  readonly hiddenMs: number;
}

/** A step that is under way. */
interface Running {
  readonly sentMs: number;
  readonly computing: Span[];
  readonly travelling: Span[];
  loss: number;
  right: number;
}

interface Waiting<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: ShoalError) => void;
}

/** Lines of the process's standard error that are kept for messages. */
const STDERR_KEPT = 2048;

/** The training's side of a worker process. It can die at any moment; whoever waits for it then is told. */
export class TrainingWorker {
  readonly #label: string;
  readonly #child: ChildProcess;
  readonly #pipe: Socket;
  readonly #frames: FrameReader = new FrameReader((kind, body) => this.#handle(kind, body));
  readonly #sum: Float64Array;
  readonly #gone: Promise<void>;
  #starting: Waiting<void> | undefined;
  #waiting: Waiting<ShardGradient> | undefined;
  #running: Running | undefined;
  #lost: ShoalError | undefined;
  #stderr = '';

  /**
   * Starts the process and hands it the examples.
   *
   * @throws {ShoalError} EXECUTOR_LOST when the system gives no pipe for it.
   * @param label what messages call it.
   * @param size numbers of a gradient.
   */
  constructor(label: string, size: number, examples: ExampleParts, entry: string | undefined) {
    this.#label = label;
    this.#sum = new Float64Array(size);
    const program = entry ?? fileURLToPath(new URL('./main.js', import.meta.url));
    this.#child = spawn(process.execPath, [program], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      env: childEnvironment(),
    });
    // Without a free file handle there are no pipes at all.
    const pipe = this.#child.stdio?.[3];
    if (!(pipe instanceof Socket)) throw this.#lostFor('it could not be started: there is no pipe for it');
    this.#pipe = pipe;
    pipe.on('data', (chunk: Buffer) => this.#receive(chunk));
    // The pipe breaks when the process dies; 'close' tells what to do about it.
    pipe.on('error', () => {});
    this.#child.stderr!.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-STDERR_KEPT);
    });
    this.#gone = new Promise((resolve) => {
      this.#child.on('error', (error) => this.#end(`it could not be started: ${error.message}`));
      this.#child.on('close', (code, signal) => {
        this.#end(signal === null ? `it exited with code ${code}${this.#lastLine()}` : `it was ended by ${signal}`);
        resolve();
      });
      // A process that never came to be has no end either.
      if (this.#child.pid === undefined) resolve();
    });
    for (const [kind, body] of examples) this.#send(kind, [body]);
  }

  /** Its process. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** @throws {ShoalError} EXECUTOR_LOST when the process ended before it had the examples. */
  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#lost === undefined) this.#starting = { resolve, reject };
      else reject(this.#lost);
    });
  }

  /**
   * Works out the gradient of a shard. One at a time.
   *
   * @param ofRows rows of the whole step. @param parameters must not change until it resolves.
   * @throws {ShoalError} EXECUTOR_LOST when the process ends meanwhile, or had ended.
   */
  shard(rows: Uint32Array, ofRows: number, parameters: Float64Array): Promise<ShardGradient> {
    return new Promise((resolve, reject) => {
      if (this.#lost !== undefined) {
        reject(this.#lost);
        return;
      }
      this.#waiting = { resolve, reject };
      this.#running = { sentMs: monotonicMs(), computing: [], travelling: [], loss: 0, right: 0 };
      this.#hold(true);
      // Numbers of rows are half as long as what a body is measured in.
      const numbers = new Uint32Array(rows.length + (rows.length & 1));
      numbers.set(rows);
      this.#send('step', [bytesOf(Float64Array.of(ofRows, rows.length)), bytesOf(parameters), bytesOf(numbers)]);
    });
  }

  /** Ends the process, whatever it does; resolves when it is gone. */
  close(): Promise<void> {
    this.#hold(true);
    this.#lost ??= this.#lostFor('it was closed');
    this.#child.kill('SIGKILL');
    return this.#gone;
  }

  #send(kind: FrameKind, pieces: readonly Uint8Array[]): void {
    this.#pipe.cork();
    this.#pipe.write(
      frameHeader(
        kind,
        pieces.reduce((sum, piece) => sum + piece.length, 0),
      ),
    );
    for (const piece of pieces) this.#pipe.write(piece);
    this.#pipe.uncork();
  }

  #receive(chunk: Uint8Array): void {
    try {
      this.#frames.push(chunk);
    } catch (thrown) {
      this.#end(`what it sent cannot be read: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
      this.#child.kill('SIGKILL');
    }
  }

  #handle(kind: FrameKind, body: Uint8Array): void {
    if (kind === 'ready') {
      this.#starting?.resolve();
      this.#starting = undefined;
      this.#hold(false);
    } else if (kind === 'gradient' && this.#running !== undefined) {
      this.#add(new Float64Array(body.buffer), this.#running);
    } else if (kind === 'failed') this.#end(`it failed: ${Buffer.from(body).toString().trim()}`);
    else throw new Error(`a '${kind}' frame that nobody asked for`);
  }

  #add(numbers: Float64Array, running: Running): void {
    const [startMs = 0, endMs = 0, loss = 0, right = 0, toCome = 0] = numbers;
    const gradient = numbers.subarray(GRADIENT_HEAD);
    const sum = this.#sum;
    if (running.computing.length === 0) {
      sum.set(gradient);
      running.travelling.push({ startMs: running.sentMs, endMs: startMs });
    } else for (let i = 0; i < sum.length; i++) sum[i]! += gradient[i]!;
    running.computing.push({ startMs, endMs });
    running.loss += loss;
    running.right += right;
    running.travelling.push({ startMs: endMs, endMs: monotonicMs() });
    if (toCome > 0) return;
    const waiting = this.#waiting;
    [this.#waiting, this.#running] = [undefined, undefined];
    this.#hold(false);
    const { computing, travelling } = running;
    waiting?.resolve({
      gradient: sum,
      loss: running.loss,
      right: running.right,
      computeMs: total(computing),
      communicationMs: total(travelling),
      hiddenMs: travelling.reduce((ms, span) => ms + coveredMs(span, computing), 0),
    });
  }

  /** Whether the process keeps ours alive: only while someone waits, so that a forgotten training holds up nobody. */
  #hold(holds: boolean): void {
    const call = holds ? 'ref' : 'unref';
    this.#child[call]();
    this.#pipe[call]();
    if (this.#child.stderr instanceof Socket) this.#child.stderr[call]();
  }

  #end(reason: string): void {
    this.#lost ??= this.#lostFor(reason);
    this.#starting?.reject(this.#lost);
    this.#waiting?.reject(this.#lost);
    [this.#starting, this.#waiting, this.#running] = [undefined, undefined, undefined];
  }

  #lostFor(reason: string): ShoalError {
    return new ShoalError('EXECUTOR_LOST', `${this.#label} was lost: ${reason}`);
  }

  /** What Node said before it gave up; its first line names the place, the error follows. */
  #lastLine(): string {
    const said = /^\w*Error.*$/m.exec(this.#stderr)?.[0];
    return said === undefined ? '' : ` (${said})`;
  }
}

function total(spans: readonly Span[]): number {
  return spans.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0);
}

function bytesOf(array: Float64Array | Uint32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
