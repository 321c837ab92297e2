import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Batch, RowsMismatch } from '../../../src/batching/batch.ts';
import { PendingRequest } from '../../../src/batching/request.ts';
import type { Signature } from '../../../src/tensor/signature.ts';
import { checkInputs } from '../../../src/tensor/signature.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { makeTensor } from '../../../src/tensor/typed.ts';
import { makeRequest, rowsIn, rowsOf, signatureOf } from '../../support/make-request.ts';

function batchOf(signature: Signature, ...requests: readonly PendingRequest[]): Batch {
  return new Batch(signature, requests, 'lane', 'idle');
}

/** A request to a model of one input, of any datatype and batch axis. */
function pending(signature: Signature, x: Tensor, outputs?: readonly number[]): PendingRequest {
  const inputs = checkInputs('fake', signature, new Map([['x', x]]), 1e6);
  const times = { priority: 0, receivedMs: 0, deadlineMs: 1e9, queueDeadlineMs: 1e9 };
  return new PendingRequest({ inputs, outputs, ...times }, inputs.laneKey, 0);
}

function singleInput(datatype: Tensor['datatype'], shape: readonly number[], axis: number): Signature {
  const spec = { datatype, shape, batchAxis: axis };
  return { batched: true, inputs: [{ name: 'x', ...spec }], outputs: [{ name: 'y', ...spec }] };
}

/** The first input as one tensor. */
function joined(batch: Batch): Tensor {
  const { datatype, shape, segments } = batch.inputs()[0]!;
  return { datatype, shape, bytes: Buffer.concat(segments) };
}

/** What `split` gives when the model answers with its input. */
function splitEcho(batch: Batch): Tensor[] {
  return batch.split(new Map([[0, joined(batch)]])).map((outputs) => outputs[0]!);
}

function assertSame(actual: Tensor, expected: Tensor): void {
  assert.equal(actual.datatype, expected.datatype);
  assert.deepEqual(actual.shape, expected.shape);
  assert.deepEqual(Buffer.from(actual.bytes), Buffer.from(expected.bytes));
}

describe('batch', () => {
  it('stacks rows along the first axis and gives each member its own', () => {
    const inputs = [rowsOf([1, 2]), rowsOf([3, 4], [5, 6]), rowsOf([7, 8])];
    const batch = batchOf(signatureOf(), ...inputs.map((x) => makeRequest(x)));
    assert.equal(batch.rows, 4);
    assert.equal(batch.bytes, 32);
    assert.deepEqual(batch.info, { rows: 4, requests: 3, reason: 'idle' });
    assert.deepEqual(rowsIn(joined(batch)), [
      [1, 2],
      [3, 4],
      [5, 6],
      [7, 8],
    ]);
    for (const [i, answer] of splitEcho(batch).entries()) assertSame(answer, inputs[i]!);
  });

  it('takes turns for each index before the batch axis', () => {
    const signature = singleInput('INT16', [2, -1, 2], 1);
    const one = makeTensor('INT16', [2, 1, 2], Int16Array.of(1, 2, 10, 20));
    const two = makeTensor('INT16', [2, 2, 2], Int16Array.of(3, 4, 5, 6, 30, 40, 50, 60));
    const batch = batchOf(signature, pending(signature, one), pending(signature, two));
    assertSame(joined(batch), makeTensor('INT16', [2, 3, 2], Int16Array.of(1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60)));
    const [first, second] = splitEcho(batch);
    assertSame(first!, one);
    assertSame(second!, two);
  });

  it('finds the rows of strings, whose lengths differ, along the first axis and inner ones', () => {
    for (const [axis, shapes] of [
      [
        0,
        [
          [1, 2],
          [2, 2],
        ],
      ],
      [
        1,
        [
          [2, 1],
          [2, 2],
        ],
      ],
    ] as const) {
      const signature = singleInput('BYTES', [-1, -1], axis);
      const one = makeTensor('BYTES', shapes[0], ['', 'grüß']);
      const two = makeTensor('BYTES', shapes[1], ['abc', 'd'.repeat(300), '', '☃']);
      const batch = batchOf(signature, pending(signature, one), pending(signature, two));
      const order = axis === 0 ? [0, 1, 2, 3, 4, 5] : [0, 2, 3, 1, 4, 5];
      const all = ['', 'grüß', 'abc', 'd'.repeat(300), '', '☃'];
      const expected = makeTensor(
        'BYTES',
        axis === 0 ? [3, 2] : [2, 3],
        order.map((i) => all[i]!),
      );
      assertSame(joined(batch), expected);
      const [first, second] = splitEcho(batch);
      assertSame(first!, one);
      assertSame(second!, two);
    }
  });

  it('copies small pieces together and leaves large ones where they lie', () => {
    const small = () => rowsOf(Array(1024).fill(1));
    const large = rowsOf(Array(1025).fill(2));
    const signature = signatureOf();
    const lie = (...inputs: Tensor[]) => batchOf(signature, ...inputs.map((x) => makeRequest(x))).inputs()[0]!.segments;
    assert.equal(lie(small(), small(), small()).length, 1);
    const mixed = lie(small(), small(), large, small(), large, small(), small());
    assert.deepEqual(
      mixed.map((piece) => piece.byteLength),
      [8192, 4100, 4096, 4100, 8192],
    );
    assert.equal(mixed[1], large.bytes);
    assert.equal(mixed[3], large.bytes);
  });

  it('gives a lone member its inputs and outputs as they are', () => {
    const x = rowsOf([1], [2]);
    const batch = batchOf(signatureOf(), makeRequest(x));
    assert.deepEqual(batch.inputs()[0]!.segments, [x.bytes]);
    const y = rowsOf([3], [4]);
    assert.equal(batch.split(new Map([[0, y]]))[0]![0], y);
  });

  it('has an input without rows once', () => {
    const signature: Signature = {
      batched: true,
      inputs: [...signatureOf().inputs, { name: 'rate', datatype: 'INT64', shape: [], batchAxis: null }],
      outputs: signatureOf().outputs,
    };
    const rate = makeTensor('INT64', [], BigInt64Array.of(16_000n));
    const requests = [rowsOf([1]), rowsOf([2], [3])].map((x) => {
      const named = new Map([
        ['x', x],
        ['rate', rate],
      ]);
      const inputs = checkInputs('fake', signature, named, 10);
      const times = { priority: 0, receivedMs: 0, deadlineMs: 1e9, queueDeadlineMs: 1e9 };
      return new PendingRequest({ inputs, outputs: undefined, ...times }, inputs.laneKey, 0);
    });
    const inputs = batchOf(signature, ...requests).inputs();
    assert.deepEqual(inputs[0]!.shape, [3, 1]);
    assert.deepEqual(inputs[1], { datatype: 'INT64', shape: [], segments: [rate.bytes] });
  });

  it('asks for the outputs that any member wants, and gives each its own in its order', () => {
    const names = ['p', 'q', 'r'];
    const signature: Signature = {
      ...signatureOf(),
      outputs: names.map((name) => ({ ...signatureOf().outputs[0]!, name })),
    };
    const some = batchOf(
      signature,
      makeRequest(rowsOf([1]), { outputs: [2, 0] }),
      makeRequest(rowsOf([2]), { outputs: [0] }),
    );
    assert.deepEqual(some.outputs(), [0, 2]);
    const results = new Map([
      [0, rowsOf([10], [20])],
      [2, rowsOf([12], [22])],
    ]);
    assert.deepEqual(
      some.split(results).map((outputs) => outputs.map(rowsIn)),
      [[[[12]], [[10]]], [[[20]]]],
    );
    const all = batchOf(signature, makeRequest(rowsOf([1]), { outputs: [1] }), makeRequest(rowsOf([2])));
    assert.deepEqual(all.outputs(), []);
  });

  it('splits outputs of no bytes', () => {
    const signature = singleInput('FP32', [-1, -1], 0);
    const empty = makeTensor('FP32', [2, 0], new Float32Array());
    const batch = batchOf(signature, pending(signature, empty), pending(signature, empty));
    assert.deepEqual(
      splitEcho(batch).map(({ shape, bytes }) => [shape, bytes.byteLength]),
      [
        [[2, 0], 0],
        [[2, 0], 0],
      ],
    );
    const inner = singleInput('FP32', [-1, -1], 1);
    const none = makeTensor('FP32', [0, 2], new Float32Array());
    const other = batchOf(inner, pending(inner, none), pending(inner, none));
    assert.deepEqual(
      splitEcho(other).map(({ shape }) => shape),
      [
        [0, 2],
        [0, 2],
      ],
    );
  });

  it('refuses outputs that have not its rows, of a lone member too', () => {
    const batch = batchOf(signatureOf(), makeRequest(rowsOf([1])), makeRequest(rowsOf([2])));
    assert.throws(() => batch.split(new Map([[0, rowsOf([1], [2], [3])]])), RowsMismatch);
    assert.throws(() => batch.split(new Map()), RowsMismatch);
    assert.throws(() => batch.split(new Map([[7, rowsOf([1], [2])]])), RowsMismatch);
    const alone = batchOf(signatureOf(), makeRequest(rowsOf([1], [2])));
    assert.throws(() => alone.split(new Map([[0, rowsOf([1])]])), RowsMismatch);
  });

  it('takes any shape from a model that is not batched', () => {
    const signature = signatureOf({ batched: false });
    const batch = batchOf(signature, makeRequest(rowsOf([1], [2]), { signature }));
    assert.equal(batch.rows, 1);
    const y = rowsOf([1], [2], [3]);
    assert.equal(batch.split(new Map([[0, y]]))[0]![0], y);
  });

  it('gives the model other shapes than callers where its configuration says so', () => {
    const spec = { datatype: 'INT16', shape: [-1, 1, -1, 6], batchAxis: 0, modelShape: [-1, 3, -1, 2] } as const;
    const signature: Signature = {
      batched: true,
      inputs: [{ name: 'x', ...spec }],
      outputs: [{ name: 'y', ...spec, shape: [-1, -1, 1, 6] }],
    };
    const values = (rows: number, start: number): Tensor =>
      makeTensor(
        'INT16',
        [rows, 1, 2, 6],
        Int16Array.from({ length: 12 * rows }, (_, i) => start + i),
      );
    const batch = batchOf(signature, pending(signature, values(1, 0)), pending(signature, values(2, 100)));
    assert.deepEqual(batch.inputs()[0]!.shape, [3, 3, 2, 2]);
    const [one, two] = splitEcho(batch);
    assertSame(one!, { ...values(1, 0), shape: [1, 2, 1, 6] });
    assertSame(two!, { ...values(2, 100), shape: [2, 2, 1, 6] });
    const alone = batchOf(signature, pending(signature, values(2, 7)));
    assertSame(splitEcho(alone)[0]!, { ...values(2, 7), shape: [2, 2, 1, 6] });
  });
});
