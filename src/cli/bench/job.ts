/** What `shoal bench` is to do. */
export interface BenchJob {
  readonly model: string;
  /** Address of a running server; undefined: the model runs in this process. */
  readonly url: string | undefined;
  /** Callers that each wait for their answer; with a rate the most requests under way. */
  readonly clients: number;
  /** Requests a second; undefined: each client sends the next when it has its answer. */
  readonly rate: number | undefined;
  readonly arrivals: 'constant' | 'poisson';
  readonly seconds: number;
  /** Rows of a made-up request. */
  readonly rows: number;
  /** File with the JSON body of an infer request; undefined: inputs are made up. */
  readonly input: string | undefined;
  /** Whether to print where the time goes, with few and many coroutines and with threads, instead of one load. */
  readonly account: boolean;
  readonly json: boolean;
}
