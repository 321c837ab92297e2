import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseConfigJson, parseConfigText } from '../../../src/serving/model-config-message.ts';

describe('config.pbtxt', () => {
  it('is read with every freedom of the text format', async () => {
    const text = `\uFEFF# a comment
      name: "two" ' words' ;  # strings that follow one another are one
      platform : "onnxruntime_onnx", max_batch_size: 0x10
      input [
        { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] },
        < name: 'y'; data_type: 9, dims: 1 dims: 010 reshape: { shape: [ ] } >
      ]
      output { name: "\\141\\x62\\n\\"\\u00e9" data_type: TYPE_STRING dims: [] }
      dynamic_batching {
        preferred_batch_size: [ 4, 8 ] preferred_batch_size: 16
        max_queue_delay_microseconds: 18446744073709551615
        preserve_ordering: f
        priority_queue_policy { key: 2 value { max_queue_size: 3 timeout_action: DELAY } }
        priority_queue_policy: [ { key: 1 value: < max_queue_size: 1 > } ]
      }
      version_policy: { specific { versions: [1, 3] } }
      parameters { key: "k" value: { string_value: "v" } }
      parameters { key: "" value { } }
      instance_group [ { kind: KIND_CPU count: 2 }, { kind: 2 gpus: [] } ]`;
    assert.deepEqual(await parseConfigText(text), {
      name: 'two words',
      platform: 'onnxruntime_onnx',
      max_batch_size: 16,
      input: [
        { name: 'x', data_type: 'TYPE_FP32', dims: [-1, 4] },
        { name: 'y', data_type: 'TYPE_INT64', dims: [1, 8], reshape: {} },
      ],
      output: [{ name: 'ab\n"é', data_type: 'TYPE_STRING' }],
      dynamic_batching: {
        preferred_batch_size: [4, 8, 16],
        max_queue_delay_microseconds: 2 ** 64,
        preserve_ordering: false,
        priority_queue_policy: {
          1: { max_queue_size: 1 },
          2: { max_queue_size: 3, timeout_action: 'DELAY' },
        },
      },
      version_policy: { specific: { versions: [1, 3] } },
      parameters: { k: { string_value: 'v' }, '': {} },
      instance_group: [{ kind: 'KIND_CPU', count: 2 }, { kind: 'KIND_CPU' }],
    });
  });

  it('may be empty, and tells a 0 from nothing', async () => {
    assert.deepEqual(await parseConfigText(''), {});
    assert.deepEqual(await parseConfigText('max_batch_size: 0'), { max_batch_size: 0 });
  });

  const faults: [name: string, text: string, message: string][] = [
    [
      'an unknown field',
      'name: "a"\n\nmax_batch: 3',
      "line 3: ModelConfig: unknown field 'max_batch', in 'max_batch: 3'",
    ],
    ['one within a message', 'input {\n  nam: "x"\n}', `line 2: ModelInput: unknown field 'nam', in 'nam: "x"'`],
    ['a wrong type', '\n\nmax_batch_size: "8"\n\n', `line 3: integer value expected, in 'max_batch_size: "8"'`],
    [
      'an unknown enum value',
      'input {\n  name: "x"\n  data_type: TYPE_FP33\n}\n',
      "line 3: ModelInput.data_type: enum value expected, in 'data_type: TYPE_FP33'",
    ],
    [
      'a field twice',
      'name: "a"\nname: "b"\nplatform: "c"',
      `line 2: ModelConfig.name: multiple values, in 'name: "b"'`,
    ],
    [
      'two schedulers',
      'dynamic_batching { }\nsequence_batching { }\n',
      "line 2: scheduling_choice: multiple values, in 'sequence_batching { }'",
    ],
    [
      'a number out of range',
      'max_batch_size: 4294967296',
      "line 1: integer value out of range, in 'max_batch_size: 4294967296'",
    ],
    ['no end of a message', 'input {\n  name: "x"\n', "line 3: expected '}'"],
    ['no end of a string', 'name: "a\n', `line 1: illegal string, in 'name: "a'`],
    ['bytes that are no text', 'name: "\\377"\n', `line 1: invalid UTF-8 string, in 'name: "\\377"'`],
  ];
  for (const [name, text, message] of faults) {
    it(`names the line of ${name}`, () => assert.rejects(parseConfigText(text), { message }));
  }
});

describe('config.json', () => {
  it('is the same message, its names in either form and 64-bit numbers as text or numbers', async () => {
    const snake = { max_batch_size: 8, input: [{ name: 'x', data_type: 'TYPE_FP32', dims: ['-1', 4] }] };
    const camel = { maxBatchSize: '8', input: [{ name: 'x', dataType: 11, dims: [-1, '4'] }] };
    const expected = { max_batch_size: 8, input: [{ name: 'x', data_type: 'TYPE_FP32', dims: [-1, 4] }] };
    assert.deepEqual(await parseConfigJson(JSON.stringify(snake)), expected);
    assert.deepEqual(await parseConfigJson(`\uFEFF${JSON.stringify(camel)}`), expected);
  });

  it('tells a 0 from nothing where that matters', async () => {
    assert.deepEqual(await parseConfigJson('{"max_batch_size": 0, "name": ""}'), { max_batch_size: 0 });
    assert.deepEqual(await parseConfigJson('{"maxBatchSize": "0"}'), { max_batch_size: 0 });
    assert.deepEqual(await parseConfigJson('{"max_batch_size": null}'), {});
  });

  const faults: [name: string, text: string, message: string | RegExp][] = [
    ['an unknown field', '{"max_batch": 3}', 'ModelConfig: unknown field: "max_batch"'],
    ['a wrong type', '{"input": {}}', 'ModelConfig.input: expected array: {}'],
    ['an unknown enum value', '{"input":[{"data_type":"FP32"}]}', 'ModelInput.data_type: unknown enum value: "FP32"'],
    ['what is no object', '[]', 'ModelConfig: expected object: []'],
    ['what is no JSON', '{"name": }', /JSON/],
  ];
  for (const [name, text, message] of faults) {
    it(`refuses ${name}`, () => assert.rejects(parseConfigJson(text), { message }));
  }
});
