import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { InferResult, Service } from '../../../src/service.ts';
import { readTensor } from '../../../src/tensor/typed.ts';
import { add2, gatherPoison, hugeOutput, loopHang, slow } from '../../support/models.ts';
import { encodeModel, int64, node, tensor } from '../../support/onnx-builder.ts';
import { iterationsFor } from '../../support/run-model.ts';
import { startService } from '../../support/service.ts';
import { childrenOf, errorOf, isAlive, metersOf, row, vector, waitFor } from './helpers.ts';

const LEAST = -(2 ** 63);

/** INT64 `a`, `b` [N] → `y` = a / b. Unlike that of INT32, which is vectorised, it traps in runs of any size. */
function longDivide(): Buffer {
  return encodeModel({
    inputs: [tensor('a', 'INT64', ['N']), tensor('b', 'INT64', ['N'])],
    outputs: [tensor('y', 'INT64', ['N'])],
    nodes: [node('Div', ['a', 'b'], ['y'])],
  });
}

function divide(service: Service, a: number, b: number): Promise<InferResult> {
  return service.infer('divide', { a: vector('INT64', a), b: vector('INT64', b) });
}

function valuesOf({ outputs }: InferResult): number[] {
  return Array.from(readTensor(outputs['y']!), Number);
}

/** The one executor there is. */
function executorPid(): number {
  const [pid, ...others] = childrenOf(process.pid);
  assert.ok(pid !== undefined && others.length === 0, 'there is one executor');
  return pid;
}

describe('an input that ends the executor', () => {
  it('costs its caller an error and nobody else; the third time it is refused at the door', async (t) => {
    const service = await startService(t, { divide: longDivide() }, { instances: 1 });
    const first = executorPid();
    const callers = Array.from({ length: 16 }, (_, i) =>
      i === 7 ? divide(service, LEAST, -1) : divide(service, 10 * i, 2),
    );
    const killer = errorOf(callers[7]!);
    for (const [i, caller] of callers.entries()) if (i !== 7) assert.deepEqual(valuesOf(await caller), [5 * i]);
    assert.equal((await killer).code, 'EXECUTOR_LOST');
    assert.match((await killer).message, /^the executor of model 'divide' was lost: it was ended by SIGFPE$/);

    await waitFor(() => service.registry.get('divide', undefined).isReady, 'a new executor is there');
    const replaced = executorPid();
    assert.notEqual(replaced, first);
    assert.equal(metersOf(service, 'divide').restarts, 2);

    const third = await errorOf(divide(service, LEAST, -1));
    assert.equal(third.code, 'EXECUTOR_LOST');
    assert.match(third.message, /have ended the executor of model 'divide' twice; they are refused$/);
    assert.equal(executorPid(), replaced);
    assert.deepEqual(valuesOf(await divide(service, 9, 3)), [3]);
  });

  it('may be any input; the model is then served unbatched, and nobody gets an answer', async (t) => {
    const deadly = encodeModel({
      inputs: [tensor('x', 'INT64', ['N'])],
      outputs: [tensor('y', 'INT64', ['N'])],
      initializers: [int64('zero', [0], []), int64('least', [LEAST], []), int64('one', [1], [])],
      nodes: [
        node('Mul', ['x', 'zero'], ['zeros']),
        node('Sub', ['zeros', 'one'], ['minusOnes']),
        node('Div', ['least', 'minusOnes'], ['y']),
      ],
    });
    const service = await startService(t, { deadly, divide: longDivide() }, { instances: 1 });
    const { state, batching } = service.registry.get('deadly', undefined).summary();
    assert.equal(state, 'ready');
    assert.match(batching, /^unbatched until real rows tell: generated inputs cannot run it: .*SIGFPE$/);
    const lost = errorOf(service.infer('deadly', { x: vector('INT64', 1) }));
    assert.deepEqual(valuesOf(await divide(service, 8, 2)), [4]);
    assert.equal((await lost).code, 'EXECUTOR_LOST');
  });
});

describe('a run that does not end', () => {
  it('is killed, its neighbours are answered, and its caller is told', async (t) => {
    const service = await startService(t, { loop: loopHang() }, { instances: 1 }, { hangFloorMs: 500 });
    const run = (trips: number) => service.infer('loop', { trips: vector('INT64', trips) });
    const innocents = [1, 2, 3].map(run);
    const hung = await errorOf(run(1e15));
    assert.equal(hung.code, 'EXECUTOR_LOST');
    assert.match(hung.message, /a run (used more than 500 ms of CPU time and did not end|did not end within 3000 ms)$/);
    assert.deepEqual((await Promise.all(innocents)).map(valuesOf), [[1], [2], [3]]);
    assert.deepEqual(valuesOf(await run(7)), [7]);
    assert.equal((await errorOf(run(1e15))).message.endsWith('they are refused'), true);
  });
});

describe('an executor that is killed from outside', () => {
  it('in the middle of a run costs nobody their answer', async (t) => {
    const iterations = await iterationsFor(200);
    const service = await startService(t, { slow: slow(iterations) }, { instances: 1 });
    const version = service.registry.get('slow', undefined);
    const pid = executorPid();
    const calls = [1, 2, 3].map((value) => service.infer('slow', { x: row(value) }));
    await waitFor(() => version.queuedRows === 0 && version.inflightRequests === 3, 'the batch is being run');
    process.kill(pid, 'SIGKILL');
    await waitFor(() => !version.isReady, 'the loss is noticed');
    assert.equal(service.notReady(), "model 'slow' is ready");
    const answers = await Promise.all(calls);
    assert.deepEqual(
      answers.map((answer) => valuesOf(answer)[0]),
      [1, 2, 3],
    );
    for (const { batch } of answers) assert.equal(batch.reason, 'retry');
    assert.equal(metersOf(service, 'slow').restarts, 1);
    assert.equal(service.notReady(), undefined);
  });

  it('trap 20: while it is idle makes the server not ready until there is another', async (t) => {
    const service = await startService(t, { add2: add2() }, { instances: 1 });
    const version = service.registry.get('add2', undefined);
    assert.equal(service.notReady(), undefined);
    const pid = executorPid();
    process.kill(pid, 'SIGKILL');
    await waitFor(() => !version.isReady, 'the loss is noticed');
    assert.notEqual(service.notReady(), undefined);
    // Whoever comes meanwhile waits for the next one.
    const { outputs } = await service.infer('add2', { a: row(1), b: row(2) });
    assert.equal(readTensor(outputs['sum']!)[0], 3);
    assert.equal(service.notReady(), undefined);
    assert.ok(!isAlive(pid));
  });

  it('again and again makes the model failed, with pauses that grow', async (t) => {
    const service = await startService(t, { doomed: add2() }, { instances: 1 });
    const version = service.registry.get('doomed', undefined);
    const killed = new Set<number>();
    const startMs = performance.now();
    await waitFor(() => {
      for (const pid of childrenOf(process.pid)) {
        if (killed.has(pid)) continue;
        killed.add(pid);
        process.kill(pid, 'SIGKILL');
      }
      return version.state === 'failed';
    }, 'the model is given up');
    assert.equal(killed.size, 6);
    // 0, 100, 200, 400 and 800 ms.
    assert.ok(performance.now() - startMs > 1500);
    const { message, code } = await errorOf(service.infer('doomed', { a: row(1), b: row(1) }));
    assert.equal(code, 'MODEL_NOT_READY');
    assert.match(
      message,
      /^model 'doomed' version 1 is failed: its executors ended 6 times without an answer in between; the last: /,
    );
    assert.equal(service.notReady(), "model 'doomed' is failed");
  });
});

describe('a run that ONNX Runtime refuses', () => {
  it('for one bad row of 32 costs 31 callers nothing, in a bounded number of runs', async (t) => {
    const service = await startService(t, { gather: gatherPoison() }, { instances: 1 });
    const callers = Array.from({ length: 32 }, (_, i) =>
      service.infer('gather', { ids: vector('INT64', i === 19 ? 99 : i % 10) }),
    );
    const bad = errorOf(callers[19]!);
    for (const [i, caller] of callers.entries()) {
      if (i !== 19)
        assert.deepEqual(
          valuesOf(await caller),
          [0, 1, 2].map((j) => (i % 10) * 10 + j),
        );
    }
    assert.equal((await bad).code, 'INVALID_REQUEST');
    assert.equal(
      (await bad).message,
      "model 'gather' could not run these inputs in a Gather node: indices element out of data bounds, idx=99 must be within the inclusive range [-10,9]",
    );
    // One run of all, then two for each of five halvings.
    assert.equal(metersOf(service, 'gather').batchRows.count, 11);
    assert.equal(metersOf(service, 'gather').restarts, 0);
  });

  it('for want of memory is an error of the server', async (t) => {
    const service = await startService(t, { huge: hugeOutput() }, { instances: 1 });
    const error = await errorOf(service.infer('huge', { size: vector('INT64', 1e13) }));
    assert.equal(error.code, 'INFERENCE_FAILED');
    assert.match(error.message, /Failed to allocate memory/);
    assert.deepEqual(valuesOf(await service.infer('huge', { size: vector('INT64', 2) })), [1, 1]);
  });
});

it('tensors that have not the bytes their shapes say do not shift their neighbours’ rows', async (t) => {
  const service = await startService(t, { add2: add2() }, { instances: 1 });
  const good = [1, 2].map((value) => service.infer('add2', { a: row(value), b: row(0) }));
  const short = service.infer('add2', { a: { ...row(5), bytes: row(5).bytes.subarray(0, 8) }, b: row(0) });
  const more = service.infer('add2', { a: row(3), b: row(0) });
  assert.equal((await errorOf(short)).message, "input 'a' has 8 bytes, FP32 of shape [1,4] has 16");
  const sums = (await Promise.all([...good, more])).map(({ outputs }) => readTensor(outputs['sum']!)[0]);
  assert.deepEqual(sums, [1, 2, 3]);
});

describe('an executor that is lost or replaced', () => {
  it('is replaced and counted while another one lives', async (t) => {
    const model = slow(await iterationsFor(15));
    const service = await startService(t, { slow: model }, { cores: 2, maxBatchSize: 4 });
    const version = service.registry.get('slow', undefined);
    const giveUp = performance.now() + 15_000;
    const load = async (): Promise<void> => {
      while (version.executors < 2 && performance.now() < giveUp) await service.infer('slow', { x: row(1) });
    };
    await Promise.all(Array.from({ length: 16 }, load));
    assert.equal(version.executors, 2);
    const [lost] = childrenOf(process.pid);
    process.kill(lost!, 'SIGKILL');
    await waitFor(() => metersOf(service, 'slow').restarts === 1, 'the loss is counted');
    await waitFor(() => version.executors === 2, 'it has been replaced');
    assert.ok(!childrenOf(process.pid).includes(lost!));
  });

  it('is replaced between batches when it holds more than half of the memory granted', async (t) => {
    // No executor gets by with this little, so that each is replaced after its first look.
    const service = await startService(t, { add2: add2() }, { instances: 1 }, { memoryBytes: 1e6 });
    const before = executorPid();
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => service.infer('add2', { a: row(i), b: row(1) })),
    );
    assert.deepEqual(
      answers.map(({ outputs }) => Number(readTensor(outputs['sum']!)[0])),
      [1, 2, 3, 4, 5, 6, 7, 8],
    );
    await waitFor(() => metersOf(service, 'add2').restarts >= 1 && !isAlive(before), 'the first one has gone');
    await waitFor(() => service.registry.get('add2', undefined).isReady, 'another one is there');
    assert.notEqual(executorPid(), before);
  });
});
