import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DATATYPE_NAMES, type Datatype } from '../../../src/tensor/tensor.ts';
import {
  add2,
  batchNormTraining,
  duplicateRows,
  dynamicQuantized,
  dynamicQuantizedTwin,
  fixedBatch,
  flat0,
  ident,
  imageNchw,
  mat2,
  multiInput,
  pairwise,
  randomNormal,
  reduceMeanBatch,
  rowCount,
  scalar0,
  slow,
  softmaxAxis0,
  stateModel,
  str1,
  tokenIds,
} from '../../support/models.ts';
import { type Feeds, feed, iterationsFor, type OrtTensor, runModel } from '../../support/run-model.ts';

/** Runs a model that is expected to run: the outputs of each run. */
async function outputsOf(model: Buffer, ...feeds: Feeds[]): Promise<ReadonlyMap<string, OrtTensor>[]> {
  const { loadError, signal, runs } = await runModel(model, feeds);
  assert.deepEqual({ loadError, signal }, { loadError: undefined, signal: undefined });
  return runs.map((run) => {
    assert.ok('outputs' in run, 'error' in run ? run.error : '');
    return run.outputs;
  });
}

/** FP32 rows of four values each. */
function rows(...values: number[][]): OrtTensor {
  return feed('FP32', [values.length, values[0]!.length], values.flat());
}

function assertClose(actual: OrtTensor | undefined, expected: number[], tolerance = 1e-6): void {
  assert.ok(actual?.data instanceof Float32Array);
  assert.equal(actual.data.length, expected.length);
  for (const [i, value] of expected.entries()) {
    assert.ok(Math.abs(actual.data[i]! - value) <= tolerance, `element ${i} is ${actual.data[i]}, expected ${value}`);
  }
}

describe('models that behave', { concurrency: 2 }, () => {
  it('add2 adds and subtracts', async () => {
    const [out] = await outputsOf(add2(), { a: rows([1, 2, 3, 4]), b: rows([4, 3, 2, 2]) });
    assertClose(out!.get('sum'), [5, 5, 5, 6]);
    assertClose(out!.get('diff'), [-3, -1, 1, 2]);
  });

  it('ident gives back every datatype', async () => {
    const samples: Partial<Record<Datatype, (number | bigint | string)[]>> = {
      BOOL: [0, 1],
      UINT64: [2n ** 64n - 1n, 0n],
      INT64: [-(2n ** 63n), 1n],
      FP16: [0x3c00, 0xfc00],
      BYTES: ['', 'gr\u00fc\u00df'],
    };
    for (const datatype of DATATYPE_NAMES) {
      const x = feed(datatype, [1, 2], samples[datatype] ?? [1, 2]);
      const [out] = await outputsOf(ident(datatype), { x });
      assert.deepEqual(out!.get('y'), x, datatype);
    }
  });

  it('mat2, flat0, scalar0 and str1 give back their input', async () => {
    const cases: [Buffer, OrtTensor][] = [
      [mat2(), feed('FP32', [1, 3], [1, 2, 3])],
      [flat0(), feed('FP32', [2, 2], [1, 2, 3, 4])],
      [scalar0(), feed('FP32', [], [3])],
      [str1(), feed('BYTES', [2, 1], ['a', 'b'])],
    ];
    for (const [model, x] of cases) {
      const [out] = await outputsOf(model, { x });
      assert.deepEqual(out!.get('y'), x);
    }
  });

  it('fixedBatch takes one row and refuses two', async () => {
    const row = [1, 2, 3, 4];
    const { runs } = await runModel(fixedBatch(), [{ x: rows(row) }, { x: rows(row, row) }]);
    const [one, two] = runs;
    assert.ok(one && 'outputs' in one);
    assertClose(one.outputs.get('y'), [2, 4, 6, 8]);
    assert.ok(two && 'error' in two);
    assert.match(two.error, /Got: 2 Expected: 1/);
  });

  it('multiInput adds', async () => {
    const [out] = await outputsOf(multiInput(), { a: rows([1, 2, 3]), b: rows([3, 2, 2]) });
    assertClose(out!.get('y'), [4, 4, 5]);
  });

  it('imageNchw takes any height and width, and pools what it found', async () => {
    const image = (h: number, w: number): Feeds => ({ image: feed('FP32', [1, 3, h, w], Array(3 * h * w).fill(1)) });
    const outputs = await outputsOf(imageNchw(), image(2, 2), image(5, 3));
    for (const [i, dims] of [
      [1, 2, 2, 2],
      [1, 2, 5, 3],
    ].entries()) {
      const features = outputs[i]!.get('features');
      const pooled = outputs[i]!.get('pooled');
      assert.deepEqual(features!.dims, dims);
      assert.ok(features!.data instanceof Float32Array);
      const space = features!.data.length / 2;
      const mean = (part: Float32Array): number => part.reduce((a, b) => a + b, 0) / space;
      assertClose(pooled, [mean(features!.data.subarray(0, space)), mean(features!.data.subarray(space))]);
    }
  });

  it('tokenIds sums the table rows of unmasked tokens', async () => {
    const [out] = await outputsOf(tokenIds(), {
      input_ids: feed('INT64', [1, 3], [1, 2, 50]),
      attention_mask: feed('INT64', [1, 3], [1, 1, 0]),
    });
    assertClose(
      out!.get('embedding'),
      Array.from({ length: 8 }, (_, j) => 3 + j / 4),
    );
  });

  it('stateModel computes its formula with the batch axis of the state at 1', async () => {
    const input = [
      [1, 3],
      [0, -1],
    ];
    const state = Array.from({ length: 32 }, (_, i) => Math.sin(i));
    const [out] = await outputsOf(stateModel(), {
      input: rows(...input),
      state: feed('FP32', [2, 2, 8], state),
      sr: feed('INT64', [], [8000]),
    });
    const stateN = state.map((s, i) => {
      const [layer, n, j] = [i >> 4, (i >> 3) & 1, i & 7];
      const mean = (input[n]![0]! + input[n]![1]!) / 2;
      return Math.tanh(s / 2 + (((mean * 8000) / 16_000) * (j + 1)) / 8 + layer / 4);
    });
    const scores = [0, 1].map((n) => {
      const own = stateN.filter((_, i) => ((i >> 3) & 1) === n);
      return 1 / (1 + Math.exp(-own.reduce((a, b) => a + b, 0) / own.length));
    });
    assert.deepEqual(out!.get('output')!.dims, [2, 1]);
    assertClose(out!.get('stateN'), stateN);
    assertClose(out!.get('output'), scores);
  });

  it('slow takes longer with more iterations and not with more rows', async () => {
    const iterations = await iterationsFor(60);
    const row = [1, 2, 3, 4];
    const run = async (n: number): Promise<number> => {
      const { runs } = await runModel(slow(n), [{ x: rows(row) }, { x: rows(...Array(64).fill(row)) }]);
      const [one, many] = runs;
      assert.ok(one && 'outputs' in one && many && 'outputs' in many);
      assertClose(one.outputs.get('y'), row);
      // Wide, because the machine may be busy: 64 rows one after the other would take 64 times as long.
      assert.ok(many.elapsedMs < 16 * one.elapsedMs, `${many.elapsedMs} ms against ${one.elapsedMs} ms`);
      return Math.min(one.elapsedMs, many.elapsedMs);
    };
    const short = await run(1);
    const long = await run(iterations);
    assert.ok(long > 4 * short, `${long} ms against ${short} ms`);
  });
});

describe('models whose rows are not what they seem', { concurrency: 2 }, () => {
  const a = [1, 2, 3, 4];
  const b = [5, 4, 1, 0];

  for (const [name, model] of [
    ['softmaxAxis0', softmaxAxis0()],
    ['batchNormTraining', batchNormTraining()],
  ] as const) {
    it(`${name} changes a row beside another one`, async () => {
      const [alone, beside] = await outputsOf(model, { x: rows(a) }, { x: rows(a, b) });
      assert.deepEqual(beside!.get('y')!.dims, [2, 4]);
      assert.ok(alone!.get('y')!.data instanceof Float32Array && beside!.get('y')!.data instanceof Float32Array);
      assert.notDeepEqual(beside!.get('y')!.data.slice(0, 4), alone!.get('y')!.data);
    });
  }

  it('dynamicQuantized loses a row beside a neighbour of much larger scale, its FP32 twin does not', async () => {
    const small = Array.from({ length: 8 }, (_, i) => Math.sin(i + 1));
    const large = small.map((v) => v * 10_000);
    const feeds = [{ x: rows(small) }, { x: rows(small, large) }];
    const [alone, beside] = await outputsOf(dynamicQuantized(), ...feeds);
    const [aloneTwin, besideTwin] = await outputsOf(dynamicQuantizedTwin(), ...feeds);
    const first = (out: ReadonlyMap<string, OrtTensor> | undefined): number[] =>
      [...out!.get('y')!.data].slice(0, 4).map(Number);
    assertClose(alone!.get('y'), first(aloneTwin), 0.05);
    assert.deepEqual(first(beside), [0, 0, 0, 0]);
    assert.ok(first(alone).every((v) => Math.abs(v) > 0.01));
    assert.deepEqual(first(besideTwin), first(aloneTwin));
  });

  it('randomNormal never answers the same', async () => {
    const [one, two] = await outputsOf(randomNormal(), { x: rows(a) }, { x: rows(a) });
    assert.notDeepEqual(one!.get('y')!.data, two!.get('y')!.data);
  });

  it('reduceMeanBatch gives one output for all rows', async () => {
    const [out] = await outputsOf(reduceMeanBatch(), { x: rows(a, b) });
    assert.deepEqual(out!.get('y')!.dims, [4]);
    assertClose(out!.get('y'), [3, 3, 2, 2]);
  });

  it('pairwise grows along both axes', async () => {
    const [out] = await outputsOf(pairwise(), { x: rows(a, b) });
    assert.deepEqual(out!.get('y')!.dims, [2, 2]);
    assertClose(out!.get('y'), [30, 16, 16, 42]);
  });

  it('rowCount tells the number of rows', async () => {
    const [one, three] = await outputsOf(rowCount(), { x: rows(a) }, { x: rows(a, b, a) });
    assert.deepEqual(one!.get('rows'), feed('INT64', [1], [1]));
    assert.deepEqual(three!.get('rows'), feed('INT64', [1], [3]));
  });

  it('duplicateRows gives two rows for each', async () => {
    const [out] = await outputsOf(duplicateRows(), { x: rows(a, b) });
    assert.deepEqual(out!.get('y')!.dims, [4, 4]);
    assertClose(out!.get('y'), [...a, ...b, ...a, ...b]);
  });
});
