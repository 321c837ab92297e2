import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { seededRandom } from '../../../src/random.ts';
import type { Head } from '../../../src/training/head.ts';
import {
  type DataParallelOptions,
  type ParallelStep,
  trainDataParallel,
} from '../../../src/training/parallel/train-data-parallel.ts';
import { trainHead } from '../../../src/training/train-head.ts';
import type { Checkpoint, TrainHeadOptions } from '../../../src/training/training-plan.ts';
import { isAlive } from '../serving/helpers.ts';

const WIDTH = 12;

/** Examples with a rule in them, as numbers of 32 or 64 bits, an odd number of rows. */
function examples(single: boolean, kind: 'classes' | 'targets'): TrainHeadOptions {
  const random = seededRandom(9);
  const count = 151;
  const values = Array.from({ length: count * WIDTH }, () => 2 * random() - 1);
  const features = single ? Float32Array.from(values) : Float64Array.from(values);
  const sum = (row: number, of: number): number =>
    values.slice(row * WIDTH + of, (row + 1) * WIDTH).reduce((a, b) => a + b, 0);
  const common = { features, width: WIDTH, epochs: 6, batchRows: 32, hidden: 7, heldBack: 0.2 } as const;
  if (kind === 'targets') {
    return { ...common, targets: Array.from({ length: count * 2 }, (_, i) => sum(i >> 1, 6 * (i & 1))) };
  }
  return {
    ...common,
    classes: Array.from({ length: count }, (_, row) => (sum(row, 0) > 0 ? 1 : 0) + (sum(row, 6) > 0 ? 1 : 0)),
  };
}

async function run<S>(training: AsyncGenerator<S, Head>): Promise<{ readonly head: Head; readonly steps: S[] }> {
  const steps: S[] = [];
  for (;;) {
    const next = await training.next();
    if (next.done === true) return { head: next.value, steps };
    steps.push(next.value);
  }
}

const parallel = (options: DataParallelOptions): Promise<{ head: Head; steps: ParallelStep[] }> =>
  run(trainDataParallel(options));

function assertGone({ pids }: ParallelStep): void {
  for (const pid of pids) assert.equal(isAlive(pid!), false, `process ${pid} is left`);
}

describe('data-parallel training', () => {
  for (const [single, kind, optimizer] of [
    [true, 'classes', { kind: 'adam', rate: 0.05 }],
    [false, 'targets', { kind: 'momentum', rate: 0.02 }],
  ] as const) {
    for (const [workers, microShards] of [
      [1, 1],
      [2, 1],
      [4, 3],
    ] as const) {
      it(`gives what one process gives: ${kind}, ${workers} workers, ${microShards} micro-shards`, async () => {
        const options = { ...examples(single, kind), optimizer, l2: 0.01 };
        const alone = await run(trainHead(options));
        const shared = await parallel({ ...options, workers, microShards });
        assert.equal(shared.steps.length, alone.steps.length);
        for (const [i, step] of shared.steps.entries()) {
          const expected = alone.steps[i]!;
          assert.equal(step.accuracy, expected.accuracy);
          assert.ok(Math.abs(step.loss - expected.loss) < 1e-12, `step ${step.step}: ${step.loss}, ${expected.loss}`);
          assert.equal(step.heldBack?.accuracy, expected.heldBack?.accuracy);
        }
        // They have learned something, so that being equal says something.
        assert.ok(alone.steps.at(-1)!.heldBack!.loss < 0.8 * alone.steps.find((one) => one.heldBack)!.heldBack!.loss);
        for (const [i, value] of shared.head.parameters.entries()) {
          assert.ok(Math.abs(value - alone.head.parameters[i]!) < 1e-11, `${i}: ${value}, ${alone.head.parameters[i]}`);
        }
        const again = await parallel({ ...options, workers, microShards });
        assert.deepEqual(again.head.parameters, shared.head.parameters, 'not the same to the last bit');
        assertGone(shared.steps[0]!);
      });
    }
  }

  it('accounts for its time: the parts add up, and communication is hidden only behind micro-shards', async () => {
    const options = { ...examples(true, 'classes'), heldBack: 0, batchRows: 151, epochs: 30, hidden: 64 };
    for (const microShards of [1, 8]) {
      let insideMs = 0;
      const training = trainDataParallel({ ...options, workers: 2, microShards });
      let last: ParallelStep | undefined;
      for (;;) {
        const fromMs = performance.now();
        const next = await training.next();
        if (next.done === true) break;
        insideMs += performance.now() - fromMs;
        last = next.value;
      }
      const { computeMs, switchMs, waitMs, startUpMs, communicationMs, hiddenMs } = last!;
      const totalMs = computeMs + switchMs + waitMs;
      assert.ok(totalMs <= insideMs && totalMs > 0.9 * insideMs, `${totalMs} of ${insideMs}`);
      assert.ok(computeMs > 0 && waitMs > 0 && startUpMs > 0 && startUpMs < switchMs, JSON.stringify(last));
      assert.ok(communicationMs > 0 && hiddenMs <= communicationMs);
      if (microShards === 1) assert.equal(hiddenMs, 0);
      else assert.ok(hiddenMs > 0);
    }
  });

  it('goes on from a checkpoint of a training in one process, and the other way round', async () => {
    const options = examples(false, 'classes');
    const whole = await run(trainHead(options));
    const checkpointOf = (steps: readonly { checkpoint: () => Checkpoint }[]): Checkpoint => steps.at(-1)!.checkpoint();
    const alone = checkpointOf((await run(trainHead({ ...options, steps: 5 }))).steps);
    const shared = checkpointOf((await parallel({ ...options, steps: 5, workers: 2 })).steps);
    const resumed = [
      await parallel({ ...options, workers: 2, resume: alone }),
      await run(trainHead({ ...options, resume: shared })),
    ];
    for (const { head, steps } of resumed) {
      assert.equal(steps[0]!.step, 6);
      for (const [i, value] of head.parameters.entries()) {
        assert.ok(Math.abs(value - whole.head.parameters[i]!) < 1e-11);
      }
    }
  });

  it('has workers for every row at most', async () => {
    const options = { ...examples(true, 'targets'), heldBack: 0, batchRows: 2, epochs: 1, steps: 3 };
    const { head } = await parallel({ ...options, workers: 3, microShards: 4 });
    const alone = await run(trainHead(options));
    for (const [i, value] of head.parameters.entries()) {
      assert.ok(Math.abs(value - alone.head.parameters[i]!) < 1e-12);
    }
  });

  it('ends with a clear error when a worker is killed, and leaves no process', async () => {
    const training = trainDataParallel({ ...examples(true, 'classes'), workers: 3, epochs: 100_000 });
    const first = await training.next();
    assert.ok(first.done !== true);
    process.kill(first.value.pids[1]!, 'SIGKILL');
    await assert.rejects(run(training), {
      code: 'EXECUTOR_LOST',
      message: 'training worker 2 of 3 was lost: it was ended by SIGKILL',
    });
    assertGone(first.value);
    assert.deepEqual(await training.next(), { done: true, value: undefined });
  });

  it('ends when told to, also while a worker does not answer', async () => {
    const controller = new AbortController();
    const training = trainDataParallel({ ...examples(true, 'classes'), workers: 2, signal: controller.signal });
    const first = await training.next();
    assert.ok(first.done !== true);
    process.kill(first.value.pids[0]!, 'SIGSTOP');
    const second = training.next();
    controller.abort();
    await assert.rejects(second, { code: 'CANCELLED' });
    assertGone(first.value);
  });

  it('does not begin when told to end before', async () => {
    const signal = AbortSignal.abort();
    await assert.rejects(run(trainDataParallel({ ...examples(true, 'classes'), workers: 2, signal })), {
      code: 'CANCELLED',
    });
  });

  it('has ended its processes when its loop is left', async () => {
    let seen: ParallelStep | undefined;
    for await (const step of trainDataParallel({ ...examples(true, 'classes'), workers: 2 })) {
      seen = step;
      break;
    }
    assertGone(seen!);
  });

  it('says what is wrong with a worker that cannot run', async () => {
    const workerEntry = '/nowhere/worker.js';
    await assert.rejects(parallel({ ...examples(true, 'classes'), workers: 2, workerEntry }), {
      code: 'EXECUTOR_LOST',
      message:
        /^training worker [12] of 2 was lost: it exited with code 1 \(Error: Cannot find module '\/nowhere\/worker\.js'\)$/,
    });
  });

  it('refuses counts that make no sense', async () => {
    const good = examples(true, 'classes');
    for (const [wrong, message] of [
      [{ workers: 0 }, 'workers is 0, expected an integer from 1 to 64'],
      [{ workers: 1.5 }, 'workers is 1.5, expected an integer from 1 to 64'],
      [{ microShards: 0 }, 'microShards is 0, expected an integer from 1 to 1024'],
    ] as const) {
      await assert.rejects(parallel({ ...good, ...wrong }), { code: 'INVALID_REQUEST', message });
    }
  });

  it('does not keep a program alive that has forgotten it, and its workers end with that program', async () => {
    const module = new URL('../../../src/training/parallel/train-data-parallel.js', import.meta.url).href;
    const script = `
      import { trainDataParallel } from ${JSON.stringify(module)};
      const training = trainDataParallel({ features: Float64Array.of(1, 2, 3, 4), width: 2, classes: [0, 1], workers: 2, epochs: 9 });
      const { value } = await training.next();
      console.log(JSON.stringify(value.pids));
    `;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
      timeout: 20_000,
    });
    const pids = JSON.parse(stdout) as number[];
    assert.equal(pids.length, 2);
    for (const deadline = Date.now() + 10_000; pids.some(isAlive); ) {
      assert.ok(Date.now() < deadline, 'workers are left');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  });
});
