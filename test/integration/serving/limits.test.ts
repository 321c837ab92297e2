import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { byteBudget } from '../../../src/batching/byte-budget.ts';
import { CoreTokens } from '../../../src/batching/core-tokens.ts';
import { systemClock } from '../../../src/clock.ts';
import { resolveConfig } from '../../../src/config.ts';
import { ModelVersion } from '../../../src/serving/model-version.ts';
import { findModels } from '../../../src/serving/repository.ts';
import { makeTensor } from '../../../src/tensor/typed.ts';
import { broken, ident, writeRepository } from '../../support/models.ts';
import { encodeModel, int64, node, tensor } from '../../support/onnx-builder.ts';
import { startService } from '../../support/service.ts';
import { errorOf, metersOf } from './helpers.ts';

/** FP32 `x` [N, 1] → `y` [N, 1,000,000]: 4 MB a row. */
function heavyRows(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 1])],
    outputs: [tensor('y', 'FP32', ['N', 1_000_000])],
    initializers: [int64('shape', [1, 1_000_000])],
    nodes: [node('Expand', ['x', 'shape'], ['y'])],
  });
}

const FLOATS = 2 ** 20;

describe('sizes', () => {
  it('of batches are lowered until their memory is a quarter of what is granted', async (t) => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-heavy-'));
    writeRepository(folder, { heavy: heavyRows() });
    const config = resolveConfig({ provider: 'cpu', instances: 1 });
    const nothing = (): void => {};
    const [source] = await findModels(path.join(folder, 'heavy.onnx'));
    const version = new ModelVersion(source!, {
      config,
      clock: systemClock,
      log: { info: nothing, warn: nothing, error: nothing },
      tokens: new CoreTokens(1, systemClock),
      budget: byteBudget(1e9),
      memoryBytes: 256e6,
      provider: async () => ({ provider: 'cpu', device: 0, reason: 'as configured', problem: undefined }),
      placed: () => {},
      released: () => {},
      eventsFor: () => ({
        batchEnded: nothing,
        settled: nothing,
        refused: nothing,
        restarted: nothing,
        checked: nothing,
        finished: nothing,
      }),
    });
    t.after(() => {
      version.close();
      version.kill();
      rmSync(folder, { recursive: true });
    });
    await version.load();
    assert.equal(version.state, 'ready');
    // 64 MB hold 16 outputs, and a run needs some memory besides.
    assert.ok(version.maxBatchSize >= 2 && version.maxBatchSize <= 16, `${version.maxBatchSize} rows`);
    const rows = version.maxBatchSize + 1;
    const x = makeTensor('FP32', [rows, 1], new Float32Array(rows));
    await assert.rejects(version.infer(new Map([['x', x]])), {
      code: 'INVALID_REQUEST',
      message: `the request has ${rows} rows, model 'heavy' takes at most ${rows - 1} in one request`,
    });
  });

  it('of tensors may be far above what a pipe holds, in both directions, beside small ones', async (t) => {
    const service = await startService(t, { floats: ident('FP32'), words: ident('BYTES') }, { instances: 1 });
    const large = Float32Array.from({ length: FLOATS }, (_, i) => i);
    const word = 'grüß'.repeat(300_000);
    const calls = Array.from({ length: 4 }, (_, i) => [
      service.infer('floats', { x: makeTensor('FP32', [1, FLOATS], large) }),
      service.infer('floats', { x: makeTensor('FP32', [1, 2], Float32Array.of(i, -i)) }),
      service.infer('words', { x: makeTensor('BYTES', [1, 2], [word, String(i)]) }),
    ]);
    for (const [i, call] of calls.entries()) {
      const [floats, pair, words] = await Promise.all(call);
      const bytes = Buffer.from(large.buffer);
      assert.ok(bytes.equals(floats!.outputs['y']!.bytes));
      assert.deepEqual(pair!.outputs['y'], {
        ...makeTensor('FP32', [1, 2], Float32Array.of(i, -i)),
        bytes: pair!.outputs['y']!.bytes,
      });
      const expected = Buffer.from(makeTensor('BYTES', [1, 2], [word, String(i)]).bytes);
      assert.ok(expected.equals(words!.outputs['y']!.bytes));
    }
  });

  it('of all that is held are bounded in bytes', async (t) => {
    const service = await startService(t, { floats: ident('FP32') }, { instances: 1, maxQueueBytes: '10MiB' });
    const x = makeTensor('FP32', [1, FLOATS], new Float32Array(FLOATS));
    const outcomes = await Promise.allSettled(Array.from({ length: 4 }, () => service.infer('floats', { x })));
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected', 'rejected'],
    );
    assert.equal(metersOf(service, 'floats').rejections.get('QUEUE_FULL'), 2);
    await service.infer('floats', { x });
  });
});

describe('readiness', () => {
  it('without strictness does not depend on models', async (t) => {
    const service = await startService(t, { bad: broken() }, { strictReadiness: false });
    assert.equal(service.notReady(), undefined);
    assert.equal((await errorOf(service.infer('bad', {}))).code, 'MODEL_NOT_READY');
    service.startDraining();
    assert.equal(service.notReady(), 'the server is shutting down');
  });

  it('of an empty folder is there', async (t) => {
    const service = await startService(t, {});
    assert.equal(service.notReady(), undefined);
    assert.deepEqual(service.summary(), []);
  });
});
