import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { renderPage } from '../../../src/http/page.ts';
import { modelConfig } from '../../../src/protocol/model-config.ts';
import { modelMetadata } from '../../../src/protocol/model-metadata.ts';
import { settingsOf } from '../../../src/serving/model-config-mapping.ts';
import { parseConfigJson, parseConfigText } from '../../../src/serving/model-config-message.ts';
import { DEFAULT_SETTINGS, type ModelSettings } from '../../../src/serving/model-settings.ts';
import type { ModelSummary, ModelVersion } from '../../../src/serving/model-version.ts';
import type { Signature, TensorSpec } from '../../../src/tensor/signature.ts';

const spec = (
  name: string,
  shape: number[],
  batchAxis: number | null,
  datatype: TensorSpec['datatype'] = 'FP32',
): TensorSpec => ({
  name,
  datatype,
  shape,
  batchAxis,
});

const summary = (changes: Partial<ModelSummary> = {}): ModelSummary => ({
  name: 'm',
  version: '3',
  state: 'ready',
  reason: undefined,
  provider: 'cpu',
  providerReason: 'as configured',
  instances: 1,
  maxInstances: 2,
  threads: 1,
  batching: 'batched: rows are bit-identical',
  maxBatchSize: 16,
  configuration: undefined,
  signature: undefined,
  file: '/models/m/3/model.onnx',
  fileBytes: 1000,
  loadMs: 12,
  ...changes,
});

/** The part of a model version that the replies are made from. */
const version = (
  changes: Partial<ModelSummary> = {},
  sharesRuns = true,
  settings: ModelSettings = DEFAULT_SETTINGS,
): ModelVersion =>
  ({
    name: 'm',
    version: '3',
    maxBatchSize: 16,
    batchWindowMs: 2.5,
    sharesRuns,
    settings,
    summary: () => summary(changes),
  }) as unknown as ModelVersion;

const along0: Signature = {
  inputs: [spec('x', [-1, 4], 0), spec('t', [-1], 0, 'BYTES')],
  outputs: [spec('y', [-1, 2], 0)],
  batched: true,
};

interface Config {
  readonly max_batch_size: number;
  readonly input: { readonly dims: number[]; readonly data_type: string }[];
  readonly output: { readonly dims: number[] }[];
  readonly dynamic_batching?: { readonly max_queue_delay_microseconds: number };
  readonly instance_group: { readonly kind: string; readonly count: number; readonly gpus: number[] }[];
}

describe('modelConfig', () => {
  it('leaves the batch dimension out where rows are stacked along the first one', () => {
    const config = modelConfig(version(), along0) as Config;
    assert.equal(config.max_batch_size, 16);
    assert.deepEqual(
      config.input.map(({ dims }) => dims),
      [[4], []],
    );
    assert.equal(config.input[1]!.data_type, 'TYPE_STRING');
    assert.deepEqual(config.output[0]!.dims, [2]);
    assert.equal(config.dynamic_batching!.max_queue_delay_microseconds, 2500);
  });

  it('gives full shapes and no batch size where rows are stacked along another dimension, which is batched all the same', () => {
    const signature: Signature = {
      inputs: [spec('input', [-1, 576], 0), spec('state', [2, -1, 8], 1), spec('sr', [], null, 'INT64')],
      outputs: [spec('output', [-1, 1], 0), spec('stateN', [2, -1, 8], 1)],
      batched: true,
    };
    const config = modelConfig(version(), signature) as Config;
    assert.equal(config.max_batch_size, 0);
    assert.deepEqual(
      config.input.map(({ dims }) => dims),
      [[-1, 576], [2, -1, 8], []],
    );
    assert.ok(config.dynamic_batching !== undefined);
  });

  it('has no batching for a model that is not batched', () => {
    const signature: Signature = {
      inputs: [spec('x', [2, 2], null)],
      outputs: [spec('y', [2, 2], null)],
      batched: false,
    };
    const config = modelConfig(version({}, false), signature) as Config;
    assert.equal(config.max_batch_size, 0);
    assert.equal('dynamic_batching' in config, false);
  });

  it('names the instances and where they run', () => {
    const [cpu] = (modelConfig(version(), along0) as Config).instance_group;
    assert.deepEqual([cpu!.kind, cpu!.count, cpu!.gpus], ['KIND_CPU', 2, []]);
    const [gpu] = (modelConfig(version({ provider: 'cuda:3' }), along0) as Config).instance_group;
    assert.deepEqual([gpu!.kind, gpu!.gpus], ['KIND_GPU', [3]]);
  });
});

describe('modelConfig of a model with a configuration', () => {
  const text = `
    max_batch_size: 16 version_policy { specific { versions: [3, 1] } }
    input { name: "x" format: FORMAT_NCHW }
    output { name: "y" dims: [1, 2] reshape { shape: 2 } label_filename: "l.txt" }
    dynamic_batching {
      preferred_batch_size: 8 priority_levels: 2 default_priority_level: 2
      default_queue_policy { max_queue_size: 7 default_timeout_microseconds: 18000000 }
      priority_queue_policy { key: 1 value { allow_timeout_override: true } }
    }
    optimization { graph { level: 1 } }
    instance_group { name: "two" kind: KIND_CPU count: 2 }
    parameters { key: "mine" value { string_value: "kept" } }
    parameters { key: "empty" value { } }`;
  const signature: Signature = {
    inputs: [spec('x', [-1, 4], 0)],
    outputs: [{ ...spec('y', [-1, 1, 2], 0), modelShape: [-1, 2] }],
    batched: true,
  };

  it('has what it says, in the form of its JSON', async () => {
    const settings = settingsOf(await parseConfigText(text), 'm', 'config.pbtxt', new Map());
    const config = modelConfig(version({}, true, settings), signature);
    assert.deepEqual(config, {
      name: 'm',
      platform: 'onnxruntime_onnx',
      backend: 'onnxruntime',
      version_policy: { specific: { versions: [3, 1] } },
      max_batch_size: 16,
      input: [
        {
          name: 'x',
          data_type: 'TYPE_FP32',
          dims: [4],
          format: 'FORMAT_NCHW',
          is_shape_tensor: false,
          allow_ragged_batch: false,
          optional: false,
          is_non_linear_format_io: false,
        },
      ],
      output: [
        {
          name: 'y',
          data_type: 'TYPE_FP32',
          dims: [1, 2],
          reshape: { shape: [2] },
          label_filename: 'l.txt',
          is_shape_tensor: false,
          is_non_linear_format_io: false,
        },
      ],
      batch_input: [],
      batch_output: [],
      optimization: { graph: { level: 1 } },
      dynamic_batching: {
        preferred_batch_size: [8],
        max_queue_delay_microseconds: 2500,
        preserve_ordering: false,
        priority_levels: 2,
        default_priority_level: 2,
        default_queue_policy: {
          timeout_action: 'REJECT',
          default_timeout_microseconds: 18_000_000,
          allow_timeout_override: false,
          max_queue_size: 7,
        },
        priority_queue_policy: {
          1: {
            timeout_action: 'REJECT',
            default_timeout_microseconds: 0,
            allow_timeout_override: true,
            max_queue_size: 0,
          },
        },
      },
      instance_group: [
        {
          name: 'two',
          kind: 'KIND_CPU',
          count: 2,
          gpus: [],
          secondary_devices: [],
          profile: [],
          passive: false,
          host_policy: '',
        },
      ],
      default_model_filename: 'model.onnx',
      cc_model_filenames: {},
      metric_tags: {},
      parameters: { mine: { string_value: 'kept' }, empty: { string_value: '' } },
      model_warmup: [],
      model_transaction_policy: { decoupled: false },
    });
  });

  it('is a config.json that means the same', async () => {
    const settings = settingsOf(await parseConfigText(text), 'm', 'config.json', new Map());
    const reply = modelConfig(version({}, true, settings), signature);
    const again = settingsOf(await parseConfigJson(JSON.stringify(reply)), 'm', 'config.json', new Map());
    assert.deepEqual(modelConfig(version({}, true, again), signature), reply);
    assert.deepEqual(again.batching, { ...settings.batching, windowMs: 2.5 });
    assert.deepEqual(again.versions, settings.versions);
    // One that was made without a file can be kept as a file, too.
    const derived = JSON.stringify(modelConfig(version(), along0));
    assert.deepEqual(settingsOf(await parseConfigJson(derived), 'm', 'config.json', new Map()).versions, {
      kind: 'all',
    });
  });
});

describe('modelMetadata', () => {
  it('has what the protocol asks for, and properties of texts', () => {
    const metadata = modelMetadata(version(), along0, ['1', '3']) as Record<string, unknown>;
    assert.deepEqual(Object.keys(metadata), ['name', 'versions', 'platform', 'inputs', 'outputs', 'properties']);
    assert.deepEqual(metadata['inputs'], [
      { name: 'x', datatype: 'FP32', shape: [-1, 4] },
      { name: 't', datatype: 'BYTES', shape: [-1] },
    ]);
    for (const value of Object.values(metadata['properties'] as object)) assert.equal(typeof value, 'string');
  });
});

describe('renderPage', () => {
  it('escapes whatever comes from files', () => {
    const evil = '<script>alert("&\'")</script>';
    const signature: Signature = { inputs: [spec(evil, [1], null)], outputs: [], batched: false };
    const page = renderPage(
      '1',
      [summary({ name: evil, reason: evil, batching: evil, provider: evil, signature })],
      evil,
    );
    assert.doesNotMatch(page, /<script|alert\("/);
    assert.match(page, /&#60;script&#62;/);
  });

  it('has links that work with and without a slash behind its path', () => {
    const base = (at: string): string | undefined =>
      /<base href="([^"]*)">/.exec(renderPage('1', [], undefined, at))?.[1];
    assert.equal(base('/'), undefined);
    assert.equal(base('/ml/'), undefined);
    assert.equal(base('/ml'), 'ml/');
    assert.equal(base('/a/"b'), '&#34;b/');
  });

  it('says whether the server is ready, and how to begin', () => {
    assert.match(renderPage('1.2.3', [], undefined), /Shoal 1\.2\.3[\s\S]*class="ready">Ready[\s\S]*No models yet/);
    assert.match(renderPage('1', [summary()], 'because'), /Not ready<\/span>: because/);
    assert.match(renderPage('1', [summary()], undefined), /at most 16 rows/);
    assert.doesNotMatch(renderPage('1', [summary({ maxBatchSize: 1 })], undefined), /at most/);
  });
});
