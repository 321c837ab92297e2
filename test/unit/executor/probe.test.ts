import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { declaredSignature, probe, withShapes } from '../../../src/executor/probe.ts';
import type { DeclaredTensor } from '../../../src/executor/session.ts';
import type { Datatype, Tensor } from '../../../src/tensor/tensor.ts';
import { makeTensor, readTensor } from '../../../src/tensor/typed.ts';
import type { Verdict } from '../../../src/tensor/verdict.ts';

/** Inputs and outputs as `name: [datatype, ...dims]`. */
type Declared = Readonly<Record<string, readonly [Datatype, ...(number | string)[]]>>;

function declare(tensors: Declared): DeclaredTensor[] {
  return Object.entries(tensors).map(([name, [datatype, ...dims]]) => ({ name, datatype, dims }));
}

/** A fake model; `run` gets and gives FP32 tensors unless it says otherwise. */
function model(inputs: Declared, outputs: Declared, run: (inputs: readonly Tensor[]) => Tensor[]) {
  let runs = 0;
  return {
    inputs: declare(inputs),
    outputs: declare(outputs),
    run: async (tensors: readonly Tensor[]) => {
      runs++;
      return run(tensors);
    },
    get runs() {
      return runs;
    },
  };
}

function numbers(tensor: Tensor | undefined): number[] {
  return Array.from(readTensor(tensor!), Number);
}

function fp32(shape: readonly number[], values: readonly number[]): Tensor {
  return makeTensor('FP32', shape, Float32Array.from(values));
}

/** A model [N, 4] → [N, 4] by a function of all values. */
function elementwise(change: (values: number[], rows: number) => number[]) {
  return model({ x: ['FP32', 'N', 4] }, { y: ['FP32', 'N', 4] }, ([x]) => [
    fp32(x!.shape, change(numbers(x), x!.shape[0]!)),
  ]);
}

describe('probe', () => {
  it('finds the batch axes of a model whose rows keep to themselves, in about ten runs', async () => {
    const plain = elementwise((values) => values.map((v) => 2 * v));
    const { signature, batched, reason, outputs, exactSizes, isOpen, bytesPerRow, runs } = await probe(plain);
    assert.ok(batched && !isOpen);
    assert.equal(reason, 'rows answer the same alone and beside others, bit for bit (runs of 2, 3 and 8 rows)');
    assert.deepEqual(outputs, [{ name: 'y', verdict: 'bit-exact', largestDifference: 0, largestUlps: 0 }]);
    assert.deepEqual(exactSizes, [1, 2, 3, 8]);
    assert.deepEqual(signature, {
      batched: true,
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 4], batchAxis: 0 }],
      outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 4], batchAxis: 0 }],
    });
    assert.ok(plain.runs <= 10, `${plain.runs} runs`);
    assert.ok(bytesPerRow >= 0);
    assert.deepEqual(
      runs.map(({ rows, bytes }) => [rows, bytes]),
      [
        [1, 16],
        [2, 32],
        [3, 48],
        [8, 128],
      ],
    );
  });

  it('allows for rounding and says how much', async () => {
    const rounding = elementwise((values, rows) => values.map((v) => v * (1 + 1e-6 * rows)));
    const { batched, reason, outputs, exactSizes } = await probe(rounding);
    assert.ok(batched);
    assert.match(reason, /^rows answer the same .* within rounding \(at most \d\.\de[-+]\d+, \d+ ULPs, apart; runs of/);
    const { verdict, largestDifference, largestUlps } = outputs[0]!;
    assert.equal(verdict, 'rounding');
    // Seven parts in a million of at most 1000, in steps of 2^-24 of it.
    assert.ok(largestDifference > 1e-3 && largestDifference < 1e-2, `${largestDifference}`);
    assert.ok(largestUlps > 50 && largestUlps < 150, `${largestUlps}`);
    assert.deepEqual(exactSizes, [1]);
  });

  it('finds an inner batch axis, inputs without rows, and outputs with axes of their own', async () => {
    const shape = model(
      { state: ['FP32', 2, '', 3], x: ['FP32', '', ''], rate: ['INT64'] },
      { y: ['FP32', '', 1], stateN: ['FP32', 2, '', 3] },
      ([state, x, rate]) => {
        const [rows, width] = [x!.shape[0]!, x!.shape[1]!];
        const values = numbers(x);
        const sums = Array.from({ length: rows }, (_, r) =>
          values.slice(r * width, (r + 1) * width).reduce((sum, v) => sum + v, Number(numbers(rate)[0])),
        );
        if (state!.shape[1] !== rows) throw new Error('rows differ');
        return [
          fp32([rows, 1], sums),
          fp32(
            state!.shape,
            numbers(state).map((v) => v / 2),
          ),
        ];
      },
    );
    const { signature } = await probe(shape);
    assert.ok(signature.batched);
    assert.deepEqual(
      signature.inputs.map(({ batchAxis }) => batchAxis),
      [1, 0, null],
    );
    assert.deepEqual(
      signature.outputs.map(({ batchAxis }) => batchAxis),
      [0, 1],
    );
    assert.deepEqual(signature.inputs[0]!.shape, [2, -1, 3]);
  });

  it('takes the axis that is called a batch, wherever it is', async () => {
    const named = model({ x: ['FP32', 'time', 'batch', 2] }, { y: ['FP32', 'time', 'batch', 2] }, ([x]) => [
      fp32(x!.shape, numbers(x)),
    ]);
    const { signature } = await probe(named);
    assert.equal(signature.inputs[0]!.batchAxis, 1);
  });

  it('tries the second free axis when rows along the first influence each other', async () => {
    const running = model({ x: ['FP32', '', '', 2] }, { y: ['FP32', '', '', 2] }, ([x]) => {
      // A running sum over the first axis, as a recurrent model has over time.
      const step = x!.shape[1]! * 2;
      const values = numbers(x);
      for (let i = step; i < values.length; i++) values[i]! += values[i - step]!;
      return [fp32(x!.shape, values)];
    });
    const { signature } = await probe(running);
    assert.ok(signature.batched);
    assert.equal(signature.inputs[0]!.batchAxis, 1);
  });

  it('learns the rank of an output whose shape the file does not tell', async () => {
    const silent = model({ x: ['FP32', 'N', 4] }, { y: ['FP32'] }, ([x]) => [fp32(x!.shape, numbers(x))]);
    const { signature } = await probe(silent);
    assert.deepEqual(signature.outputs[0], { name: 'y', datatype: 'FP32', shape: [-1, -1], batchAxis: 0 });
  });

  it('tries other sizes and smaller integers until the model runs', async () => {
    const embedding = model({ ids: ['INT64', 'N', 'S'] }, { y: ['FP32', 'N'] }, ([ids]) => {
      const values = numbers(ids);
      if (values.some((id) => id > 1)) throw new Error('id out of range');
      const width = ids!.shape[1]!;
      return [
        fp32(
          [ids!.shape[0]!],
          Array.from({ length: ids!.shape[0]! }, (_, r) =>
            values.slice(r * width, (r + 1) * width).reduce((a, b) => a + b),
          ),
        ),
      ];
    });
    assert.ok((await probe(embedding)).signature.batched);
    const large = model({ image: ['FP32', 'N', 3, 'H', 'W'] }, { y: ['FP32', 'N'] }, ([image]) => {
      if (image!.shape[2]! < 200) throw new Error('too small');
      const rows = image!.shape[0]!;
      const values = numbers(image);
      return [
        fp32(
          [rows],
          Array.from({ length: rows }, (_, r) => values[(r * values.length) / rows]!),
        ),
      ];
    });
    assert.ok((await probe(large)).signature.batched);
  });

  describe('serves a model unbatched', () => {
    const cases: [verdict: Verdict, reason: RegExp, probed: ReturnType<typeof model>, open?: boolean][] = [
      [
        'leaking',
        /^rows influence each other: output 'y' of a row changes beside other rows$/,
        elementwise((values) => {
          const sum = values.reduce((a, b) => a + Math.abs(b), 0);
          return values.map((v) => v / sum);
        }),
      ],
      [
        'leaking',
        /^rows influence each other/,
        // One step for all, as dynamic quantisation has it.
        elementwise((values) => {
          const step = Math.max(...values.map(Math.abs)) / 127;
          return values.map((v) => Math.round(v / step) * step);
        }),
      ],
      [
        'leaking',
        /^rows influence each other/,
        elementwise((values, rows) => values.map((v) => (rows > 4 ? v + values[0]! : v))),
      ],
      [
        'unknown',
        /^its answers differ from run to run$/,
        elementwise((values) => values.map((v) => v + Math.random())),
      ],
      [
        'leaking',
        /^output 'y' does not follow the number of rows$/,
        model({ x: ['FP32', 'N', 4] }, { y: ['FP32', 4] }, ([x]) => [fp32([4], numbers(x).slice(0, 4))]),
      ],
      [
        'leaking',
        /^output 'y' does not follow the number of rows$/,
        model({ x: ['FP32', 'N', 4] }, { y: ['FP32', 'N', 'N'] }, ([x]) => {
          const n = x!.shape[0]!;
          return [fp32([n, n], Array(n * n).fill(1))];
        }),
      ],
      [
        'leaking',
        /^output 'y' does not follow the number of rows$/,
        model({ x: ['FP32', 'N', 4] }, { y: ['FP32', 'M', 4] }, ([x]) => {
          const values = numbers(x);
          return [fp32([2 * x!.shape[0]!, 4], [...values, ...values])];
        }),
      ],
      [
        'unknown',
        /^none of its inputs has a dimension of free size$/,
        model({ x: ['FP32', 1, 4] }, { y: ['FP32', 1, 4] }, ([x]) => [x!]),
      ],
      [
        'unknown',
        /^none of its inputs has a dimension of free size$/,
        model({}, { y: ['FP32', 1] }, () => [fp32([1], [1])]),
      ],
      [
        'unknown',
        /^several rows cannot run together: one row only$/,
        elementwise((values, rows) => {
          if (rows > 1) throw new Error('one row only');
          return values;
        }),
      ],
      [
        'unknown',
        /^generated inputs cannot run it: never$/,
        elementwise(() => {
          throw new Error('never');
        }),
        true,
      ],
      [
        'unknown',
        /^there was no finite answer for output 'y', so that rows cannot be compared$/,
        elementwise((values) => values.map(() => Number.NaN)),
        true,
      ],
      [
        'unknown',
        /^all rows had the same answer for output 'y', so that rows cannot be compared$/,
        elementwise((values) => values.map(() => 7)),
        true,
      ],
    ];
    for (const [verdict, reason, probed, open = false] of cases) {
      it(`and says why: ${reason.source}`, async () => {
        const finding = await probe(probed);
        const { signature } = finding;
        assert.deepEqual([finding.batched, finding.isOpen], [false, open]);
        assert.match(finding.reason, reason);
        assert.deepEqual(
          finding.outputs.map((output) => output.verdict),
          [verdict],
        );
        assert.deepEqual(signature, declaredSignature(probed));
        assert.ok([...signature.inputs, ...signature.outputs].every(({ batchAxis }) => batchAxis === null));
      });
    }
  });

  it('compares strings and integers exactly', async () => {
    const upper = model({ text: ['BYTES', 'N', 1] }, { upper: ['BYTES', 'N', 1], length: ['INT64', 'N'] }, ([text]) => {
      const words = readTensor(text!) as readonly string[];
      return [
        makeTensor(
          'BYTES',
          text!.shape,
          words.map((word) => word.toUpperCase()),
        ),
        makeTensor(
          'INT64',
          [words.length],
          BigInt64Array.from(words, ({ length }) => BigInt(length)),
        ),
      ];
    });
    assert.ok((await probe(upper)).signature.batched);
    const position = model({ text: ['BYTES', 'N', 1] }, { y: ['INT64', 'N'] }, ([text]) => {
      const rows = text!.shape[0]!;
      return [
        makeTensor(
          'INT64',
          [rows],
          BigInt64Array.from({ length: rows }, (_, r) => BigInt(r)),
        ),
      ];
    });
    assert.match((await probe(position)).reason, /rows influence each other/);
  });

  it('declares a signature without axes before the probe', () => {
    const declared = declaredSignature({
      inputs: declare({ x: ['FP32', 'N', 4], s: ['INT64'] }),
      outputs: declare({ y: ['FP32', '', 2] }),
    });
    assert.deepEqual(declared, {
      batched: false,
      inputs: [
        { name: 'x', datatype: 'FP32', shape: [-1, 4], batchAxis: null },
        { name: 's', datatype: 'INT64', shape: [], batchAxis: null },
      ],
      outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2], batchAxis: null }],
    });
  });

  it('takes the first axis alone where that is said, and refuses outputs that have their rows elsewhere', async () => {
    const both = model({ x: ['FP32', 'N', 'M'] }, { y: ['FP32', 'N', 'M'] }, ([x]) => [x!]);
    const { signature } = await probe({ ...both, alongFirst: true });
    assert.deepEqual([signature.inputs[0]!.batchAxis, signature.outputs[0]!.batchAxis], [0, 0]);
    // A model that turns its input: rows in the first axis come out in the second.
    const turned = model({ x: ['FP32', 'N', 1] }, { y: ['FP32', 1, 'N'] }, ([x]) => [
      fp32(x!.shape.toReversed(), numbers(x)),
    ]);
    assert.equal((await probe(turned)).signature.outputs[0]!.batchAxis, 1);
    assert.equal(
      (await probe({ ...turned, alongFirst: true })).reason,
      "output 'y' does not follow the number of rows",
    );
  });

  it('generates inputs of the shapes that are known beforehand', async () => {
    const shapes: number[][] = [];
    const sized = model(
      { x: ['FP32', 'N', 'W'], free: ['FP32', 'N', 'V'], none: ['FP32'] },
      { y: ['FP32', 'N', 'W'] },
      (all) => {
        shapes.push(...all.map(({ shape }) => [...shape]));
        return [all[0]!];
      },
    );
    const inputs = withShapes(sized.inputs, { x: [-1, 7], none: [-1, 5], other: [9] });
    assert.deepEqual(
      inputs.map(({ dims }) => dims),
      [
        ['N', 7],
        ['N', 'V'],
        ['', 5],
      ],
    );
    const { signature } = await probe({ ...sized, inputs });
    assert.deepEqual(shapes[0], [1, 7]);
    assert.deepEqual(shapes[2], [1, 5]);
    assert.deepEqual(
      signature.inputs.map(({ shape }) => shape),
      [
        [-1, 7],
        [-1, -1],
        [-1, 5],
      ],
    );
  });
});
