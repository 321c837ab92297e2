import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { generateRow } from '../../../src/executor/generate.ts';
import type { Service } from '../../../src/service.ts';
import { stackRows } from '../../../src/tensor/rows.ts';
import type { Signature } from '../../../src/tensor/signature.ts';
import { DATATYPE_NAMES, type Tensor } from '../../../src/tensor/tensor.ts';
import { readTensor } from '../../../src/tensor/typed.ts';
import {
  add2,
  batchNormTraining,
  duplicateRows,
  dynamicQuantized,
  dynamicQuantizedTwin,
  fixedBatch,
  flat0,
  idents,
  imageNchw,
  mat2,
  multiInput,
  pairwise,
  randomNormal,
  reduceMeanBatch,
  rowCount,
  scalar0,
  softmaxAxis0,
  stateModel,
  str1,
  tokenIds,
  wideOutput,
} from '../../support/models.ts';
import { startService, suiteScope } from '../../support/service.ts';

/** What is expected of a model: why it is batched or not, and the batch axes by name. */
interface Expected {
  readonly model: Buffer;
  readonly reason: RegExp;
  readonly axes: Readonly<Record<string, number | null>>;
  /** Answers that differ from run to run cannot be compared. */
  readonly random?: boolean;
}

const TOGETHER = /^batched: rows answer the same alone and beside others(, bit for bit|,? within rounding)/;
const INFLUENCE = /^unbatched: rows influence each other: output 'y' of a row changes beside other rows$/;
const NO_AXIS = /^unbatched: none of its inputs has a dimension of free size$/;
const NOT_FOLLOWED = /^unbatched: output '\w+' does not follow the number of rows$/;

const MODELS: Readonly<Record<string, Expected>> = {
  add2: { model: add2(), reason: TOGETHER, axes: { a: 0, b: 0, sum: 0, diff: 0 } },
  multiInput: { model: multiInput(), reason: TOGETHER, axes: { a: 0, b: 0, y: 0 } },
  mat2: { model: mat2(), reason: TOGETHER, axes: { x: 0, y: 0 } },
  str1: { model: str1(), reason: TOGETHER, axes: { x: 0, y: 0 } },
  imageNchw: { model: imageNchw(), reason: TOGETHER, axes: { image: 0, features: 0, pooled: 0 } },
  tokenIds: { model: tokenIds(), reason: TOGETHER, axes: { input_ids: 0, attention_mask: 0, embedding: 0 } },
  stateModel: { model: stateModel(), reason: TOGETHER, axes: { input: 0, state: 1, sr: null, output: 0, stateN: 1 } },
  wideOutput: { model: wideOutput(), reason: TOGETHER, axes: { x: 0, width: null, y: 0 } },
  dynamicQuantizedTwin: { model: dynamicQuantizedTwin(), reason: TOGETHER, axes: { x: 0, y: 0 } },
  dynamicQuantized: { model: dynamicQuantized(), reason: INFLUENCE, axes: { x: null, y: null } },
  softmaxAxis0: { model: softmaxAxis0(), reason: INFLUENCE, axes: { x: null, y: null } },
  batchNormTraining: {
    model: batchNormTraining(),
    reason: /^unbatched: (rows influence each other|its answers differ from run to run)/,
    axes: { x: null, y: null },
    // It goes on learning its statistics while it is served.
    random: true,
  },
  randomNormal: {
    model: randomNormal(),
    reason: /^unbatched: its answers differ from run to run$/,
    axes: { x: null, y: null },
    random: true,
  },
  reduceMean: { model: reduceMeanBatch(), reason: NOT_FOLLOWED, axes: { x: null, y: null } },
  pairwise: { model: pairwise(), reason: NOT_FOLLOWED, axes: { x: null, y: null } },
  rowCount: { model: rowCount(), reason: NOT_FOLLOWED, axes: { x: null, y: null, rows: null } },
  duplicateRows: { model: duplicateRows(), reason: NOT_FOLLOWED, axes: { x: null, y: null } },
  fixedBatch: { model: fixedBatch(), reason: NO_AXIS, axes: { x: null, y: null } },
  flat0: { model: flat0(), reason: NO_AXIS, axes: { x: null, y: null } },
  scalar0: { model: scalar0(), reason: NO_AXIS, axes: { x: null, y: null } },
  ...Object.fromEntries(
    Object.entries(idents()).map(([name, model]) => [name, { model, reason: TOGETHER, axes: { x: 0, y: 0 } }]),
  ),
};

const CALLERS = 32;

/** Made-up inputs of a caller: one to three rows of a scale of its own, in one of two lanes. */
function inputsOf(signature: Signature, caller: number): Record<string, Tensor> {
  const recipe = { size: 2 + (caller % 2), integers: 10 };
  const scale = [1, 1000, 0.01][caller % 3]!;
  const rows = signature.batched ? 1 + (caller % 3) : 1;
  const axes = signature.inputs.map(({ batchAxis }) => batchAxis);
  const tensors = Array.from({ length: rows }, (_, r) =>
    signature.inputs.map(({ name, datatype, shape, batchAxis }) => {
      const dims = shape.map((dim) => (dim < 0 ? '' : dim));
      // Inputs without rows make lanes, too: callers of one lane have the same value.
      const row = batchAxis === null && signature.batched ? caller % 2 : 100 * caller + r;
      return generateRow({ name, datatype, dims }, batchAxis, recipe, row, scale);
    }),
  );
  const stacked = stackRows(tensors, axes);
  return Object.fromEntries(signature.inputs.map(({ name }, i) => [name, stacked[i]!]));
}

function comparable(outputs: Readonly<Record<string, Tensor>>): object {
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { datatype, shape, bytes }]) => [
      name,
      [datatype, [...shape], Buffer.from(bytes).toString('base64')],
    ]),
  );
}

/** Floating-point numbers may differ by rounding, since kernels take rows by fours or eights; all else is equal. */
function assertNear(actual: Readonly<Record<string, Tensor>>, expected: Readonly<Record<string, Tensor>>): void {
  for (const [name, tensor] of Object.entries(expected)) {
    if (tensor.datatype !== 'FP32') {
      assert.deepEqual(comparable({ y: actual[name]! }), comparable({ y: tensor }));
      continue;
    }
    assert.deepEqual(actual[name]!.shape, tensor.shape);
    const [a, b] = [readTensor(actual[name]!), readTensor(tensor)].map((data) => Array.from(data, Number));
    const tolerance = 1e-5 * Math.max(...b!.map(Math.abs));
    for (const [i, value] of b!.entries()) {
      assert.ok(Math.abs(a![i]! - value) <= tolerance, `${name}[${i}] is ${a![i]} beside others and ${value} alone`);
    }
  }
}

describe('batch axes as probed', () => {
  const scope = suiteScope(after);
  let service: Service;
  before(async () => {
    const models = Object.fromEntries(Object.entries(MODELS).map(([name, { model }]) => [name, model]));
    service = await startService(scope, models, { instances: 1 });
  });

  it('are found for every datatype', () => {
    for (const datatype of DATATYPE_NAMES) assert.ok(`ident_${datatype}` in MODELS);
  });

  for (const [name, { reason, axes, random }] of Object.entries(MODELS)) {
    it(`${name}: ${Object.values(axes).some((axis) => axis !== null) ? 'batched' : 'unbatched'}, and answers are those given alone`, async () => {
      const version = service.registry.get(name, undefined);
      const { batching, state } = version.summary();
      assert.equal(state, 'ready');
      assert.match(batching, reason);
      const signature = version.signature!;
      const found = [...signature.inputs, ...signature.outputs].map((spec) => [spec.name, spec.batchAxis]);
      assert.deepEqual(Object.fromEntries(found), axes);

      const callers = Array.from({ length: CALLERS }, (_, caller) => inputsOf(signature, caller));
      const alone = [];
      for (const inputs of callers) alone.push(await service.infer(name, inputs));
      const together = await Promise.all(callers.map((inputs) => service.infer(name, inputs)));
      if (!random) {
        for (const [i, { outputs }] of together.entries()) {
          if (signature.batched) assertNear(outputs, alone[i]!.outputs);
          else assert.deepEqual(comparable(outputs), comparable(alone[i]!.outputs));
        }
      }
      const shared = Math.max(...together.map(({ batch }) => batch.requests));
      if (signature.batched) assert.ok(shared > 8, `at most ${shared} requests shared a run`);
      else assert.equal(shared, 1);
      if (name.startsWith('ident_')) {
        for (const [i, { outputs }] of together.entries()) {
          assert.deepEqual(comparable({ x: outputs['y']! }), comparable(callers[i]!));
        }
      }
    });
  }
});
