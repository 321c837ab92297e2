import type { Tensor } from '../../tensor/tensor.ts';
import type { LoadRequest } from '../messages.ts';

/** What the process with one thread per caller is asked for. */
export interface ThreadsJob {
  readonly load: LoadRequest;
  /** Inputs of each run, in the order of the model's. */
  readonly inputs: readonly Tensor[];
  readonly threads: number;
  readonly durationMs: number;
  /** No more threads are started once the process has so much memory in RAM, in bytes. */
  readonly memoryLimitBytes: number;
}

/** What it found. */
export interface ThreadsReport {
  /** Threads that were started; fewer than asked for where memory was short. */
  readonly threads: number;
  /** How long a thread took from its start until it could run the model, in milliseconds; median without the first. */
  readonly startMs: number;
  /** Memory that each thread after the first added, in bytes. */
  readonly bytesPerThread: number;
  /** Memory of the process with all threads, in bytes. */
  readonly residentBytes: number;
  readonly requests: number;
  readonly elapsedMs: number;
  /** Of every request, in milliseconds. */
  readonly latenciesMs: Float64Array;
  readonly voluntary: number;
  readonly involuntary: number;
  readonly cpuMs: number;
}

/** What a thread is started with. */
export interface ThreadStart {
  readonly load: LoadRequest;
  readonly inputs: readonly Tensor[];
}
