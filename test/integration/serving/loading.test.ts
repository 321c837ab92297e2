import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Service } from '../../../src/service.ts';
import { readTensor } from '../../../src/tensor/typed.ts';
import {
  add2,
  bf16,
  broken,
  externalMlp,
  int4Input,
  int4Output,
  kubernetesMount,
  mlp,
  opset99,
  sequenceOutput,
  unknownOp,
  writeRepository,
  zipMapOutput,
} from '../../support/models.ts';
import { encodeModel, fp32, int64, node, tensor } from '../../support/onnx-builder.ts';
import { createService, startService, suiteScope } from '../../support/service.ts';
import { childrenOf, errorOf, row, waitFor } from './helpers.ts';

async function assertServes(service: Service, name = 'good'): Promise<void> {
  const { outputs } = await service.infer(name, { a: row(3), b: row(4) });
  assert.equal(readTensor(outputs['sum']!)[0], 7);
}

/** FP32 `x` [N, 4] → `y` = x, whose optimiser computes hundreds of products of large constant matrices ahead. */
function endlessLoad(): Buffer {
  const products = Array.from({ length: 400 }, (_, i) => node('MatMul', [`m${i}`, `m${i}`], [`m${i + 1}`]));
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    initializers: [fp32('seed', [0], [1, 1]), int64('shape', [4096, 4096])],
    nodes: [
      node('Expand', ['seed', 'shape'], ['m0']),
      ...products,
      node('ReduceMax', ['m400'], ['zero'], { keepdims: { int: 0 } }),
      node('Add', ['x', 'zero'], ['y']),
    ],
  });
}

describe('models that cannot be served', () => {
  const scope = suiteScope(after);
  let service: Service;
  before(async () => {
    const { 'model.onnx': alone } = externalMlp([4, 8, 2]);
    service = await startService(scope, (folder) => {
      writeRepository(folder, {
        good: add2(),
        broken: broken(),
        empty: Buffer.alloc(0),
        int4Input: int4Input(),
        int4Output: int4Output(),
        bf16: bf16(),
        sequence: sequenceOutput(),
        zipMap: zipMapOutput(),
        unknownOp: unknownOp(),
        opset99: opset99(),
        weightless: { 1: alone },
      });
      execFileSync('mkfifo', [path.join(folder, 'fifo.onnx')]);
      symlinkSync(path.join(folder, 'nowhere'), path.join(folder, 'dangling.onnx'));
    });
  });

  const reasons: Readonly<Record<string, RegExp>> = {
    broken: /protobuf parsing failed/i,
    empty: /ModelProto does not have a graph|No graph was found|protobuf/i,
    int4Input: /^input 'x' has type int4, which cannot be served; add a Cast node to the model$/,
    int4Output: /^output 'y' has type int4, which cannot be served; add a Cast node to the model$/,
    bf16: /Unsupported data type: 16/,
    sequence: /^output 'pair' is a sequence or a map; only tensors can be served$/,
    zipMap: /^output 'probabilities' is a sequence or a map; only tensors can be served$/,
    unknownOp: /NoSuchOperator/,
    opset99: /[Oo]pset 99/,
    weightless: /model\.bin/,
    fifo: /fifo\.onnx is not a regular file$/,
    dangling: /^there is no file .*dangling\.onnx$/,
  };
  for (const [name, reason] of Object.entries(reasons)) {
    it(`${name} is failed with its reason`, async () => {
      const summary = service.registry.get(name, undefined).summary();
      assert.equal(summary.state, 'failed');
      assert.match(summary.reason!, reason);
      assert.doesNotMatch(summary.reason!, /\n|onnxruntime_src/);
      const error = await errorOf(service.infer(name, { x: row(1) }));
      assert.equal(error.code, 'MODEL_NOT_READY');
      assert.equal(error.message, `model '${name}' version 1 is failed: ${summary.reason}`);
      assert.ok(service.notReady()!.includes(`model '${name}' is failed`));
    });
  }

  it('do not keep others from serving', async () => {
    await assertServes(service);
    assert.ok(!service.notReady()!.includes('good'));
  });

  it('leave no process behind', async () => {
    await waitFor(() => childrenOf(process.pid).length === 1, 'only the good model has an executor');
  });
});

describe('a model that takes for ever to load', () => {
  it('is failed at the time limit and its process is gone; others have served all the while', async (t) => {
    const service = await createService(t, { good: add2(), hang: endlessLoad() }, { loadTimeout: '4s' });
    await waitFor(() => service.registry.get('good', undefined).isReady, 'the good model is ready');
    await assertServes(service);
    assert.equal(service.registry.get('hang', undefined).state, 'loading');
    assert.equal((await errorOf(service.infer('hang', { x: row(1) }))).code, 'MODEL_NOT_READY');
    await service.loaded();
    const { state, reason } = service.registry.get('hang', undefined).summary();
    assert.equal(state, 'failed');
    assert.match(reason!, /loading took longer than 4 s$/);
    await waitFor(() => childrenOf(process.pid).length === 1, 'the process is gone');
    await assertServes(service);
  });

  it('does not outlive a server that is closed meanwhile', async (t) => {
    const service = await createService(t, { hang: endlessLoad() });
    await waitFor(() => childrenOf(process.pid).length === 1, 'a process has been started');
    await service.drain();
    await waitFor(() => childrenOf(process.pid).length === 0, 'the process is gone');
    await service.loaded();
    assert.equal(service.registry.get('hang', undefined).state, 'unloaded');
  });
});

describe('models on disk', () => {
  it('are served by version, the highest by default', async (t) => {
    const service = await startService(t, { m: { 2: mlp([4, 8, 2], 2), 10: mlp([4, 8, 2], 10) } });
    const infer = (version?: string) => service.infer('m', { x: row(1) }, { version });
    const [two, ten, any] = [await infer('2'), await infer('10'), await infer()];
    assert.deepEqual([two.version, ten.version, any.version], ['2', '10', '10']);
    assert.notDeepEqual(readTensor(two.outputs['y']!), readTensor(ten.outputs['y']!));
    assert.deepEqual(readTensor(any.outputs['y']!), readTensor(ten.outputs['y']!));
    const unknown = await errorOf(infer('3'));
    assert.equal(unknown.code, 'MODEL_NOT_FOUND');
    assert.equal(unknown.message, "model 'm' has no version '3', only 2, 10");
    assert.equal((await errorOf(service.infer('n', {}))).message, "there is no model 'n'");
  });

  it('fall back to the highest version that works', async (t) => {
    const service = await startService(t, { m: { 1: mlp([4, 8, 2]), 2: broken() } });
    assert.equal((await service.infer('m', { x: row(1) })).version, '1');
    assert.equal(service.notReady(), undefined);
    assert.equal((await errorOf(service.infer('m', { x: row(1) }, { version: '2' }))).code, 'MODEL_NOT_READY');
  });

  it('may have their weights beside them, also as Kubernetes mounts them', async (t) => {
    const service = await startService(t, (folder) => {
      kubernetesMount(folder, { outside: { 1: externalMlp([4, 8, 2]) }, inside: { 1: mlp([4, 8, 2]) } });
    });
    const [outside, inside] = await Promise.all(
      ['outside', 'inside'].map((name) => service.infer(name, { x: row(1) })),
    );
    assert.deepEqual(readTensor(outside!.outputs['y']!), readTensor(inside!.outputs['y']!));
  });
});
