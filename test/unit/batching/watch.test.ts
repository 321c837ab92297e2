import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BatchWatch } from '../../../src/batching/batcher.ts';
import type { PendingRequest } from '../../../src/batching/request.ts';
import { rowsIn, rowsOf, signatureOf } from '../../support/make-request.ts';
import { type Rig, setUp } from './rig.ts';

async function answerOf(request: PendingRequest): Promise<number[][]> {
  return rowsIn((await request.promise).outputs[0]!);
}

function rowsRun({ members }: Rig['runners'][0]['batches'][0]): number[] {
  return members.flatMap(({ inputs }) => rowsIn(inputs.tensors[0]!).map(([value]) => value!));
}

async function finishAll({ runners }: Rig): Promise<void> {
  while (runners.some(({ current }) => current !== undefined)) {
    for (const runner of runners) if (runner.current !== undefined) await runner.finish();
  }
}

/** A watch over every batch; the test ends each look itself. */
function watchAll(): { watch: BatchWatch; looks: ((mustRunAgain: boolean) => void)[] } {
  const looks: ((mustRunAgain: boolean) => void)[] = [];
  return { looks, watch: { keeps: () => 1, examine: () => new Promise((resolve) => looks.push(resolve)) } };
}

describe('a batcher with a watch', () => {
  it('answers nobody from a run that is looked at, and starts nothing on its runner, before the look is over', async () => {
    const { watch, looks } = watchAll();
    const rig = setUp({ watch });
    const first = [rig.send(rowsOf([1])), rig.send(rowsOf([2]))];
    await rig.clock.settle();
    const later = rig.send(rowsOf([3]));
    await rig.runners[0]!.finish();
    assert.deepEqual([rig.settled.length, rig.runners[0]!.batches.length, looks.length], [0, 1, 1]);
    looks[0]!(false);
    await rig.clock.settle();
    assert.deepEqual(await Promise.all(first.map(answerOf)), [[[1]], [[2]]]);
    assert.deepEqual(rig.runners[0]!.batches.map(rowsRun), [[1, 2], [3]]);
    await rig.runners[0]!.finish();
    looks[1]!(false);
    assert.deepEqual(await answerOf(later), [[3]]);
  });

  it('runs the members again, each alone, when the look says so', async () => {
    const { watch, looks } = watchAll();
    const rig = setUp({ watch });
    const requests = [1, 2, 3].map((value) => rig.send(rowsOf([value])));
    await rig.clock.settle();
    await rig.runners[0]!.answer(new Map([[0, rowsOf([7], [8], [9])]]));
    looks.shift()!(true);
    await rig.clock.settle();
    for (let i = 0; i < 3; i++) {
      await rig.runners[0]!.finish();
      // A request that was alone is not run again whatever a look says.
      looks.shift()!(true);
      await rig.clock.settle();
    }
    assert.deepEqual(await Promise.all(requests.map(answerOf)), [[[1]], [[2]], [[3]]]);
    assert.deepEqual(rig.runners[0]!.batches.map(rowsRun), [[1, 2, 3], [1], [2], [3]]);
    assert.deepEqual(rig.unbatchable, []);
    assert.ok(rig.batcher.shares);
  });

  it('lets go of a runner that dies while its run is looked at', async () => {
    const { watch, looks } = watchAll();
    const rig = setUp({ watch });
    const request = rig.send(rowsOf([1]));
    await rig.clock.settle();
    await rig.runners[0]!.finish();
    rig.batcher.removeRunner(rig.runners[0]!);
    looks[0]!(false);
    assert.deepEqual(await answerOf(request), [[1]]);
    rig.add();
    const next = rig.send(rowsOf([2]));
    await rig.clock.settle();
    await rig.runners[1]!.finish();
    looks[1]!(false);
    assert.deepEqual(await answerOf(next), [[2]]);
  });

  it('takes as many rows as the watch allows, which is told what waits in its order', async () => {
    const asked: number[][] = [];
    const watch: BatchWatch = {
      keeps: () => 0,
      examine: () => Promise.reject(new Error('nothing was kept')),
      limit: (ahead, maxRows) => {
        asked.push([...ahead, maxRows]);
        return 2;
      },
    };
    const rig = setUp({ watch });
    const requests = [[[1]], [[2]], [[3], [4]], [[5]]].map((rows) => rig.send(rowsOf(...rows)));
    await rig.clock.settle();
    await finishAll(rig);
    await Promise.all(requests.map(answerOf));
    assert.deepEqual(rig.runners[0]!.batches.map(rowsRun), [[1, 2], [3, 4], [5]]);
    assert.deepEqual(asked, [
      [1, 1, 2, 1, 8],
      [2, 1, 8],
      [1, 8],
    ]);
  });
});

describe('a batcher that is told to', () => {
  it('share runs has those who wait run alone, by the signature they were checked by', async () => {
    const unbatched = signatureOf({ batched: false });
    const rig = setUp({ signature: unbatched, shares: false, maxBatchRows: 1 });
    // To a signature without rows, these are one row each, whatever they have.
    const early = [[[1], [2]], [[3]], [[4]]].map((rows) => rig.send(rowsOf(...rows), { signature: unbatched }));
    await rig.clock.settle();
    rig.batcher.share(signatureOf(), 8, []);
    const late = [[[5]], [[6], [7]]].map((rows) => rig.send(rowsOf(...rows)));
    // It was checked before and comes only now.
    const slow = rig.send(rowsOf([8], [9]), { signature: unbatched });
    await rig.clock.settle();
    await finishAll(rig);
    assert.deepEqual(await Promise.all([...early, ...late, slow].map(answerOf)), [
      [[1], [2]],
      [[3]],
      [[4]],
      [[5]],
      [[6], [7]],
      [[8], [9]],
    ]);
    const runs = rig.runners[0]!.batches.map(rowsRun);
    assert.deepEqual(
      runs.toSorted((a, b) => a[0]! - b[0]!),
      [[1, 2], [3], [4], [5, 6, 7], [8, 9]],
    );
  });

  it('share no runs answers nobody from one that had not ended', async () => {
    const rig = setUp({ runners: 2 });
    // Two lanes, so that both runners have a run.
    const requests = [[[1]], [[2]], [[3, 0]], [[4, 0]]].map((rows) => rig.send(rowsOf(...rows)));
    await rig.clock.settle();
    rig.batcher.stopSharing();
    requests.push(rig.send(rowsOf([5])), rig.send(rowsOf([6])));
    await finishAll(rig);
    await Promise.all(requests.map(answerOf));
    const [shared, alone] = [
      [0, 1].map((i) => rig.runners[i]!.batches[0]!),
      rig.runners.flatMap((r) => r.batches.slice(1)),
    ];
    assert.deepEqual(shared.map(rowsRun), [
      [1, 2],
      [3, 4],
    ]);
    assert.deepEqual(
      alone.flatMap(rowsRun).toSorted((a, b) => a - b),
      [1, 2, 3, 4, 5, 6],
    );
    assert.ok(alone.every(({ members }) => members.length === 1));
  });
});
