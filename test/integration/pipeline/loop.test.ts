import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { definePipeline, type Pipeline, type PipelineContext, Type } from '../../../src/index.ts';
import { runSegment, watchLoop } from '../../../src/pipeline/loop-watch.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';
import { expectError, parseJson, startServer } from '../../support/server.ts';

const WORK = pathToFileURL(path.join(REPOSITORY_ROOT, 'dist/test/support/pipelines/work.js'));

function numbered(name: string, run: (n: number, context: PipelineContext) => Promise<number>): Pipeline {
  return definePipeline({
    name,
    input: { n: Type.Number() },
    output: { n: Type.Number() },
    run: async ({ n }, context) => ({ n: await run(n, context) }),
  });
}

/** Holds the loop; returns for how long, which is more where the machine is busy. */
function busy(ms: number): number {
  const start = performance.now();
  let now = start;
  while (now < start + ms) now = performance.now();
  return now - start;
}

const turn = (): Promise<void> => new Promise(setImmediate);

describe('the event loop', () => {
  test('segments are counted for the call that they are of, however it awaits', async () => {
    const unwatch = watchLoop();
    const user = (): { ms: number; held(ms: number): void; unhandled(): void } => ({
      ms: 0,
      held(ms) {
        this.ms += ms;
      },
      unhandled() {},
    });
    const [one, two] = [user(), user()];
    let expectedMs = 0;
    let otherMs = 0;
    const work = async (): Promise<void> => {
      const hold = (): void => {
        expectedMs += busy(10);
      };
      hold();
      await turn();
      hold();
      await Promise.all(
        [1, 2].map(async () => {
          await null;
          hold();
        }),
      );
      await Promise.resolve().then(hold);
      for await (const _ of (async function* () {
        await turn();
        hold();
        yield 1;
      })());
      // Another's segment within this one is not counted here.
      runSegment(two, () => {
        otherMs += busy(10);
      });
    };
    await Promise.all([runSegment(one, work), turn().then(() => busy(30))]);
    unwatch();
    assert.ok(expectedMs >= 60);
    assert.ok(one.ms >= expectedMs && one.ms < expectedMs + 8, `${one.ms} ms for ${expectedMs}`);
    assert.ok(two.ms >= otherMs && two.ms < otherMs + 8, `${two.ms} ms for ${otherMs}`);
  });

  test('a pipeline that holds it is warned about by name, not with every call; the metric has all', async (t) => {
    const pipelines = [
      numbered('heavy', async (n) => {
        await turn();
        // Many short ones in one turn hold the others up as one long one does.
        await Promise.all(Array.from({ length: 10 }, async () => void busy(n / 10)));
        return n;
      }),
      numbered('light', async (n) => n),
    ];
    const server = await startServer(t, {}, {}, { pipelines });
    for (const name of ['heavy', 'light']) {
      for (let i = 0; i < 3; i++) {
        const answer = await server.send('POST', `/pipelines/${name}`, JSON.stringify({ n: 40 }));
        parseJson(answer, 200);
        const own = Number(/own;dur=([\d.]+)/.exec(String(answer.headers['server-timing']))![1]);
        assert.ok(name === 'heavy' ? own >= 40 : own < 40, `${name}: ${own} ms`);
      }
    }
    const lines = server.logged.filter(({ msg }) => /'heavy' held the event loop/.test(msg));
    assert.equal(lines.length, 1);
    assert.match(lines[0]!.msg, /^pipeline 'heavy' held the event loop for \d\d+ ms in one go/);
    const metrics = await server.metrics();
    const above =
      metrics.value('shoal_pipeline_loop_hold_seconds_count', { pipeline: 'heavy' }) -
      metrics.value('shoal_pipeline_loop_hold_seconds_bucket', { pipeline: 'heavy', le: '0.025' });
    assert.equal(above, 3);
    assert.ok(metrics.value('shoal_pipeline_work_seconds_total', { pipeline: 'heavy', part: 'own' }) >= 0.12);
    assert.ok(metrics.value('shoal_pipeline_loop_hold_seconds_count', { pipeline: 'light' }) >= 3);
  });

  test('offload() runs work on a thread: the loop goes on meanwhile', async (t) => {
    const away = numbered('away', async (n, { offload }) => {
      const numbers = new Float64Array(1000).fill(n);
      const sum = await offload<number>(WORK, 'sum', { numbers, busyMs: 500 }, { transfer: [numbers.buffer] });
      assert.equal(numbers.length, 0, 'the memory was handed over');
      return sum;
    });
    const failing = numbered('failing', async (n, { offload }) =>
      offload<number>(WORK, n === 0 ? 'fail' : 'missing', 'on purpose'),
    );
    const server = await startServer(t, {}, {}, { pipelines: [away, failing] });
    const answer = await server.send('POST', '/pipelines/away', '{"n":2}');
    assert.deepEqual(parseJson(answer, 200), { n: 2000 });
    const timing = String(answer.headers['server-timing']);
    assert.ok(Number(/own;dur=([\d.]+)/.exec(timing)![1]) < 400, timing);
    assert.ok(Number(/offload;dur=([\d.]+);desc="calls=1"/.exec(timing)![1]) >= 500, timing);
    for (const n of [0, 1])
      expectError(await server.send('POST', '/pipelines/failing', JSON.stringify({ n })), 'INFERENCE_FAILED');
    assert.ok(server.logged.some(({ msg }) => msg.includes('on purpose')));
  });

  test('work on a thread ends with the call', async (t) => {
    let ended = (_error: unknown): void => {};
    const end = new Promise<unknown>((resolve) => {
      ended = resolve;
    });
    const hanging = numbered('hanging', (_n, { offload }) =>
      offload<number>(WORK, 'hang', 0).catch((error: unknown) => {
        ended(error);
        throw error;
      }),
    );
    const server = await startServer(t, {}, { requestTimeout: '100ms' }, { pipelines: [hanging] });
    expectError(await server.send('POST', '/pipelines/hanging', '{"n":1}'), 'DEADLINE_EXCEEDED');
    assert.equal(((await end) as { code: string }).code, 'DEADLINE_EXCEEDED');
  });
});
