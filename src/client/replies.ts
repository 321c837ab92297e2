/** What a server says of itself and its models, as the Open Inference Protocol and Triton's extensions have it. */

/** `GET /v2`. */
export interface ServerMetadata {
  readonly name: string;
  readonly version: string;
  readonly extensions: readonly string[];
}

/** A tensor of {@link ModelMetadata}; −1 stands for a dimension of any size. */
export interface TensorMetadata {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
}

/** `GET /v2/models/{model}`. */
export interface ModelMetadata {
  readonly name: string;
  readonly versions?: readonly string[] | null;
  readonly platform: string;
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  readonly properties?: Readonly<Record<string, string>>;
}

/** How often something happened, and how long it took altogether. */
export interface StatisticDuration {
  readonly count: number;
  readonly ns: number;
}

type Compute = Readonly<Record<'compute_input' | 'compute_infer' | 'compute_output', StatisticDuration>>;

/** One version of `GET /v2/models/{model}/stats`. */
export interface ModelStatistics {
  readonly name: string;
  readonly version: string;
  /** Milliseconds since 1970; 0 before the first request. */
  readonly last_inference: number;
  /** Rows answered. */
  readonly inference_count: number;
  /** Runs. */
  readonly execution_count: number;
  readonly inference_stats: Compute &
    Readonly<Record<'success' | 'fail' | 'queue' | 'cache_hit' | 'cache_miss', StatisticDuration>>;
  readonly batch_stats: readonly (Compute & { readonly batch_size: number })[];
}

/** An entry of `POST /v2/repository/index`. */
export interface RepositoryEntry {
  readonly name: string;
  readonly version?: string;
  readonly state?: string;
  readonly reason?: string;
}
