import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkKept } from '../../../src/executor/check.ts';
import { type KeptRun, KeptRuns } from '../../../src/executor/kept-runs.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { makeTensor, readTensor } from '../../../src/tensor/typed.ts';

function rows(...values: number[]): Tensor {
  return makeTensor('FP32', [values.length, 1], Float32Array.from(values));
}

function valuesOf(tensor: Tensor): number[] {
  return Array.from(readTensor(tensor), Number);
}

/** A model of one input and the outputs `y` and `z`; `change` gives y of all rows, z is the input. */
function model(change: (values: number[]) => number[]) {
  const sizes: number[] = [];
  return {
    sizes,
    run: async ([x]: readonly Tensor[], outputs: readonly number[]): Promise<Tensor[]> => {
      sizes.push(x!.shape[0]!);
      const all = [rows(...change(valuesOf(x!))), x!];
      return outputs.length === 0 ? all : outputs.map((index) => all[index]!);
    },
  };
}

const SERVED = [{ name: 'y' }, { name: 'z' }];
const AXES = { inputAxes: [0], outputAxes: [0, 0] };

async function kept(run: ReturnType<typeof model>['run'], values: number[], indices: number[] = []): Promise<KeptRun> {
  const inputs = [rows(...values)];
  return { inputs, outputs: await run(inputs, indices), indices };
}

describe('a check of a kept run', () => {
  it('runs single rows once more and compares each output', async () => {
    const { run, sizes } = model((values) => values.map((v) => v + (values.length > 1 ? values[0]! : 0)));
    const report = await checkKept(run, SERVED, [await kept(run, [1, 2, 3])], { ...AXES, alone: [2, 0], sizes: [] });
    assert.deepEqual(
      report.outputs.map(({ name, verdict }) => [name, verdict]),
      [
        ['y', 'leaking'],
        ['z', 'bit-exact'],
      ],
    );
    assert.ok(report.isRepeatable && report.ms >= 0);
    // Twice each, to see whether it is the row's neighbours that change it.
    assert.deepEqual(sizes, [3, 1, 1, 1, 1]);
  });

  it('tells a model that answers no row twice the same', async () => {
    let calls = 0;
    const { run } = model((values) => values.map((v) => v + ++calls));
    const report = await checkKept(run, SERVED, [await kept(run, [1, 2])], { ...AXES, alone: [0], sizes: [] });
    assert.ok(!report.isRepeatable);
  });

  it('knows nothing of outputs that were not asked for', async () => {
    const { run } = model((values) => values);
    const one = await kept(run, [1, 2], [1]);
    const report = await checkKept(run, SERVED, [one], { ...AXES, alone: [1], sizes: [] });
    assert.deepEqual(
      report.outputs.map(({ verdict }) => verdict),
      ['unknown', 'bit-exact'],
    );
  });

  it('tries sizes with the rows of all kept runs that can be stacked, every place of them', async () => {
    // The last of eight rows rounds differently.
    const { run, sizes } = model((values) => values.map((v, i) => (values.length === 8 && i === 7 ? v * 1.000001 : v)));
    const runs = [await kept(run, [1]), await kept(run, [2], [0]), await kept(run, [3, 4])];
    sizes.length = 0;
    const report = await checkKept(run, SERVED, runs, { ...AXES, alone: [], sizes: [5, 8] });
    assert.deepEqual(report.exactSizes, [5]);
    assert.deepEqual(sizes, [5, 8]);
    await assert.rejects(checkKept(run, SERVED, [], { ...AXES, alone: [0], sizes: [] }), /no run was kept/);
  });
});

describe('kept runs', () => {
  const run = (bytes: number, value: number): KeptRun => ({
    inputs: [makeTensor('UINT8', [1, bytes], new Uint8Array(bytes).fill(value))],
    outputs: [],
    indices: [],
  });

  it('are copies, the last ones first to stay, and go when nobody wants them', () => {
    const runs = new KeptRuns();
    const one = run(4, 1);
    runs.add(one, 2);
    one.inputs[0]!.bytes.fill(9);
    runs.add(run(4, 2), 2);
    assert.deepEqual(
      runs.take().map(({ inputs }) => inputs[0]!.bytes[0]),
      [1, 2],
    );
    assert.deepEqual(runs.take(), []);
    for (const value of [1, 2, 3]) runs.add(run(4, value), 2);
    assert.deepEqual(
      runs.take().map(({ inputs }) => inputs[0]!.bytes[0]),
      [2, 3],
    );
    runs.add(run(4, 1), 2);
    runs.add(run(4, 2), 0);
    assert.deepEqual(runs.take(), []);
  });

  it('take 16 MiB at most, the last one whatever its size', () => {
    const runs = new KeptRuns();
    for (const value of [1, 2, 3]) runs.add(run(7 * 2 ** 20, value), 8);
    assert.equal(runs.take().length, 2);
    runs.add(run(2 ** 20, 1), 8);
    runs.add(run(17 * 2 ** 20, 2), 8);
    assert.deepEqual(
      runs.take().map(({ inputs }) => inputs[0]!.bytes[0]),
      [2],
    );
  });
});
