import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  definePipeline,
  makeTensor,
  type Pipeline,
  type PipelineContext,
  readTensor,
  ShoalError,
  Type,
  tensor,
} from '../../../src/index.ts';
import { holdExecutors } from '../../support/busy.ts';
import { ident, tokenIds } from '../../support/models.ts';
import { expectError, parseJson, startServer } from '../../support/server.ts';
import { startService } from '../../support/service.ts';
import { echo, rows } from './fixtures.ts';

const MODELS = { ident_FP32: ident('FP32') };

/** A pipeline `p` of this body, with a number in and out. */
function numbered(run: (n: number, context: PipelineContext) => Promise<number> | number, name = 'p'): Pipeline {
  return definePipeline({
    name,
    input: { n: Type.Number() },
    output: { n: Type.Number() },
    run: async ({ n }, context) => ({ n: await run(n, context) }),
  });
}

/** One row of one number by the model. */
async function ask({ models }: PipelineContext, n: number, model = 'ident_FP32'): Promise<number> {
  const { outputs } = await models[model]!.infer({ x: rows([n]) });
  return (readTensor(outputs['y']!) as Float32Array)[0]!;
}

const post = (n: unknown): string => JSON.stringify({ n });

describe('a pipeline and its models', () => {
  test('500 crops wait for room in a queue of eight rows, and share runs with those of other requests', async (t) => {
    const crops = numbered(async (n, context) => {
      const all = await Promise.all(Array.from({ length: 500 }, (_, i) => ask(context, n + i)));
      assert.deepEqual(
        all,
        all.map((_, i) => n + i),
      );
      return all.length;
    });
    const server = await startServer(t, MODELS, { maxQueueRows: 8, instances: 1 }, { pipelines: [crops] });
    const answers = await Promise.all([0, 1000].map((n) => server.send('POST', '/pipelines/p', post(n))));
    for (const answer of answers) assert.deepEqual(parseJson(answer, 200), { n: 500 });
    const metrics = await server.metrics();
    const runs = metrics.sum('shoal_batch_rows_count', { model: 'ident_FP32' });
    const ran = metrics.sum('shoal_batch_rows_sum', { model: 'ident_FP32' });
    assert.equal(ran, 1000);
    assert.ok(ran / runs > 4, `${ran / runs} rows per run`);
    assert.equal(metrics.sum('shoal_rejected_total'), 0);
    const refusing = numbered(async (_n, { models }) => {
      const all = Array.from({ length: 100 }, () =>
        models['ident_FP32']!.infer({ x: rows([1]) }, { whenFull: 'refuse' }),
      );
      return (await Promise.allSettled(all)).filter(({ status }) => status === 'rejected').length;
    });
    const service = await startService(t, MODELS, { maxQueueRows: 8 }, { pipelines: [refusing] });
    const { outputs } = await service.infer('p', { n: makeTensor('FP64', [1], Float64Array.of(1)) });
    assert.ok((readTensor(outputs['n']!) as Float64Array)[0]! > 0, 'who does not want to wait is refused');
  });

  test('a caller who leaves takes along what still waits', async (t) => {
    let signal: AbortSignal | undefined;
    const waiting = numbered(async (n, context) => {
      signal = context.signal;
      await Promise.all([ask(context, n), ask(context, n + 1)]);
      return n;
    });
    const server = await startServer(t, MODELS, { instances: 1 }, { pipelines: [waiting] });
    const release = holdExecutors();
    t.after(async () => release());
    const first = server.server.infer('ident_FP32', { x: rows([0]) });
    const version = server.server.service.registry.get('ident_FP32', undefined);
    const controller = new AbortController();
    const left = server.send('POST', '/pipelines/p', post(1), {}, { signal: controller.signal });
    while (version.queuedRows < 2) await new Promise(setImmediate);
    controller.abort();
    await assert.rejects(left);
    while (version.queuedRows > 0) await new Promise(setImmediate);
    assert.equal(signal!.aborted, true);
    assert.equal((signal!.reason as ShoalError).code, 'CANCELLED');
    release();
    await first;
    const metrics = await server.metrics();
    assert.equal(metrics.sum('shoal_cancelled_total', { model: 'ident_FP32' }), 2);
    assert.equal(metrics.sum('shoal_batch_rows_sum', { model: 'ident_FP32' }), 1, 'only the first was run');
    assert.equal(
      metrics.value('shoal_pipeline_requests_total', { pipeline: 'p', protocol: 'plain', code: 'cancelled' }),
      1,
    );
    assert.equal(metrics.value('shoal_pipeline_inflight_requests', { pipeline: 'p' }), 0);
  });

  test('a deadline ends it with 504, naming the step it waits for', async (t) => {
    let code = '';
    const slow = numbered(async (n, context) => {
      assert.ok(context.deadlineMs - Date.now() <= 300);
      return ask(context, n).catch((error: ShoalError) => {
        code = error.code;
        throw error;
      });
    });
    const server = await startServer(t, MODELS, { instances: 1, requestTimeout: '300ms' }, { pipelines: [slow] });
    const release = holdExecutors();
    t.after(async () => release());
    const answer = await server.send('POST', '/pipelines/p', post(1));
    expectError(answer, 'DEADLINE_EXCEEDED', /pipeline 'p'.* step 1 \(model 'ident_FP32'\)/);
    while (code === '') await new Promise(setImmediate);
    assert.ok(code === 'CANCELLED' || code === 'DEADLINE_EXCEEDED', code);
  });

  test('one that ignores its signal is ended by the deadline all the same', async (t) => {
    const deaf = numbered(() => new Promise<number>(() => {}));
    const server = await startServer(t, MODELS, { requestTimeout: '50ms' }, { pipelines: [deaf] });
    expectError(await server.send('POST', '/pipelines/p', post(1)), 'DEADLINE_EXCEEDED', /pipeline 'p' did not answer/);
  });

  test('an error names the step and keeps its code', async (t) => {
    const steps: Record<number, (context: PipelineContext) => Promise<unknown>> = {
      1: ({ models }) => {
        const ids = (id: bigint) => makeTensor('INT64', [1, 1], BigInt64Array.of(id));
        return models['tokens']!.infer({ input_ids: ids(10n ** 9n), attention_mask: ids(1n) });
      },
      2: ({ models }) => models['ident_FP32']!.infer({ x: makeTensor('FP64', [1, 1], Float64Array.of(1)) }),
      3: ({ models }) => models['nope']!.infer({}),
      4: ({ models }) => models['ident_FP32']!.infer({ x: rows([1]) }, { timeoutMs: 0 }),
      5: () => Promise.reject(new ShoalError('INVALID_REQUEST', 'there is no face in the picture')),
      6: () => Promise.reject(new TypeError('secret')),
      7: () => Promise.reject(undefined),
      8: async ({ models }) => models['ident_FP32']!.infer(null as unknown as Record<string, never>),
    };
    const failing = numbered(async (n, context) => {
      await ask(context, n);
      await steps[n]!(context);
      return n;
    });
    const server = await startServer(t, { ...MODELS, tokens: tokenIds() }, {}, { pipelines: [failing] });
    const send = (n: number) => server.send('POST', '/pipelines/p', post(n));
    expectError(
      await send(2),
      'INVALID_REQUEST',
      /^pipeline 'p', step 2 \(model 'ident_FP32'\): input 'x' .* is FP32, the request has FP64/,
    );
    expectError(await send(3), 'MODEL_NOT_FOUND', /^pipeline 'p', step 2 \(model 'nope'\): there is no model 'nope'/);
    expectError(await send(4), 'DEADLINE_EXCEEDED', /^pipeline 'p', step 2/);
    expectError(await send(5), 'INVALID_REQUEST', /^pipeline 'p': there is no face in the picture$/);
    const own = expectError(await send(6), 'INFERENCE_FAILED', /^pipeline 'p' failed; the server's log says why$/);
    assert.doesNotMatch(own, /secret/);
    const line = server.logged.find(({ msg }) => msg.includes('secret'));
    assert.match(line!.err!.stack, /calls\.test/);
    expectError(await send(7), 'INFERENCE_FAILED');
    expectError(await send(8), 'INVALID_REQUEST', /step 2 .*needs input 'x'/);
    // ONNX Runtime refuses the row, which is the caller's fault.
    expectError(await send(1), 'INVALID_REQUEST', /^pipeline 'p', step 2 \(model 'tokens'\): /);
  });

  test('a result that does not fit is the pipeline’s fault, and names the field', async (t) => {
    const results: unknown[] = [
      undefined,
      3,
      {},
      { n: 'x', y: rows([1]) },
      { n: 1, y: rows([1, 2]) },
      { n: 1, y: 5 },
      { n: Number.NaN, y: rows([1]) },
    ];
    const wrong = definePipeline({
      name: 'p',
      input: { n: Type.Integer() },
      output: { n: Type.Number(), y: tensor('FP32', [-1, 1]) },
      run: ({ n }) => results[n] as { n: number; y: ReturnType<typeof rows> & { shape: readonly [number, 1] } },
    });
    const server = await startServer(t, MODELS, {}, { pipelines: [wrong] });
    const texts = [
      /gave undefined, expected an object/,
      /gave 3/,
      /output 'n' of pipeline 'p' is missing/,
      /output 'n' .* is "x": must be number/,
      /output 'y' .* has shape \[1,2\], expected FP32 \[-1,1\]/,
      /output 'y' .* is 5, expected a tensor/,
      /output 'n'/,
    ];
    for (const [n, text] of texts.entries())
      expectError(await server.send('POST', '/pipelines/p', post(n)), 'INFERENCE_FAILED', text);
  });

  test('pipelines ask pipelines, and priority and signal go along', async (t) => {
    const inner = numbered((n, context) => ask(context, n + 1), 'inner');
    const outer = numbered(async (n, { models }) => {
      const { outputs } = await models['inner']!.infer({ n: makeTensor('FP64', [1], Float64Array.of(n)) });
      if (n < 0) await models['inner']!.infer({});
      return (readTensor(outputs['n']!) as Float64Array)[0]! * 2;
    }, 'outer');
    const server = await startServer(t, MODELS, {}, { pipelines: [inner, outer] });
    assert.deepEqual(parseJson(await server.send('POST', '/pipelines/outer', post(4)), 200), { n: 10 });
    const answer = await server.send('POST', '/pipelines/outer', post(-4));
    expectError(
      answer,
      'INVALID_REQUEST',
      /^pipeline 'outer', step 2 \(pipeline 'inner'\): pipeline 'inner' needs input 'n'/,
    );
  });

  test('one that calls itself is ended by its deadline at the latest', async (t) => {
    const self = numbered(async (n, { models }) => {
      if (n === 0) return 0;
      const { outputs } = await models['p']!.infer({ n: makeTensor('FP64', [1], Float64Array.of(n - 1)) });
      return (readTensor(outputs['n']!) as Float64Array)[0]! + 1;
    });
    const server = await startServer(t, MODELS, { requestTimeout: '2s', maxQueueRows: 50 }, { pipelines: [self] });
    assert.deepEqual(parseJson(await server.send('POST', '/pipelines/p', post(10)), 200), { n: 10 });
    // Without an end, the limit of calls under way stops it.
    expectError(await server.send('POST', '/pipelines/p', post(-1)), 'QUEUE_FULL', /pipeline 'p' is full/);
  });

  test('draining waits for calls that were taken, and refuses new ones', async (t) => {
    let goOn = (): void => {};
    const gate = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let began = (): void => {};
    const begun = new Promise<void>((resolve) => {
      began = resolve;
    });
    const gated = numbered(async (n, context) => {
      began();
      await gate;
      return ask(context, n);
    });
    const service = await startService(t, MODELS, {}, { pipelines: [gated] });
    const input = { n: makeTensor('FP64', [1], Float64Array.of(5)) };
    const call = service.infer('p', input);
    await begun;
    const drained = service.drain();
    await assert.rejects(service.infer('p', input), { code: 'SHUTTING_DOWN', message: /pipeline 'p'/ });
    goOn();
    const { outputs } = await call;
    assert.deepEqual(readTensor(outputs['n']!), Float64Array.of(5));
    await drained;
  });

  test('what is not done when the time to drain is over is told so', async (t) => {
    const deaf = numbered(() => new Promise<number>(() => {}));
    const service = await startService(t, MODELS, { drainTimeout: '50ms' }, { pipelines: [deaf] });
    const call = service.infer('p', { n: makeTensor('FP64', [1], Float64Array.of(5)) });
    await Promise.all([assert.rejects(call, { code: 'SHUTTING_DOWN' }), service.drain()]);
  });

  test('a call in the process is given up by its signal', async (t) => {
    const deaf = numbered(() => new Promise<number>(() => {}));
    const service = await startService(t, MODELS, {}, { pipelines: [deaf, echo()] });
    const signal = AbortSignal.timeout(20);
    await assert.rejects(service.infer('p', { n: makeTensor('FP64', [1], Float64Array.of(5)) }, { signal }), {
      code: 'CANCELLED',
    });
    await assert.rejects(service.infer('echo', { x: { ...rows([1]), bytes: Buffer.alloc(3) } }), {
      code: 'INVALID_REQUEST',
      message: /has 3 bytes/,
    });
  });
});
