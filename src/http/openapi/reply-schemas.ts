import { DATATYPE_NAMES } from '../../tensor/tensor.ts';
import { EVIDENCES, VERDICTS } from '../../tensor/verdict.ts';
import { ERROR_SCHEMA } from './errors.ts';
import { arrayOf, BOOLEAN, COUNT, type Json, object, ref, STRING } from './json-schema.ts';

const DURATION: Json = object({ count: COUNT, ns: COUNT });
const VERSION: Json = { type: 'string', pattern: '^[0-9]+$' };
const SHAPE: Json = arrayOf({ type: 'integer', minimum: -1 });

const computeStages: Json = { compute_input: DURATION, compute_infer: DURATION, compute_output: DURATION };

const tensors: Json = arrayOf(object({ name: STRING, datatype: { enum: DATATYPE_NAMES }, shape: SHAPE }));

const notReady: Json = { error: { type: 'string', minLength: 1 }, ready: { const: false } };

const versionStatus: Json = object({
  version: VERSION,
  state: { enum: ['START', 'LOADING', 'AVAILABLE', 'UNLOADING', 'END'] },
  status: object({ error_code: STRING, error_message: STRING }),
});

const v1Status: Json = { name: STRING, model_version_status: arrayOf(versionStatus) };

/** By name. Sizes are texts, as protobuf's JSON has 64-bit integers. */
const v1Tensors: Json = {
  type: 'object',
  additionalProperties: object({
    name: STRING,
    dtype: { type: 'string', pattern: '^DT_' },
    tensor_shape: object({ dim: arrayOf(object({ size: STRING, name: STRING })), unknown_rank: BOOLEAN }),
  }),
};

const statistics: Json = object({
  name: STRING,
  version: VERSION,
  last_inference: { ...COUNT, description: 'Milliseconds since 1970; 0 when there was none.' },
  inference_count: { ...COUNT, description: 'Rows answered.' },
  execution_count: { ...COUNT, description: 'Runs of ONNX Runtime.' },
  inference_stats: object({
    success: DURATION,
    fail: DURATION,
    queue: DURATION,
    ...computeStages,
    cache_hit: DURATION,
    cache_miss: DURATION,
  }),
  response_stats: { type: 'object' },
  batch_stats: arrayOf(object({ batch_size: COUNT, ...computeStages })),
  memory_usage: { type: 'array' },
});

const configTensor: Json = { name: STRING, data_type: { type: 'string', pattern: '^TYPE_' }, dims: SHAPE };

const verbosity: Json = { description: '0: nothing below *info*; 1: *debug*; from 2: *trace*.' };

const logSettings: Json = {
  log_file: { const: '', description: 'Lines go to stdout.' },
  log_info: BOOLEAN,
  log_warning: BOOLEAN,
  log_error: BOOLEAN,
  log_verbose_level: { ...COUNT, ...verbosity },
  log_format: { const: 'ISO8601' },
};

/** Log settings in a request: any of them; `null` leaves one as it is. */
export const LOG_CHANGES: Json = {
  log_file: { enum: ['', null] },
  log_info: { type: ['boolean', 'null'] },
  log_warning: { type: ['boolean', 'null'] },
  log_error: { type: ['boolean', 'null'] },
  log_verbose_level: { type: ['integer', 'null'], minimum: 0, maximum: Number.MAX_SAFE_INTEGER, ...verbosity },
  log_format: { enum: ['ISO8601', null] },
};

const AMOUNT: Json = { type: 'number', minimum: 0 };

const curvePoint: Json = object({
  rows: { ...AMOUNT, description: 'Rows of a typical run of about this size.' },
  runs: { ...COUNT, description: 'Live runs seen; 0: known from the probe or a stored profile.' },
  ms: object({ p50: AMOUNT, p90: AMOUNT, expected: AMOUNT }),
  rows_per_second: AMOUNT,
});

const certificate: Json = {
  ...object({
    verdict: { enum: VERDICTS, description: 'The worst of all outputs.' },
    evidence: {
      enum: EVIDENCES,
      description: 'Whether the rows compared were made up, given as samples, or came in requests.',
    },
    reason: STRING,
    exact_sizes: { ...arrayOf(COUNT), description: 'Rows of runs in which every row had its answer bit for bit.' },
    outputs: arrayOf(
      object({ name: STRING, verdict: { enum: VERDICTS }, largest_difference: AMOUNT, largest_ulps: AMOUNT }),
    ),
  }),
  description: 'Whether rows that share a run keep their answers.',
};

const profiled: Json = {
  ...object({
    measured_at: STRING,
    best: object({ instances: COUNT, threads: COUNT }),
    knee_rows: COUNT,
    gain: AMOUNT,
    sentence: STRING,
  }),
  description: 'What `shoal profile` has measured of it on this machine, where it has.',
};

const alwaysProfiled: Json = {
  name: STRING,
  version: VERSION,
  batching: STRING,
  max_batch_size: COUNT,
  certificate,
  spread: object({ cores: COUNT, max_instances: COUNT, threads: COUNT }),
  source: { enum: ['probe', 'cached', 'live'], description: 'Where the curve comes from.' },
  verdict: object({
    kind: { enum: ['pays', 'little', 'no', 'unknown'] },
    sentence: STRING,
    knee_rows: { ...COUNT, description: 'The fewest rows with which rows per second are within 5 % of the most.' },
    gain: { ...AMOUNT, description: 'Rows per second there, over those of one row at a time.' },
    still_rising: { ...BOOLEAN, description: 'Whether the knee is the largest size seen.' },
  }),
  curve: {
    ...arrayOf(object({ row_bytes: COUNT, runs: COUNT, points: arrayOf(curvePoint) })),
    description: 'For rows of each size in bytes, the one of most runs first; the verdict is on that one.',
  },
};

const modelProfile: Json = object(alwaysProfiled, { properties: { ...alwaysProfiled, profiled } });

/** Schemas of the replies that are the same whatever models are there. */
export const REPLY_SCHEMAS: Readonly<Record<string, Json>> = {
  Error: ERROR_SCHEMA,
  Alive: object({ status: { const: 'alive' } }),
  Live: object({ live: { const: true } }),
  Ready: object({ live: { const: true }, ready: { const: true } }),
  NotReady: object({ ...notReady, live: { const: true } }),
  ModelReady: object({ name: STRING, ready: { const: true } }),
  ModelNotReady: object({ ...notReady, name: STRING }),
  Server: object({ name: { const: 'shoal' }, version: STRING, extensions: arrayOf(STRING) }),
  LogSettings: object(logSettings, { additionalProperties: false }),
  Models: object({ models: arrayOf(STRING) }),
  ModelMetadata: object({
    name: STRING,
    versions: arrayOf(VERSION),
    platform: STRING,
    inputs: tensors,
    outputs: tensors,
    properties: { type: 'object', additionalProperties: STRING, description: 'What was found out about the model.' },
  }),
  ModelConfig: object(
    {
      name: STRING,
      platform: STRING,
      backend: STRING,
      max_batch_size: COUNT,
      input: arrayOf(object({ ...configTensor, optional: BOOLEAN })),
      output: arrayOf(object(configTensor)),
    },
    { description: "Triton's `ModelConfig` in JSON." },
  ),
  ModelProfile: modelProfile,
  Statistics: object({ model_stats: arrayOf(statistics) }),
  RepositoryIndex: arrayOf({
    type: 'object',
    required: ['name', 'state', 'reason'],
    properties: {
      name: STRING,
      version: { ...VERSION, description: 'Not there for a model that was never loaded.' },
      state: { enum: ['READY', 'UNAVAILABLE', 'LOADING', 'UNLOADING'] },
      reason: { ...STRING, description: 'Why it is not ready; empty when there is nothing to say.' },
    },
    additionalProperties: false,
  }),
  Loaded: object({ name: STRING, load: { const: true } }),
  Unloaded: object({ name: STRING, unload: { const: true } }),
  V1Models: object({ models: arrayOf(STRING) }),
  V1Status: object({ ...v1Status, ready: { const: true } }),
  V1NotReady: object({ ...v1Status, ...notReady }),
  V1Metadata: object({
    model_spec: object({ name: STRING, signature_name: STRING, version: VERSION }),
    metadata: object({
      signature_def: object({
        signature_def: object({
          serving_default: object({ inputs: v1Tensors, outputs: v1Tensors, method_name: STRING }),
        }),
      }),
    }),
  }),
  Document: { type: 'object', required: ['openapi'], description: 'This document.' },
};

/** Headers of replies. */
export const REPLY_HEADERS: Readonly<Record<string, Json>> = {
  RetryAfter: {
    description: 'Seconds after which trying again makes sense.',
    required: true,
    schema: { type: 'integer', minimum: 1 },
  },
  RequestId: { description: 'As the request had it, or a new one.', required: true, schema: STRING },
  ServerTiming: {
    description:
      'The stages of the request in milliseconds: `decode`, `queue`, `handover`, `compute`, `handback`, `encode`, and `total`.',
    required: true,
    schema: STRING,
  },
  HeaderLength: {
    description: 'Bytes of the JSON before the binary outputs; only where there are some.',
    schema: { type: 'integer', minimum: 1 },
  },
};

/** The parameter of an inference request that has binary inputs. */
export const HEADER_LENGTH: Json = {
  name: 'Inference-Header-Content-Length',
  in: 'header',
  description:
    'Bytes of the JSON at the beginning of the body; without it the whole body is JSON. 0: the body is the bytes of the only input.',
  schema: { type: 'integer', minimum: 0 },
};

/** Parameters of several operations. */
export function sharedParameters(names: readonly string[]): Readonly<Record<string, Json>> {
  return {
    Model: {
      name: 'model',
      in: 'path',
      required: true,
      description: 'The name of a model.',
      schema: names.length === 0 ? STRING : { enum: names },
    },
    Version: {
      name: 'version',
      in: 'path',
      required: true,
      description: 'The number of a version.',
      schema: { ...VERSION, examples: ['1'] },
    },
    FolderModel: {
      name: 'model',
      in: 'path',
      required: true,
      description: 'The name of a model in the models folder, whether it is loaded or not.',
      schema: { type: 'string', minLength: 1, ...(names.length === 0 ? {} : { examples: names.slice(0, 1) }) },
    },
    HeaderLength: HEADER_LENGTH,
  };
}

/** The path parameters of an operation on a model, or on a version of it. */
export function modelParameters(withVersion: boolean): Json[] {
  return [ref('parameters', 'Model'), ...(withVersion ? [ref('parameters', 'Version')] : [])];
}
