import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { BatchingCheck } from '../../../src/serving/model-settings.ts';
import type { Verdict } from '../../../src/tensor/verdict.ts';
import {
  batchNormTraining,
  constantKind,
  diesTogether,
  dynamicQuantized,
  dynamicQuantizedTwin,
  floatIndex,
  gatherPoison,
  largeIds,
  leaksAbove5000,
  mat2,
  type RepositoryContent,
  randomNormal,
  softmaxAxis0,
  sumsByKernel,
} from '../../support/models.ts';
import { parseBinaryReply, startServer, TestServer } from '../../support/server.ts';

/** What `GET /v2/models/{m}/profile` has of a certificate. */
interface Shown {
  readonly verdict: Verdict;
  readonly evidence: 'generated' | 'samples' | 'real';
  readonly reason: string;
  readonly exact_sizes: readonly number[];
  readonly outputs: readonly {
    readonly name: string;
    readonly verdict: Verdict;
    readonly largest_difference: number;
    readonly largest_ulps: number;
  }[];
}

async function certificateOf(server: TestServer, model: string): Promise<Shown> {
  return ((await server.json(`/v2/models/${model}/profile`)) as { certificate: Shown }).certificate;
}

function batchingOf(server: TestServer, model: string): string {
  return server.server.summary().find(({ name }) => name === model)!.batching;
}

/** A request with one row of an input. */
interface OneRow {
  readonly name: string;
  readonly datatype: 'FP32' | 'INT32' | 'INT64';
  readonly data: readonly number[];
}

/** The bytes of all outputs of one row's answer. */
async function infer(server: TestServer, model: string, { name, datatype, data }: OneRow): Promise<string> {
  const inputs = [{ name, datatype, shape: [1, data.length], data }];
  const answer = await server.infer(model, { inputs, parameters: { binary_data_output: true } });
  return parseBinaryReply(answer)
    .sections.map((section) => section!.toString('hex'))
    .join();
}

const CALLERS = 64;

/** Rows of very different scale. */
function rowsOf(width: number): OneRow[] {
  return Array.from({ length: CALLERS }, (_, i) => ({
    name: 'x',
    datatype: 'FP32',
    data: Array.from({ length: width }, (_, k) => Math.fround(Math.sin(i * 31 + k) * [1, 300, 0.02][i % 3]!)),
  }));
}

const IDS: readonly OneRow[] = Array.from({ length: CALLERS }, (_, i) => ({
  name: 'ids',
  datatype: 'INT64',
  data: Array.from({ length: 4 }, (_, k) => 1000 + ((i * 3 + k * k + (i >> 3)) % 10)),
}));

/** All callers at once, so many times; each must get what it gets alone. */
async function assertAsAlone(
  server: TestServer,
  model: string,
  rows: readonly OneRow[],
  alone: readonly string[],
  rounds = 3,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const answers = await Promise.all(rows.map((row) => infer(server, model, row)));
    for (const [i, answer] of answers.entries()) assert.equal(answer, alone[i], `caller ${i} of round ${round}`);
  }
}

/** What each row is answered when no other is there. */
async function answersAlone(model: Buffer, rows: readonly OneRow[]): Promise<string[]> {
  const server = await TestServer.start({ alone: model }, { ...OPTIONS, maxBatchSize: 1, batchingCheck: 'load' });
  try {
    const answers: string[] = [];
    for (const row of rows) answers.push(await infer(server, 'alone', row));
    return answers;
  } finally {
    await server.close();
  }
}

const OPTIONS = { instances: 1, provider: 'cpu' } as const;

function start(models: RepositoryContent, batchingCheck: BatchingCheck = 'live'): Promise<TestServer> {
  return TestServer.start(models, { ...OPTIONS, batchingCheck });
}

describe('the certificate of a model', () => {
  const expected: Readonly<Record<string, [model: Buffer, verdict: Verdict, batching: RegExp]>> = {
    innocent: [mat2(), 'bit-exact', /^batched: rows answer the same alone and beside others, bit for bit/],
    twin: [dynamicQuantizedTwin(), 'bit-exact', /^batched: .* bit for bit/],
    quantized: [dynamicQuantized(), 'leaking', /^unbatched: rows influence each other: output 'y'/],
    softmax: [softmaxAxis0(), 'leaking', /^unbatched: rows influence each other: output 'y'/],
    // It goes on learning its statistics, so that not even the same row alone is answered the same twice.
    training: [batchNormTraining(), 'unknown', /^unbatched: its answers differ from run to run$/],
    random: [randomNormal(), 'unknown', /^unbatched: its answers differ from run to run$/],
    kernels: [sumsByKernel(), 'rounding', /^batched: .* within rounding \(at most \S+, \d+ ULPs, apart/],
    ids: [largeIds(), 'unknown', /^unbatched until real rows tell: generated inputs cannot run it: .*Gather/],
    small: [gatherPoison(), 'bit-exact', /^batched: .* bit for bit/],
    index: [floatIndex(), 'bit-exact', /^batched: .* bit for bit/],
    constant: [
      constantKind(),
      'unknown',
      /^unbatched until real rows tell: all rows had the same answer for output 'kind'/,
    ],
  };
  let server: TestServer;
  before(async () => {
    server = await start(Object.fromEntries(Object.entries(expected).map(([name, [model]]) => [name, model])));
  });
  after(() => server.close());

  for (const [name, [, verdict, batching]] of Object.entries(expected)) {
    it(`${name}: ${verdict}`, async () => {
      const shown = await certificateOf(server, name);
      assert.equal(shown.verdict, verdict);
      assert.equal(shown.evidence, 'generated');
      assert.match(batchingOf(server, name), batching);
      const metrics = await server.metrics();
      for (const output of shown.outputs) {
        const labels = { model: name, version: '1', output: output.name };
        assert.equal(metrics.value('shoal_batching_certificate', { ...labels, verdict: output.verdict }), 1);
        assert.equal(metrics.sum('shoal_batching_certificate', labels), 1);
      }
    });
  }

  it('says by how much rows differ, and which sizes were exact', async () => {
    const [kernels, innocent] = [await certificateOf(server, 'kernels'), await certificateOf(server, 'innocent')];
    assert.ok(kernels.outputs[0]!.largest_difference > 0 && kernels.outputs[0]!.largest_ulps >= 1);
    assert.deepEqual(innocent.exact_sizes, [1, 2, 3, 8]);
    assert.ok(!kernels.exact_sizes.includes(8));
  });

  it('knows of each output', async () => {
    const { outputs } = await certificateOf(server, 'constant');
    assert.deepEqual(
      outputs.map(({ name, verdict }) => [name, verdict]),
      [
        ['y', 'bit-exact'],
        ['kind', 'unknown'],
      ],
    );
  });
});

describe('a model whose rows influence each other', () => {
  for (const [name, model, width] of [
    ['dynamic quantisation', dynamicQuantized(), 8],
    ['softmax over the rows', softmaxAxis0(), 4],
  ] as const) {
    it(`answers ${CALLERS} callers at once as if each were alone: ${name}`, async (t) => {
      const rows = rowsOf(width);
      const alone = await answersAlone(model, rows);
      const server = await startServer(t, { model }, OPTIONS);
      await assertAsAlone(server, 'model', rows, alone);
      assert.match(batchingOf(server, 'model'), /^unbatched: rows influence each other/);
    });
  }
});

describe('real rows', () => {
  it('certify a model that made-up ones could not run; nobody has another answer meanwhile', async (t) => {
    const alone = await answersAlone(largeIds(), IDS);
    const server = await startServer(t, { ids: largeIds() }, OPTIONS);
    await assertAsAlone(server, 'ids', IDS, alone);
    const { verdict, evidence, exact_sizes } = await certificateOf(server, 'ids');
    assert.deepEqual([verdict, evidence, exact_sizes], ['bit-exact', 'real', [1, 2, 3, 8]]);
    assert.match(batchingOf(server, 'ids'), /^batched: .* bit for bit/);
    const { inference_count, execution_count } = await server.statistics('ids');
    assert.equal(inference_count, 3 * CALLERS);
    assert.ok(execution_count < 2.5 * CALLERS, `${execution_count} runs for ${inference_count} rows`);
    const metrics = await server.metrics();
    assert.equal(
      metrics.value('shoal_model_info', { model: 'ids', version: '1', provider: 'cpu', batching: 'batched' }),
      1,
    );
    assert.ok(metrics.value('shoal_batching_checks_total', { model: 'ids', version: '1', result: 'same' }) >= 1);
    assert.ok(metrics.value('shoal_batching_check_seconds_total', { model: 'ids', version: '1' }) > 0);
  });

  it('show that such a model leaks, and it stays unbatched', async (t) => {
    const model = largeIds({ leaks: true });
    const alone = await answersAlone(model, IDS);
    const server = await startServer(t, { ids: model }, OPTIONS);
    await assertAsAlone(server, 'ids', IDS, alone);
    const { verdict, evidence } = await certificateOf(server, 'ids');
    assert.deepEqual([verdict, evidence], ['leaking', 'real']);
    assert.match(batchingOf(server, 'ids'), /^unbatched: rows influence each other: output 'y' of a row changes/);
  });

  it('certify an output that is the same for all of them once they are many', async (t) => {
    const rows = rowsOf(4);
    const alone = await answersAlone(constantKind(), rows);
    const server = await startServer(t, { constant: constantKind() }, OPTIONS);
    await assertAsAlone(server, 'constant', rows, alone, 2);
    const { outputs } = await certificateOf(server, 'constant');
    assert.deepEqual(
      outputs.map(({ verdict }) => verdict),
      ['bit-exact', 'bit-exact'],
    );
    assert.match(batchingOf(server, 'constant'), /^batched/);
  });

  it('certify a model whose configuration lets requests have rows, by the rows of its requests', async (t) => {
    const config = Buffer.from('max_batch_size: 8');
    const server = await startServer(t, { ids: { 'config.pbtxt': config, 1: largeIds() } }, OPTIONS);
    assert.match(batchingOf(server, 'ids'), /^unbatched until real rows tell: .* \(config.pbtxt has max_batch_size 8/);
    const data = IDS.slice(0, 5).flatMap((row) => row.data);
    for (let i = 0; i < 3; i++) {
      const { status } = await server.infer('ids', {
        inputs: [{ name: 'ids', datatype: 'INT64', shape: [5, 4], data }],
      });
      assert.equal(status, 200);
    }
    assert.match(batchingOf(server, 'ids'), /^batched: .* bit for bit/);
    const { max_batch_size } = (await server.json('/v2/models/ids/config')) as { max_batch_size: number };
    assert.equal(max_batch_size, 8);
  });

  it('that are all alike tell nothing', async (t) => {
    const server = await startServer(t, { ids: largeIds() }, OPTIONS);
    for (let i = 0; i < 20; i++) await infer(server, 'ids', IDS[0]!);
    assert.equal((await certificateOf(server, 'ids')).verdict, 'unknown');
    assert.match(batchingOf(server, 'ids'), /^unbatched until real rows tell/);
  });

  it('show in the first shared runs what made-up rows could not: then none are shared, and nobody was answered wrongly', async (t) => {
    // Only rows above 5000 leak; the largest of them is not changed by others.
    const rows = Array.from(
      { length: CALLERS },
      (_, i): OneRow => ({ name: 'x', datatype: 'FP32', data: [1, 2, 3, 6000 + 10 * (CALLERS - i)] }),
    );
    const alone = await answersAlone(leaksAbove5000(), rows);
    const server = await startServer(t, { hidden: leaksAbove5000() }, OPTIONS);
    assert.match(batchingOf(server, 'hidden'), /^batched/);
    await assertAsAlone(server, 'hidden', rows, alone);
    assert.match(
      batchingOf(server, 'hidden'),
      /^unbatched: rows influence each other: output 'y' of a row changes beside other rows \(seen in a run of \d+ rows\)$/,
    );
    const { verdict, evidence } = await certificateOf(server, 'hidden');
    assert.deepEqual([verdict, evidence], ['leaking', 'real']);
    assert.ok(server.logged.some(({ msg }) => /^model 'hidden' is unbatched: rows influence each other/.test(msg)));
    const metrics = await server.metrics();
    assert.equal(metrics.value('shoal_batching_checks_total', { model: 'hidden', version: '1', result: 'changed' }), 1);
  });

  it('that end the executor when they are together cost nobody an answer', async (t) => {
    const rows = Array.from(
      { length: 20 },
      (_, i): OneRow => ({ name: 'ids', datatype: 'INT32', data: [1000 + (i % 10)] }),
    );
    const alone = await answersAlone(diesTogether(), rows);
    const server = await startServer(t, { deadly: diesTogether() }, OPTIONS);
    await assertAsAlone(server, 'deadly', rows, alone);
    assert.match(batchingOf(server, 'deadly'), /^unbatched: real rows together cannot run it: .*SIGFPE/);
    const metrics = await server.metrics();
    assert.equal(metrics.value('shoal_batching_checks_total', { model: 'deadly', version: '1', result: 'failed' }), 1);
    assert.equal(metrics.value('shoal_executor_restarts_total', { model: 'deadly', version: '1' }), 1);
  });

  it('are not looked at when told so', async (t) => {
    const server = await start({ ids: largeIds(), twin: dynamicQuantizedTwin() }, 'load');
    t.after(() => server.close());
    for (const row of IDS) await infer(server, 'ids', row);
    await Promise.all(rowsOf(8).map((row) => infer(server, 'twin', row)));
    assert.match(batchingOf(server, 'ids'), /^unbatched: generated inputs cannot run it/);
    assert.equal((await server.metrics()).sum('shoal_batching_checks_total'), 0);
  });
});

describe('samples', () => {
  const config = (file: string) => Buffer.from(`parameters { key: "shoal.samples" value { string_value: "${file}" } }`);
  const requests = (...rows: readonly (readonly number[])[]) =>
    Buffer.from(
      JSON.stringify(rows.map((data) => ({ inputs: [{ name: 'ids', datatype: 'INT64', shape: [1, 4], data }] }))),
    );

  it('stand in for made-up rows, so that a model is batched from its first request', async (t) => {
    const samples = requests([1000, 1001, 1002, 1003], [1009, 1000, 1004, 1002]);
    const server = await start({
      ids: { 'config.pbtxt': config('samples.json'), 'samples.json': samples, 1: largeIds() },
      leaks: { 'config.pbtxt': config('samples.json'), 'samples.json': samples, 1: largeIds({ leaks: true }) },
    });
    t.after(() => server.close());
    const [ids, leaks] = [await certificateOf(server, 'ids'), await certificateOf(server, 'leaks')];
    assert.deepEqual([ids.verdict, ids.evidence], ['bit-exact', 'samples']);
    assert.match(batchingOf(server, 'ids'), /^batched: .* bit for bit/);
    assert.deepEqual([leaks.verdict, leaks.evidence], ['leaking', 'samples']);
    assert.match(batchingOf(server, 'leaks'), /^unbatched: rows influence each other/);
  });

  it('do not hide what made-up rows show', async (t) => {
    const rows = [
      [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1],
      [0.2, 0.1, 0.3, 0.4, 0.5, 0.7, 0.6, 1],
    ];
    const samples = rows.map((data) => ({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 8], data }] }));
    // With the same least and largest value, both rows have the same step, alone and together.
    const server = await start({
      quantized: {
        'config.pbtxt': config('samples.json'),
        'samples.json': Buffer.from(JSON.stringify(samples)),
        1: dynamicQuantized(),
      },
    });
    t.after(() => server.close());
    const { verdict, evidence } = await certificateOf(server, 'quantized');
    assert.deepEqual([verdict, evidence], ['leaking', 'generated']);
  });

  it('that cannot be read, or do not fit the model, fail it with the reason', async (t) => {
    const of = (samples: Buffer) => ({
      'config.pbtxt': config('samples.json'),
      'samples.json': samples,
      1: largeIds(),
    });
    const server = await TestServer.start(
      {
        missing: { 'config.pbtxt': config('other.json'), 1: largeIds() },
        outside: { 'config.pbtxt': config('../samples.json'), 1: largeIds() },
        text: of(Buffer.from('ids')),
        shape: of(requests([1000, 1001])),
        number: of(Buffer.from('[{"inputs":[{"name":"ids","datatype":"INT64","shape":[1,1],"data":["1"]}]}]')),
        other: of(Buffer.from('[{"inputs":[{"name":"x","datatype":"INT64","shape":[1,1],"data":[1]}]}]')),
      },
      { ...OPTIONS, strictReadiness: false },
    );
    t.after(() => server.close());
    const reasons = Object.fromEntries(server.server.summary().map(({ name, reason }) => [name, reason]));
    assert.match(
      reasons['missing']!,
      /^config.pbtxt: parameter shoal.samples: other.json: there is no file other.json$/,
    );
    assert.match(reasons['outside']!, /shoal.samples is '\.\.\/samples.json', expected the name of a file/);
    assert.match(reasons['text']!, /samples.json: it is not JSON$/);
    assert.match(reasons['shape']!, /samples.json: input 'ids' of request 0: .*4 elements, the data has 2/);
    assert.match(reasons['number']!, /input 'ids' of request 0: an element is not a number/);
    assert.match(reasons['other']!, /^config.pbtxt: sample 0 does not fit: model 'this' needs input 'ids'/);
  });
});

describe('strict', () => {
  it('uses no size of which rounding is known', async (t) => {
    const rows = rowsOf(256);
    const alone = await answersAlone(sumsByKernel(), rows);
    const server = await start({ kernels: sumsByKernel() }, 'strict');
    t.after(() => server.close());
    await assertAsAlone(server, 'kernels', rows, alone);
    const { exact_sizes } = await certificateOf(server, 'kernels');
    assert.ok(exact_sizes.includes(1) && !exact_sizes.includes(8), exact_sizes.join());
  });

  it('proves the sizes it would like to use by real rows, and then uses them', async (t) => {
    const rows = rowsOf(8);
    const alone = await answersAlone(dynamicQuantizedTwin(), rows);
    const server = await start({ twin: dynamicQuantizedTwin() }, 'strict');
    t.after(() => server.close());
    assert.match(batchingOf(server, 'twin'), /^batched in sizes proven bit-exact: /);
    let largest = 8;
    for (let round = 0; round < 50 && largest <= 8; round++) {
      await assertAsAlone(server, 'twin', rows, alone, 1);
      largest = (await certificateOf(server, 'twin')).exact_sizes.at(-1)!;
    }
    assert.ok(largest > 8, `no size above ${largest} was proven`);
    await assertAsAlone(server, 'twin', rows, alone);
    const { exact_sizes } = await certificateOf(server, 'twin');
    const { batch_stats } = await server.statistics('twin');
    for (const { batch_size } of batch_stats)
      assert.ok(exact_sizes.includes(batch_size), `a run of ${batch_size} rows`);
  });

  it('is not outvoted by a configuration that insists on batching, unless that names the check itself', async (t) => {
    const config = 'max_batch_size: 8\ndynamic_batching { }';
    const named = `${config}\nparameters { key: "shoal.batching_check" value { string_value: "live" } }`;
    const server = await start(
      {
        quiet: { 'config.pbtxt': Buffer.from(config), 1: softmaxAxis0() },
        named: { 'config.pbtxt': Buffer.from(named), 1: softmaxAxis0() },
      },
      'strict',
    );
    t.after(() => server.close());
    assert.match(batchingOf(server, 'quiet'), /^unbatched: rows influence each other/);
    assert.match(batchingOf(server, 'named'), /^batched: dynamic_batching in config.pbtxt insists on it/);
  });
});
