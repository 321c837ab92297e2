import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Head, makeTensor, readTensor, type Service, type Tensor } from '../../../src/index.ts';
import { collectFeatures } from '../../../src/training/features.ts';
import { forward } from '../../../src/training/head.ts';
import { trainHead } from '../../../src/training/train-head.ts';
import { ident, mlp, scalar0 } from '../../support/models.ts';
import { startService } from '../../support/service.ts';

const WIDTH = 6;

/** One row whose class is whether its first number is larger than its second. */
function row(i: number): Record<string, Tensor> {
  return {
    x: makeTensor(
      'FP32',
      [1, WIDTH],
      Float32Array.from({ length: WIDTH }, (_, j) => Math.sin(i * 7 + j * 3)),
    ),
  };
}

function rows(count: number): Record<string, Tensor>[] {
  return Array.from({ length: count }, (_, i) => row(i));
}

async function direct(service: Service, i: number): Promise<number[]> {
  const { outputs } = await service.infer('base', row(i));
  return [...(readTensor(outputs['y']!) as Float32Array)];
}

describe('features of a served model', () => {
  it('are what the model answers, in the order of the rows, collected in shared runs', async (t) => {
    const service = await startService(t, { base: mlp([WIDTH, 32, 8]) });
    const { features, width, count, version } = await collectFeatures(service, {
      model: 'base',
      output: 'y',
      rows: rows(300),
    });
    assert.deepEqual([width, count, version, features.length], [8, 300, '1', 2400]);
    for (const i of [0, 1, 63, 64, 299]) {
      for (const [j, value] of (await direct(service, i)).entries()) {
        assert.ok(Math.abs(features[i * 8 + j]! - value) < 1e-5, `row ${i}: ${features[i * 8 + j]}, ${value}`);
      }
    }
    const text = await service.metrics.registry.getSingleMetricAsString('shoal_batch_rows');
    const runs = Number(/shoal_batch_rows_count\{[^}]*\} (\d+)/.exec(text)![1]);
    assert.ok(runs < 150, `${runs} runs for 300 rows`);
  });

  it('wait where the queue is full, instead of failing', async (t) => {
    const service = await startService(t, { base: mlp([WIDTH, 8]) }, { maxQueueRows: 4, maxBatchSize: 2 });
    const { count } = await collectFeatures(service, { model: 'base', output: 'y', rows: rows(200), concurrency: 100 });
    assert.equal(count, 200);
  });

  it('train a head that is served with the same answers, as often as wanted', async (t) => {
    const service = await startService(t, { base: mlp([WIDTH, 64, 16]) });
    async function* source() {
      for (const one of rows(400)) yield one;
    }
    const found = await collectFeatures(service, { model: 'base', output: 'y', rows: source() });
    const classes = rows(400).map(({ x }) => {
      const [a, b] = readTensor(x!) as Float32Array;
      return a! > b! ? 1 : 0;
    });
    for (const seed of [1, 2]) {
      const training = trainHead({
        ...found,
        classes,
        seed,
        heldBack: 0.25,
        epochs: 30,
        optimizer: { kind: 'adam', rate: 0.02 },
        turn: service.trainingTurn,
      });
      let head: Head | undefined;
      let accuracy = 0;
      for (;;) {
        const next = await training.next();
        if (next.done === true) {
          head = next.value;
          break;
        }
        accuracy = next.value.heldBack?.accuracy ?? accuracy;
      }
      assert.ok(accuracy > 0.9, `${accuracy}`);
      assert.equal(forward(head, found.features.subarray(0, 16), 1).at(-1)!.length, 2);
    }
  });

  it('refuse outputs that are none, and end when told to', async (t) => {
    const service = await startService(t, { base: mlp([WIDTH, 8]), scalar0: scalar0(), ident: ident('INT64') });
    const one = { x: makeTensor('FP32', [], Float32Array.of(1)) };
    const options = { model: 'base', output: 'y', rows: rows(10) };
    await assert.rejects(collectFeatures(service, { model: 'scalar0', output: 'y', rows: [one] }), {
      code: 'INVALID_REQUEST',
      message: /output 'y' of model 'scalar0' is FP32 \[\], expected FP32 \[rows, features\]/,
    });
    const integers = { x: makeTensor('INT64', [1, 2], BigInt64Array.of(1n, 2n)) };
    await assert.rejects(collectFeatures(service, { model: 'ident', output: 'y', rows: [integers] }), /INT64 \[1,2\]/);
    await assert.rejects(collectFeatures(service, { ...options, output: 'none' }), { code: 'INVALID_REQUEST' });
    await assert.rejects(collectFeatures(service, { ...options, model: 'none' }), { code: 'MODEL_NOT_FOUND' });
    await assert.rejects(collectFeatures(service, { ...options, rows: [] }), /there are no rows/);
    await assert.rejects(collectFeatures(service, { ...options, concurrency: 0 }), /concurrency is 0/);
    const controller = new AbortController();
    let given = 0;
    let ended = false;
    async function* endless() {
      try {
        for (;;) {
          if (++given === 50) controller.abort();
          yield row(given);
        }
      } finally {
        ended = true;
      }
    }
    const stopped = collectFeatures(service, { ...options, rows: endless(), signal: controller.signal });
    await assert.rejects(stopped, { code: 'CANCELLED' });
    assert.ok(ended && given < 200, `${given}`);
  });
});
