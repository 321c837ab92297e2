import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { decodeInferRequest, encodeInferReply } from '../../../src/http/v2-codec.ts';
import { runSliced } from '../../../src/protocol/sliced.ts';
import { encodeStrings, type Tensor } from '../../../src/tensor/tensor.ts';
import { makeTensor } from '../../../src/tensor/typed.ts';
import { binaryInput, input } from '../http/v2-bodies.ts';

// A float whose nearest decimal of eight digits lies on the very edge of what reads back as it.
const CLOSE_CALL = 125_380_304;

/**
 * Runs work to its end, several times; how often it paused, and the longest time in milliseconds between two pauses, in
 * the run where that was shortest: a busy machine stops a process now and then.
 */
function pauses(start: () => Generator<void, unknown, void>): { count: number; longestMs: number } {
  const runs = Array.from({ length: 4 }, () => {
    const work = start();
    let longestMs = 0;
    for (let count = 0; ; count++) {
      const startMs = performance.now();
      const { done } = work.next();
      longestMs = Math.max(longestMs, performance.now() - startMs);
      if (done) return { count, longestMs };
    }
  });
  return runs.reduce((best, run) => (run.longestMs < best.longestMs ? run : best));
}

function body(...inputs: readonly unknown[]): Buffer {
  return Buffer.from(JSON.stringify({ inputs }));
}

function slow(datatype: string, element: string): Buffer {
  const data = Array(300_000).fill(element).join(',');
  return Buffer.from(`{"inputs":[{"name":"x","datatype":"${datatype}","shape":[300000],"data":[${data}]}]}`);
}

function reply(tensor: Tensor, binary: boolean): Generator<void, unknown, void> {
  return encodeInferReply({
    modelName: 'm',
    modelVersion: '1',
    id: undefined,
    outputs: [{ name: 'y', tensor, binary }],
  });
}

describe('sliced work', () => {
  it('gives the result at once when there is no pause', () => {
    assert.equal(
      runSliced(
        // biome-ignore lint/correctness/useYield: the point of this test
        (function* () {
          return 7;
        })(),
      ),
      7,
    );
    assert.ok(!(runSliced(decodeInferRequest(body(input('FP32', [3], [1, 2, 3])), undefined)) instanceof Promise));
    assert.throws(() => runSliced(decodeInferRequest(Buffer.from('{'), undefined)), /JSON text ends/);
  });

  it('goes on in later turns of the event loop after a pause, and gives a promise', async () => {
    const turns: number[] = [];
    let turn = 0;
    const result = runSliced(
      (function* () {
        for (let i = 0; i < 3; i++) {
          turns.push(turn);
          // Longer than a turn may take, so that each slice needs one of its own.
          for (const until = performance.now() + 2; performance.now() < until; );
          yield;
        }
        return 'done';
      })(),
    );
    assert.ok(result instanceof Promise);
    let settled = false;
    void result.then(() => {
      settled = true;
    });
    while (!settled) {
      turn++;
      await nextTurn();
    }
    assert.equal(await result, 'done');
    assert.deepEqual(
      turns,
      [...turns].sort((a, b) => a - b),
    );
    assert.ok(turns[2]! > turns[1]! && turns[1]! > turns[0]!, `slices ran in turns ${turns}`);
  });

  it('rejects when the work fails after a pause', async () => {
    const data = Array(100_000).fill(1);
    data.push('x');
    const work = runSliced(decodeInferRequest(body(input('FP32', [100_001], data)), undefined));
    assert.ok(work instanceof Promise);
    await assert.rejects(work, /element 100000 of input 'x' is "x", expected a number/);
  });

  it('lets much work at once take turns, within one turn of the loop no longer than one alone', async () => {
    const order: number[] = [];
    const work = (id: number) =>
      runSliced(
        (function* () {
          for (let i = 0; i < 4; i++) {
            order.push(id);
            for (const until = performance.now() + 1.5; performance.now() < until; );
            yield;
          }
        })(),
      );
    await Promise.all([work(0), work(1), work(2)]);
    assert.deepEqual(order, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
  });

  it('pauses often while it decodes any large request', () => {
    const strings = encodeStrings(['x'.repeat(1_500_000), 'é'.repeat(700_000)]);
    const text = Buffer.from(JSON.stringify({ inputs: [binaryInput('BYTES', [2], strings.length)] }));
    const booleans = Buffer.from(JSON.stringify({ inputs: [binaryInput('BOOL', [3_000_000], 3_000_000)] }));
    const many = Array.from({ length: 6000 }, (_, i) => binaryInput('BYTES', [1], 504, `i${i}`));
    const manyText = Buffer.from(JSON.stringify({ inputs: many }));
    const element = encodeStrings(['y'.repeat(500)]);
    const { data, ...rest } = input('FP32', [250_000], Array(250_000).fill(0.1234567));
    const cases: [Buffer, string | undefined, number][] = [
      [body({ ...rest, data }), undefined, 30],
      [body({ data, ...rest }), undefined, 60],
      [body(input('INT64', [400_000], Array(400_000).fill(1_234_567))), undefined, 30],
      [body(input('BYTES', [1], ['x'.repeat(3_000_000)])), undefined, 60],
      [body(input('BYTES', [300_000], Array(300_000).fill('éé'))), undefined, 30],
      // Numbers that take long: each needs the slowest way.
      [slow('FP64', '4.9e-324'), undefined, 100],
      [slow('INT64', '1000000000000000000.0'), undefined, 100],
      [Buffer.from(JSON.stringify({ unknown: Array(400_000).fill(1), inputs: [] })), undefined, 10],
      [Buffer.concat([text, strings]), String(text.length), 30],
      [Buffer.concat([booleans, Buffer.alloc(3_000_000, 2)]), String(booleans.length), 30],
      [Buffer.concat([manyText, ...many.map(() => element)]), String(manyText.length), 30],
    ];
    for (const [i, [bytes, header, least]] of cases.entries()) {
      const { count, longestMs } = pauses(() => decodeInferRequest(bytes, header));
      assert.ok(count >= least, `case ${i}: ${count} pauses`);
      // About a millisecond on a quiet machine; generous for busy ones.
      assert.ok(longestMs < 50, `case ${i}: ${longestMs} ms without a pause`);
    }
  });

  it('pauses often while it encodes any large reply', () => {
    const cases: [Tensor, boolean, number][] = [
      [makeTensor('FP32', [250_000], new Float32Array(250_000).fill(0.1234567)), false, 30],
      [makeTensor('FP64', [150_000], new Float64Array(150_000).fill(1 / 3)), false, 30],
      [makeTensor('INT64', [250_000], new BigInt64Array(250_000).fill(12345678901n)), false, 30],
      [makeTensor('BOOL', [500_000], new Uint8Array(500_000)), false, 30],
      // Read back as text one by one, as they are so close to where fewer digits do.
      [makeTensor('FP32', [100_000], new Float32Array(100_000).fill(CLOSE_CALL)), false, 60],
      [{ datatype: 'BYTES', shape: [1], bytes: encodeStrings(['\u0001'.repeat(500_000)]) }, false, 20],
      [makeTensor('FP32', [5_000_000], new Float32Array(5_000_000)), true, 15],
    ];
    for (const [i, [tensor, binary, least]] of cases.entries()) {
      const { count, longestMs } = pauses(() => reply(tensor, binary));
      assert.ok(count >= least, `case ${i}: ${count} pauses`);
      assert.ok(longestMs < 60, `case ${i}: ${longestMs} ms without a pause`);
    }
  });
});
