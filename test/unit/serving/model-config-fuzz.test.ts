import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { settingsOf } from '../../../src/serving/model-config-mapping.ts';
import {
  type ModelConfigMessage,
  parseConfigJson,
  parseConfigText,
} from '../../../src/serving/model-config-message.ts';

const TEXT = `name: "m" # comment
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] reshape { shape: [ -1, 2, 2 ] } } ]
output < name: 'y'; label_filename: "l.txt" >
version_policy { latest { num_versions: 2 } }
dynamic_batching {
  preferred_batch_size: [ 4, 8 ] priority_levels: 2 default_priority_level: 1
  priority_queue_policy { key: 1 value { max_queue_size: 3 timeout_action: REJECT } }
}
instance_group [ { kind: KIND_CPU count: 2 } ]
optimization { graph { level: 1 } cuda { } }
parameters { key: "intra_op_thread_count" value { string_value: "2" } }
`;

const JSON_TEXT = JSON.stringify({
  name: 'm',
  max_batch_size: 8,
  input: [{ name: 'x', data_type: 'TYPE_FP32', dims: ['-1', 4], reshape: { shape: [-1, 2, 2] } }],
  version_policy: { specific: { versions: [1, '3'] } },
  dynamic_batching: {
    priority_levels: 2,
    default_priority_level: '1',
    priority_queue_policy: { 1: { max_queue_size: 3 } },
  },
  instance_group: [{ kind: 'KIND_GPU', gpus: [0] }],
  parameters: { k: { string_value: 'v' } },
});

/** Pieces that mean something to a parser. */
const PIECES = [
  ...'{}[]<>:;,"\'#\\-+.eExX0179 \n\t\0',
  '\ufeff',
  '\\u12',
  '\\xff',
  'é',
  '\ud800',
  '99999999999999999999',
  '-1',
  '0x',
  'TYPE_BF16',
  'nan',
  'null',
  'true',
  '__proto__',
  '[]',
  '{}',
  'dims: -3',
  'all { }',
  'input { }',
  '"constructor"',
];

/** A text with some places cut, doubled or replaced. */
function damaged(text: string): fc.Arbitrary<string> {
  const change = fc.record({
    at: fc.nat(text.length),
    cut: fc.oneof(fc.nat(3), fc.nat(60)),
    piece: fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...PIECES) }, { weight: 1, arbitrary: fc.string() }),
    repeat: fc.oneof(
      { weight: 9, arbitrary: fc.constant(1) },
      { weight: 1, arbitrary: fc.integer({ max: 400, min: 2 }) },
    ),
  });
  return fc.array(change, { minLength: 1, maxLength: 4 }).map((changes) => {
    let out = text;
    for (const { at, cut, piece, repeat } of changes) {
      const from = at % (out.length + 1);
      out = out.slice(0, from) + piece.repeat(repeat) + out.slice(from + cut);
    }
    return out;
  });
}

/** The message, or the one line that says what is wrong. */
async function outcomeOf(parse: () => Promise<ModelConfigMessage>): Promise<string | undefined> {
  try {
    settingsOf(await parse(), 'm', 'config', new Map());
    return undefined;
  } catch (thrown) {
    assert.ok(thrown instanceof Error);
    assert.ok(!(thrown instanceof TypeError || thrown instanceof RangeError), `a fault of ours: ${thrown.stack}`);
    return thrown.message;
  }
}

it('whatever a config.pbtxt holds, it is read or refused', async () => {
  assert.equal(await outcomeOf(() => parseConfigText(TEXT)), undefined);
  const kinds = new Set<string>();
  await fc.assert(
    fc.asyncProperty(damaged(TEXT), async (text) => {
      const message = await outcomeOf(() => parseConfigText(text));
      kinds.add(message === undefined ? 'read' : message.startsWith('line ') ? 'syntax' : 'meaning');
      if (message?.startsWith('line ')) {
        const line = Number(/^line (\d+): ./.exec(message)?.[1]);
        assert.ok(line >= 1 && line <= text.split('\n').length, message);
      }
    }),
    { numRuns: 2000 },
  );
  assert.deepEqual([...kinds].sort(), ['meaning', 'read', 'syntax']);
});

it('whatever a config.json holds, it is read or refused', async () => {
  assert.equal(await outcomeOf(() => parseConfigJson(JSON_TEXT)), undefined);
  await fc.assert(
    fc.asyncProperty(damaged(JSON_TEXT), async (text) => void (await outcomeOf(() => parseConfigJson(text)))),
    { numRuns: 2000 },
  );
});
