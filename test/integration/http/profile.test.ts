import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeTensor } from '../../../src/index.ts';
import { createLogger } from '../../../src/logging.ts';
import { broken, flat0, MLP_WIDTHS, mlp } from '../../support/models.ts';
import { expectError, startServer, type TestServer } from '../../support/server.ts';

/** The part of a reply of `GET …/profile` that tests read. */
interface Profile {
  readonly name: string;
  readonly version: string;
  readonly source: string;
  readonly max_batch_size: number;
  readonly certificate: { readonly verdict: string; readonly outputs: readonly { readonly name: string }[] };
  readonly spread: object;
  readonly verdict: {
    readonly kind: string;
    readonly sentence: string;
    readonly knee_rows: number;
    readonly gain: number;
  };
  readonly curve: readonly {
    readonly row_bytes: number;
    readonly runs: number;
    readonly points: readonly { readonly rows: number; readonly runs: number; readonly ms: Record<string, number> }[];
  }[];
}

const ROWS = [1, 2, 4, 16, 64];
const WIDTH = MLP_WIDTHS.mlp[0];

async function profileOf(server: TestServer, model: string): Promise<Profile> {
  return (await server.json(`/v2/models/${model}/profile`)) as Profile;
}

/** Runs a model with as many rows as `ROWS` says, each several times. */
async function run(server: TestServer, model: string, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    for (const rows of ROWS) {
      const x = makeTensor('FP32', [rows, WIDTH], new Float32Array(rows * WIDTH).fill(i));
      await server.server.infer(model, { x });
    }
  }
}

describe('the profile of a model', () => {
  it('is known from the probe at first, then from live runs, with counts and quantiles by size', async (t) => {
    const server = await startServer(t, { m: mlp(MLP_WIDTHS.mlp) }, { cores: 2, provider: 'cpu' });
    const before = await profileOf(server, 'm');
    assert.deepEqual([before.name, before.version, before.source], ['m', '1', 'probe']);
    assert.deepEqual(
      [before.certificate.verdict, before.certificate.outputs.map(({ name }) => name)],
      ['bit-exact', ['y']],
    );
    assert.deepEqual(before.spread, { cores: 2, max_instances: 2, threads: 1 });
    assert.deepEqual(
      before.curve.map(({ points }) => points.map(({ rows, runs }) => [rows, runs])),
      [
        [
          [1, 0],
          [2, 0],
          [3, 0],
          [8, 0],
        ],
      ],
    );
    await run(server, 'm', 8);
    const { source, curve, verdict } = await profileOf(server, 'm');
    assert.equal(source, 'live');
    assert.equal(curve.length, 1);
    assert.deepEqual([curve[0]!.row_bytes, curve[0]!.runs], [4 * WIDTH, 8 * ROWS.length]);
    assert.deepEqual(
      curve[0]!.points.map(({ rows, runs }) => [rows, runs]),
      [
        [1, 8],
        [2, 8],
        [3, 0],
        [4, 8],
        [8, 0],
        [16, 8],
        [64, 8],
      ],
    );
    for (const { ms } of curve[0]!.points) assert.ok(0 < ms['p50']! && ms['p50']! <= ms['p90']!, JSON.stringify(ms));
    assert.match(verdict.sentence, /^Batching /);
    assert.deepEqual(await server.json('/v2/models/m/versions/1/profile'), await profileOf(server, 'm'));
    const metrics = await server.metrics();
    const version = { model: 'm', version: '1' };
    assert.equal(metrics.value('shoal_batching_knee_rows', version), verdict.knee_rows);
    assert.ok(Math.abs(metrics.value('shoal_batching_gain', version) / verdict.gain - 1) < 1e-3);
    for (const rows of [1, 2, 4, 8, 16, 32, 64]) {
      assert.ok(metrics.value('shoal_cost_curve_seconds', { ...version, rows: `${rows}` }) > 0, `${rows} rows`);
    }
  });

  it('says that an unbatched model is not batched, and has no figures for it', async (t) => {
    const server = await startServer(t, { flat0: flat0() });
    const { verdict, curve } = await profileOf(server, 'flat0');
    assert.match(verdict.sentence, /^It is not batched \(unbatched: none of its inputs/);
    assert.deepEqual([verdict.kind, curve], ['unknown', []]);
    assert.equal((await server.metrics()).sum('shoal_batching_gain'), 0);
  });

  it('is 404 for an unknown model or version, 503 for one that is not there', async (t) => {
    const server = await startServer(t, { broken: broken(), m: mlp(MLP_WIDTHS.tiny) });
    expectError(await server.get('/v2/models/none/profile'), 'MODEL_NOT_FOUND');
    expectError(await server.get('/v2/models/m/versions/2/profile'), 'MODEL_NOT_FOUND');
    expectError(await server.get('/v2/models/broken/profile'), 'MODEL_NOT_READY');
    expectError(await server.send('POST', '/v2/models/m/profile'), 'METHOD_NOT_ALLOWED');
  });

  it('is in the line that says that a model is ready, and in one when the knee comes into sight', async (t) => {
    const lines: { readonly msg: string; readonly curve?: string; readonly verdict?: object }[] = [];
    const destination = { write: (line: string) => void lines.push(JSON.parse(line)) };
    const logger = createLogger({ logLevel: 'info' }, { destination });
    const server = await startServer(t, { m: mlp(MLP_WIDTHS.mlp) }, { maxBatchSize: 64, provider: 'cpu' }, { logger });
    const ready = lines.find(({ msg }) => msg.endsWith('is ready'));
    assert.match(ready!.curve!, /^Batching |^It is not known/);
    await run(server, 'm', 120);
    const told = lines.filter(({ msg }) => msg.startsWith("model 'm': Batching"));
    assert.ok(told.length >= 1 && told.length <= 3, `${told.length} lines for ${120 * ROWS.length} runs`);
    assert.notEqual(told[0]!.verdict, undefined);
  });
});
