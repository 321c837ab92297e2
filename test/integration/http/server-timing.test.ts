import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { numbers, startBusyServer } from '../../support/busy.ts';
import { gatherPoison, ident, loopHang, MLP_WIDTHS, mlp } from '../../support/models.ts';
import { bytesOf } from '../../support/onnx-builder.ts';
import { type Answer, expectError, type InferRequest, useServer } from '../../support/server.ts';

/** The Server-Timing header: stages that add up, a total that can be believed, and how the batch came about. */

const STAGES = ['decode', 'queue', 'handover', 'compute', 'handback', 'encode'];

interface Timing {
  /** Milliseconds by stage, `total` among them. */
  readonly ms: Readonly<Record<string, number>>;
  /** What the compute stage says of its batch. */
  readonly batch:
    | { readonly rows: number; readonly requests: number; readonly reason: string; readonly shareMs: number }
    | undefined;
}

function timingOf({ headers }: Answer): Timing {
  const ms: Record<string, number> = {};
  let batch: Timing['batch'];
  for (const entry of String(headers['server-timing']).split(', ')) {
    const match = /^(\w+);dur=(\d+\.\d{3})(?:;desc="rows=(\d+) requests=(\d+) reason=(\w+) share=(\d+\.\d{3})")?$/.exec(
      entry,
    );
    assert.ok(match !== null, entry);
    ms[match[1]!] = Number(match[2]);
    if (match[3] !== undefined) {
      assert.equal(match[1], 'compute');
      batch = { rows: Number(match[3]), requests: Number(match[4]), reason: match[5]!, shareMs: Number(match[6]) };
    }
  }
  return { ms, batch };
}

const sumOfParts = ({ ms: { total: _, ...parts } }: Timing): number =>
  Object.values(parts).reduce((sum, part) => sum + part, 0);

/** Whether the parts add up to the total within 5 %, or within what rounding each to a microsecond may cost. */
function addsUp(timing: Timing): boolean {
  const { total } = timing.ms;
  return Math.abs(sumOfParts(timing) - total!) <= Math.max(0.05 * total!, 0.005);
}

function assertAddsUp(timing: Timing): void {
  assert.ok(addsUp(timing), JSON.stringify(timing.ms));
}

describe('Server-Timing', () => {
  const running = useServer(
    () => ({ ident: ident('FP32'), mlp: mlp(MLP_WIDTHS.mlp), slow: loopHang(), gather: gatherPoison() }),
    { instances: 1 },
  );

  const timed = async (send: () => Promise<Answer>): Promise<{ answer: Answer; clientMs: number }> => {
    const start = performance.now();
    const answer = await send();
    return { answer, clientMs: performance.now() - start };
  };
  const row = (width: number): InferRequest => ({
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, width], data: Array(width).fill(0.5) }],
  });
  const trips = (count: number): InferRequest => ({
    inputs: [{ name: 'trips', datatype: 'INT64', shape: [1], data: [count] }],
  });

  it('parts add up to the total, and the total to what clients see, for 400 requests under concurrency', async () => {
    const before = { mlp: await running().statistics('mlp'), ident: await running().statistics('ident') };
    const section = bytesOf(new Float32Array(784).fill(0.5));
    const binary = {
      parameters: { binary_data_output: true },
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 784], parameters: { binary_data_size: section.length } }],
    };
    const kinds: (() => Promise<Answer>)[] = [
      () => running().infer('mlp', row(784)),
      () => running().inferBinary('mlp', binary, [section]),
      () => running().infer('ident', row(4)),
      () => running().infer('ident', row(4)),
    ];
    const timings: Timing[] = [];
    const client = async (): Promise<void> => {
      for (let i = 0; i < 10; i++) {
        for (const kind of kinds.slice(0, 2 + (i % 3))) {
          const { answer, clientMs } = await timed(kind);
          assert.equal(answer.status, 200);
          const timing = timingOf(answer);
          assert.deepEqual(Object.keys(timing.ms), [...STAGES, 'total']);
          assert.ok(timing.ms['total']! <= clientMs + 0.1, `${timing.ms['total']} of ${clientMs} ms`);
          assert.ok(timing.batch!.rows >= 1 && timing.batch!.requests === timing.batch!.rows);
          assert.match(timing.batch!.reason, /^(idle|freed|full)$/);
          const shareMs = timing.ms['compute']! / timing.batch!.rows;
          assert.ok(Math.abs(timing.batch!.shareMs - shareMs) < 0.002, `${timing.batch!.shareMs}, not ${shareMs}`);
          timings.push(timing);
        }
      }
    };
    await Promise.all(Array.from({ length: 14 }, client));
    assert.ok(timings.length >= 400);
    // The total has a stamp of its own, and now and then the system takes the core away between it and the last part's.
    const off = timings.filter((timing) => !addsUp(timing));
    assert.ok(off.length <= 0.01 * timings.length, `${off.length} of ${timings.length}: ${JSON.stringify(off)}`);
    const whole = timings.reduce((sum, { ms }) => sum + ms['total']!, 0);
    const parts = timings.reduce((sum, timing) => sum + sumOfParts(timing), 0);
    assert.ok(Math.abs(parts - whole) <= 0.02 * whole, `${parts} of ${whole} ms`);
    assert.ok(
      timings.some(({ batch }) => batch!.requests > 1),
      'some requests shared a run',
    );

    // A run of n requests is named by n answers, so that the runs can be counted from the answers.
    const after = { mlp: await running().statistics('mlp'), ident: await running().statistics('ident') };
    const runs =
      after.mlp.execution_count -
      before.mlp.execution_count +
      after.ident.execution_count -
      before.ident.execution_count;
    const counted = timings.reduce((sum, { batch }) => sum + 1 / batch!.requests, 0);
    assert.ok(Math.abs(counted - runs) < 1e-6, `${counted} of ${runs} runs`);
  });

  it('the total is what a lone client waits for, but for the way there and back', async () => {
    for (let i = 0; i < 3; i++) {
      const { answer, clientMs } = await timed(() => running().infer('slow', trips(100_000)));
      const timing = timingOf(answer);
      assertAddsUp(timing);
      assert.ok(timing.ms['compute']! > 0.8 * timing.ms['total']!, 'the run is what takes the time');
      assert.ok(timing.ms['total']! <= clientMs);
      assert.ok(
        clientMs - timing.ms['total']! < Math.max(30, 0.3 * clientMs),
        `${timing.ms['total']} of ${clientMs} ms`,
      );
    }
  });

  it('a large request takes its time where it is spent', async () => {
    const { ms } = timingOf(await running().infer('ident', row(200_000)));
    assert.ok(ms['decode']! > 1 && ms['encode']! > 1, JSON.stringify(ms));
    assertAddsUp({ ms, batch: undefined });
  });

  it('waiting behind another run is queue', async (t) => {
    const busy = await startBusyServer(t);
    const second = busy.running.infer('ident', numbers([1]));
    await busy.until(2, 1);
    await new Promise((resolve) => setTimeout(resolve, 100));
    busy.release();
    const { ms, batch } = timingOf(await second);
    assert.ok(ms['queue']! >= 100 && ms['queue']! > 0.5 * ms['total']!, JSON.stringify(ms));
    assert.equal(batch!.reason, 'freed');
    await busy.first;
  });

  it('errors say how far their request came', async (t) => {
    const cases: [Answer, string[]][] = [
      [await running().infer('ident', '{'), ['decode', 'total']],
      [await running().infer('ident', row(4), { 'content-encoding': 'br' }), ['decode', 'total']],
      [await running().infer('nope', row(4)), ['decode', 'total']],
      [
        await running().infer('gather', { inputs: [{ name: 'ids', datatype: 'INT64', shape: [1], data: [99] }] }),
        ['decode', 'queue', 'compute', 'total'],
      ],
    ];
    const busy = await startBusyServer(t);
    const expired = await busy.running.infer('ident', numbers([1], { timeout: 10_000 }));
    expectError(expired, 'DEADLINE_EXCEEDED');
    cases.push([expired, ['decode', 'queue', 'total']]);
    busy.release();
    for (const [answer, stages] of cases) {
      assert.notEqual(answer.status, 200);
      const timing = timingOf(answer);
      assert.deepEqual(Object.keys(timing.ms), stages, answer.body.toString());
      assertAddsUp(timing);
    }
    assert.ok(timingOf(expired).ms['queue']! >= 10);
  });
});
