import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeSettings } from '../../../src/serving/describe-settings.ts';
import { settingsOf } from '../../../src/serving/model-config-mapping.ts';
import { type ModelConfigMessage, parseConfigText } from '../../../src/serving/model-config-message.ts';
import { DEFAULT_SETTINGS, type ModelSettings } from '../../../src/serving/model-settings.ts';

async function settings(text: string): Promise<ModelSettings> {
  return settingsOf(await parseConfigText(text), 'm', 'config.pbtxt', new Map());
}

describe('settings of a configuration', () => {
  it('are the defaults where it says nothing, but for the versions: the newest alone, as Triton has it', async () => {
    assert.deepEqual(await settings(''), {
      ...DEFAULT_SETTINGS,
      file: 'config.pbtxt',
      versions: { kind: 'latest', count: 1 },
    });
  });

  it('have what it says', async () => {
    const text = `
      name: "m" platform: "onnxruntime_onnx" backend: "onnxruntime" max_batch_size: 16
      input { name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [3, -1, -1] }
      output { name: "y" data_type: TYPE_INT64 dims: 1 reshape { } }
      version_policy { latest { num_versions: 2 } }
      dynamic_batching {
        preferred_batch_size: [8, 4, 8] max_queue_delay_microseconds: 500
        priority_levels: 3 default_priority_level: 2
        default_queue_policy { default_timeout_microseconds: 2000 allow_timeout_override: true max_queue_size: 7 }
        priority_queue_policy { key: 1 value { max_queue_size: 1 } }
        priority_queue_policy { key: 3 value { timeout_action: REJECT default_timeout_microseconds: 1 } }
      }
      instance_group [{ count: 2 kind: KIND_CPU }, { kind: KIND_CPU name: "more" }]
      default_model_filename: "net.onnx"
      optimization { graph { level: -1 } input_pinned_memory { enable: true } cuda { } }
      parameters { key: "intra_op_thread_count" value { string_value: "3" } }
      parameters { key: "shoal.max_queue_rows" value { string_value: "9" } }
      parameters { key: "shoal.batching_check" value { string_value: "strict" } }
      parameters { key: "mine" value { string_value: "kept" } }`;
    const { message, ...rest } = await settings(text);
    assert.deepEqual(message.parameters?.['mine'], { string_value: 'kept' });
    assert.deepEqual(rest, {
      file: 'config.pbtxt',
      maxBatchSize: 16,
      insistsOnBatching: true,
      inputs: [{ name: 'x', dataType: 'TYPE_FP32', dims: [3, -1, -1], reshape: undefined }],
      outputs: [{ name: 'y', dataType: 'TYPE_INT64', dims: [1], reshape: [] }],
      labels: new Map(),
      versions: { kind: 'latest', count: 2 },
      batching: {
        preferredRows: [4, 8],
        windowMs: 0.5,
        preservesOrder: false,
        priorityLevels: 3,
        defaultPriority: 2,
        queue: { maxRequests: 7, timeoutMs: 2 },
        queueByPriority: new Map([
          [1, { maxRequests: 1, timeoutMs: undefined }],
          [3, { maxRequests: undefined, timeoutMs: 0.001 }],
        ]),
      },
      instances: { count: 3, provider: 'cpu', device: undefined },
      session: { intraOpThreads: 3, graphOptimization: 'basic' },
      modelFile: 'net.onnx',
      maxQueueRows: 9,
      batchingCheck: 'strict',
      samples: [],
    });
  });

  it('have answers in order where they ask for it', async () => {
    const one = 'dynamic_batching { preserve_ordering: true priority_levels: 1 default_priority_level: 1 }';
    for (const text of ['dynamic_batching { preserve_ordering: true }', one]) {
      assert.equal((await settings(text)).batching.preservesOrder, true);
    }
  });

  it('leave to the server what a configuration only seems to set', async () => {
    const { batching, instances, session, insistsOnBatching } = await settings(`
      dynamic_batching { default_queue_policy { max_queue_size: 0 default_timeout_microseconds: 0 } }
      parameters { key: "intra_op_thread_count" value { string_value: "0" } }
      instance_group { kind: KIND_GPU gpus: 1 }`);
    assert.deepEqual(batching, DEFAULT_SETTINGS.batching);
    assert.deepEqual(session, DEFAULT_SETTINGS.session);
    assert.deepEqual(instances, { count: 1, provider: 'cuda', device: 1 });
    assert.equal(insistsOnBatching, false, 'without max_batch_size there is nothing to insist on');
  });

  const policies: [text: string, ModelSettings['versions']][] = [
    ['version_policy { all { } }', { kind: 'all' }],
    ['version_policy { latest { } }', { kind: 'latest', count: 1 }],
    ['version_policy { specific { versions: [3, 1] } }', { kind: 'specific', versions: ['3', '1'] }],
  ];
  for (const [text, expected] of policies) {
    it(text, async () => assert.deepEqual((await settings(text)).versions, expected));
  }
});

describe('a configuration in one line', () => {
  it('names what it sets', async () => {
    const text = `
      max_batch_size: 16 version_policy { specific { versions: [3, 4] } }
      input { name: "x" dims: [3, -1] } input { name: "y" }
      output { name: "z" dims: 1 reshape { } }
      dynamic_batching {
        preferred_batch_size: [4, 8] max_queue_delay_microseconds: 500
        priority_levels: 3 default_priority_level: 2
        default_queue_policy { default_timeout_microseconds: 2000 max_queue_size: 7 }
        priority_queue_policy { key: 1 value { max_queue_size: 1 } }
      }
      instance_group { count: 2 kind: KIND_GPU } optimization { graph { level: 2 } } default_model_filename: "net.onnx"
      parameters { key: "intra_op_thread_count" value { string_value: "3" } }
      parameters { key: "shoal.max_queue_rows" value { string_value: "9" } }
      parameters { key: "shoal.batching_check" value { string_value: "strict" } }
      parameters { key: "mine" value { string_value: "kept" } }`;
    const labels = new Map([['z', ['a', 'b']]]);
    assert.equal(
      describeSettings({ ...(await settings(text)), labels }),
      "config.pbtxt: max_batch_size 16, version_policy specific 3 4, input 'x' [3,-1], input 'y', output 'z' [1] as [], 2 labels of 'z', dynamic_batching (preferred 4 8; window 0.5 ms; 3 levels, 2 by default; at most 7 waiting; at most 2 ms waiting; at most 1 waiting at level 1), instance_group 2 on cuda, graph optimization disabled, intra_op_thread_count 3, shoal.batching_check strict, shoal.max_queue_rows 9, file net.onnx, parameters without effect: mine",
    );
    assert.equal(describeSettings(await settings('')), 'config.pbtxt: version_policy latest 1');
    assert.equal(
      describeSettings(await settings('dynamic_batching { preserve_ordering: true }')),
      'config.pbtxt: version_policy latest 1, dynamic_batching (ordered)',
    );
    assert.equal(
      describeSettings(await settings('dynamic_batching { }')),
      'config.pbtxt: version_policy latest 1, dynamic_batching',
    );
    assert.equal(describeSettings(DEFAULT_SETTINGS), undefined);
  });
});

describe('a configuration with what is wrong', () => {
  const faults: [text: string, message: RegExp][] = [
    ['name: "other"', /^name is 'other', expected the folder's name 'm' or none$/],
    ['max_batch_size: -1', /^max_batch_size is -1, expected 0 or more$/],
    ['default_model_filename: "../a.onnx"', /^default_model_filename is '..\/a.onnx', expected the name of a file$/],
    ['default_model_filename: ".a"', /^default_model_filename is '.a'/],
    ['input { dims: 1 }', /^an input has no name$/],
    ['output { name: "y" } output { name: "y" }', /^output 'y' is there twice$/],
    ['input { name: "x" dims: [0, -2] }', /^dims of input 'x' are \[0, -2\], expected numbers from 1, or -1 for any$/],
    ['input { name: "x" data_type: 99 }', /^data_type of input 'x' is 99/],
    [
      'output { name: "y" dims: [2, 3] reshape { shape: [5] } }',
      /^output 'y' has dims \[2, 3\] and reshape \[5\], expected as many elements in both$/,
    ],
    ['input { name: "x" dims: [-1, 2] reshape { shape: [2, -1] } }', /as many elements in both$/],
    ['version_policy { specific { } }', /^version_policy.specific has no versions/],
    [
      'max_batch_size: 4 dynamic_batching { preferred_batch_size: 8 }',
      /preferred_batch_size is \[8\].*max_batch_size \(4\)$/,
    ],
    ['dynamic_batching { preferred_batch_size: 0 }', /preferred_batch_size is \[0\], expected numbers from 1$/],
    ['dynamic_batching { priority_levels: 2 }', /default_priority_level is 0, expected 1 to priority_levels \(2\)$/],
    [
      'dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }',
      /preserve_ordering is true, expected at most one of priority_levels beside it, not 2$/,
    ],
    [
      'dynamic_batching { default_priority_level: 1 }',
      /default_priority_level is 1, expected priority_levels beside it$/,
    ],
    [
      'dynamic_batching { priority_queue_policy { key: 1 value { } } }',
      /has level 1, expected 1 to priority_levels \(0\)$/,
    ],
    [
      'instance_group [{ count: 1000 }, { count: 25 }]',
      /^instance_group has a count of 1025 in sum, expected at most 1024$/,
    ],
    ['instance_group { count: -1 }', /^instance_group.count is -1, expected 1 or more$/],
    ['instance_group { kind: KIND_CPU gpus: 0 }', /^instance_group.gpus stands beside KIND_CPU$/],
    ['optimization { graph { level: 3 } }', /^optimization.graph.level is 3, expected -1, 0, 1 or 2$/],
    [
      'parameters { key: "intra_op_thread_count" value { string_value: "two" } }',
      /^parameter intra_op_thread_count is 'two', expected text of a number from 0 to 1024$/,
    ],
    [
      'parameters { key: "shoal.max_queue_rows" value { string_value: "0" } }',
      /^parameter shoal.max_queue_rows is '0'/,
    ],
    [
      'parameters { key: "shoal.nothing" value { } }',
      /^there is no parameter shoal.nothing, only shoal.batching_check, shoal.max_queue_rows, shoal.samples$/,
    ],
    [
      'parameters { key: "shoal.batching_check" value { string_value: "none" } }',
      /^parameter shoal.batching_check is 'none', expected live, load, strict$/,
    ],
  ];
  for (const [text, message] of faults) {
    it(`is refused: ${text}`, () => assert.rejects(settings(text), { message }));
  }
});

describe('a configuration with what is not supported', () => {
  const refused: [text: string, field: string][] = [
    ['platform: "tensorrt_plan"', "platform 'tensorrt_plan'"],
    ['platform: "ensemble" ensemble_scheduling { }', "platform 'ensemble'"],
    ['backend: "python"', "backend 'python'"],
    ['runtime: "libtriton.so"', 'runtime'],
    ['sequence_batching { }', 'sequence_batching'],
    ['ensemble_scheduling { }', 'ensemble_scheduling'],
    ['batch_input { }', 'batch_input'],
    ['batch_output { }', 'batch_output'],
    ['cc_model_filenames { key: "8.0" value: "a" }', 'cc_model_filenames'],
    ['metric_tags { key: "a" value: "b" }', 'metric_tags'],
    ['model_warmup { name: "w" }', 'model_warmup'],
    ['model_operations { op_library_filename: "a.so" }', 'model_operations'],
    ['model_transaction_policy { decoupled: true }', 'model_transaction_policy.decoupled'],
    ['model_repository_agents { agents { name: "a" } }', 'model_repository_agents'],
    ['response_cache { enable: true }', 'response_cache.enable'],
    ['model_metrics { metric_control { } }', 'model_metrics'],
    ['optimization { priority: PRIORITY_MAX }', 'optimization.priority'],
    ['optimization { cuda { graphs: true } }', 'optimization.cuda.graphs'],
    ['optimization { cuda { busy_wait_events: true } }', 'optimization.cuda.busy_wait_events'],
    ['optimization { cuda { output_copy_stream: true } }', 'optimization.cuda.output_copy_stream'],
    [
      'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }',
      "optimization.execution_accelerators.gpu_execution_accelerator 'tensorrt'",
    ],
    [
      'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }',
      "optimization.execution_accelerators.cpu_execution_accelerator 'openvino'",
    ],
    ['optimization { gather_kernel_buffer_threshold: 1 }', 'optimization.gather_kernel_buffer_threshold'],
    ['optimization { eager_batching: true }', 'optimization.eager_batching'],
    [
      'dynamic_batching { default_queue_policy { timeout_action: DELAY } }',
      "dynamic_batching.default_queue_policy.timeout_action 'DELAY'",
    ],
    [
      'dynamic_batching { priority_levels: 1 default_priority_level: 1 priority_queue_policy { key: 1 value { timeout_action: DELAY } } }',
      "dynamic_batching.priority_queue_policy[1].timeout_action 'DELAY'",
    ],
    ['instance_group { kind: KIND_MODEL }', "instance_group.kind 'KIND_MODEL'"],
    ['instance_group { rate_limiter { priority: 2 } }', 'instance_group.rate_limiter'],
    ['instance_group { secondary_devices { } }', 'instance_group.secondary_devices'],
    ['instance_group { profile: "1" }', 'instance_group.profile'],
    ['instance_group { passive: true }', 'instance_group.passive'],
    ['instance_group { host_policy: "numa0" }', 'instance_group.host_policy'],
    [
      'instance_group [{ kind: KIND_CPU }, { kind: KIND_GPU }]',
      'instance_group has 2 groups of kinds KIND_CPU and KIND_GPU, which',
    ],
    ['instance_group { kind: KIND_GPU gpus: [0, 1] }', 'instance_group.gpus are 0, 1, which'],
    ['input { name: "x" is_shape_tensor: true }', "is_shape_tensor of input 'x'"],
    ['input { name: "x" allow_ragged_batch: true }', "allow_ragged_batch of input 'x'"],
    ['input { name: "x" optional: true }', "optional of input 'x'"],
    ['output { name: "y" is_non_linear_format_io: true }', "is_non_linear_format_io of output 'y'"],
    ['parameters { key: "execution_mode" value { string_value: "1" } }', "parameter execution_mode '1'"],
  ];
  for (const [text, field] of refused) {
    it(`is refused by name: ${text}`, async () => {
      const error: unknown = await settings(text).catch((thrown: unknown) => thrown);
      assert.ok(error instanceof Error);
      const start = `${field} is not supported: `;
      assert.equal(error.message.slice(0, start.length), start);
      assert.ok(error.message.length > start.length + 10, 'says why');
    });
  }

  it('is refused with every reason at once', async () => {
    await assert.rejects(settings('backend: "python" max_batch_size: -1'), {
      message: "backend 'python' is not supported: only 'onnxruntime' is; max_batch_size is -1, expected 0 or more",
    });
  });

  it('is not refused where it only says what holds anyway', () => {
    const message: ModelConfigMessage = {
      name: '',
      version_policy: { all: {} },
      batch_input: [],
      cc_model_filenames: {},
      metric_tags: {},
      model_warmup: [],
      optimization: {
        graph: { level: 0 },
        priority: 'PRIORITY_DEFAULT',
        cuda: { graphs: false, busy_wait_events: false, graph_spec: [], output_copy_stream: false },
        execution_accelerators: { gpu_execution_accelerator: [] },
        gather_kernel_buffer_threshold: 0,
        eager_batching: false,
      },
      instance_group: [{ kind: 'KIND_CPU', passive: false, profile: [], rate_limiter: { resources: [], priority: 0 } }],
      input: [{ name: 'x', is_shape_tensor: false, allow_ragged_batch: false, optional: false }],
      model_transaction_policy: { decoupled: false },
      response_cache: { enable: false },
    };
    assert.equal(settingsOf(message, 'm', 'config.json', new Map()).versions.kind, 'all');
  });
});
