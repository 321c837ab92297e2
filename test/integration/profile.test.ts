import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { profile } from '../../src/cli/profile.ts';
import { resolveConfig } from '../../src/config.ts';
import { createLogger } from '../../src/logging.ts';
import type { Profile } from '../../src/serving/profile/profile.ts';
import {
  gatherPoison,
  MLP_WIDTHS,
  mlp,
  type RepositoryContent,
  softmaxAxis0,
  writeRepository,
} from '../support/models.ts';
import { startServer } from '../support/server.ts';
import { recordHost } from '../unit/cli/support.ts';

interface Setup {
  readonly models: string;
  readonly cache: string;
  readonly run: (
    model: string,
    options?: { readonly input?: string; readonly json?: boolean; readonly cores?: number },
  ) => Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>;
}

function setUp(t: TestContext, content: RepositoryContent): Setup {
  const folder = mkdtempSync(path.join(tmpdir(), 'shoal-profile-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const models = writeRepository(path.join(folder, 'models'), content);
  const cache = path.join(folder, 'cache');
  return {
    models,
    cache,
    async run(model, { input, json = false, cores = 2 } = {}) {
      const host = recordHost({ cwd: folder });
      const config = resolveConfig({ models, cores, provider: 'cpu', maxBatchSize: 32, profileCache: cache });
      const code = await profile({ model, seconds: 1, input, json }, config, host);
      return { code, stdout: host.stdout, stderr: host.stderr };
    },
  };
}

describe('shoal profile', () => {
  it('prints a table, a plot and a sentence, and stores what the server then knows from the start', async (t) => {
    const { models, cache, run } = setUp(t, { m: mlp(MLP_WIDTHS.mlp) });
    const { code, stdout, stderr } = await run('m');
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /^m version 1: batched: rows answer the same/);
    assert.match(stdout, /^1 executor of 2 threads.*: up to \d+ rows, /m);
    assert.match(stdout, /^2 executors of 1 thread.*: up to \d+ rows, /m);
    assert.match(stdout, /^ +rows +runs +ms p25 +ms p90 +rows\/s +gain$/m);
    assert.match(stdout, /^rows per second by rows per run$/m);
    assert.match(stdout, /^(Batching .*); best with [12] executors? of [12] threads?( each)?\.$/m);
    assert.equal(readdirSync(cache).length, 1);

    const server = await startServer(t, models, { cores: 2, provider: 'cpu', profileCache: cache });
    const known = (await server.json('/v2/models/m/profile')) as {
      readonly source: string;
      readonly spread: { readonly max_instances: number; readonly threads: number };
      readonly profiled: { readonly sentence: string };
      readonly curve: readonly { readonly points: readonly { readonly rows: number; readonly runs: number }[] }[];
    };
    assert.equal(known.source, 'cached');
    assert.ok(stdout.includes(known.profiled.sentence));
    assert.equal(known.spread.max_instances * known.spread.threads, 2);
    assert.ok(known.curve[0]!.points.length >= 3 && known.curve[0]!.points.every(({ runs }) => runs === 0));
    assert.deepEqual(server.logged, []);
  });

  it('has the server say, and not do, what it advises of the spread over the cores', async (t) => {
    const { models, cache, run } = setUp(t, { m: mlp(MLP_WIDTHS.tiny) });
    assert.equal((await run('m')).code, 0);
    const file = path.join(cache, readdirSync(cache)[0]!);
    const stored = JSON.parse(readFileSync(file, 'utf8')) as Profile;
    const splits = stored.splits.map((split) => ({
      ...split,
      sizes: split.sizes.map((size) => ({ ...size, rowsPerSecond: split.threads === 2 ? 2000 : 1000 })),
    }));
    writeFileSync(file, JSON.stringify({ ...stored, splits, best: { instances: 1, threads: 2 } }));
    for (const [instances, says] of [
      ['auto', true],
      [2, false],
    ] as const) {
      const lines: string[] = [];
      const destination = { write: (line: string) => void lines.push(JSON.parse(line).msg) };
      const logger = createLogger({ logLevel: 'info' }, { destination });
      const options = { cores: 2, provider: 'cpu', profileCache: cache, instances } as const;
      const server = await startServer(t, models, options, { logger });
      const advice = "model 'm': its profile advises 1 × 2 (executors × threads) in place of 2 × 1";
      assert.equal(lines.includes(advice), says, lines.join('\n'));
      const { maxInstances, threads } = server.server.summary()[0]!;
      assert.deepEqual([maxInstances, threads], [2, 1]);
    }
  });

  it('gives JSON of every model of a folder, and says which one could not be measured', async (t) => {
    const { models, run } = setUp(t, { a: mlp(MLP_WIDTHS.tiny), poison: gatherPoison(), broken: Buffer.from('none') });
    const { code, stdout, stderr } = await run(models, { json: true });
    const profiles = JSON.parse(stdout) as Profile[];
    assert.equal(code, 1);
    assert.match(stderr, /^shoal: model 'broken' version 1: it cannot be loaded/m);
    const a = profiles.find(({ model }) => model === 'a')!;
    for (const { sizes, instances } of a.splits) {
      for (const [i, { rows, ms, rowsPerSecond }] of sizes.entries()) {
        assert.equal(rows, 2 ** i);
        assert.ok(Math.abs(rowsPerSecond / ((1e3 * instances * rows) / ms) - 1) < 1e-9);
      }
    }
    assert.equal(a.key.cores, 2);
    assert.equal(a.rowBytes, 16);
  });

  it('measures a model whose rows influence each other a row at a time', async (t) => {
    const { run } = setUp(t, { leaky: softmaxAxis0() });
    const { code, stdout } = await run('leaky');
    assert.equal(code, 0);
    assert.match(stdout, /^It is not batched \(unbatched: rows influence each other.*; best with /m);
    assert.match(stdout, /: up to 1 rows, /);
  });

  it('takes rows from a file with the body of an infer request', async (t) => {
    const { cache, run } = setUp(t, { m: mlp(MLP_WIDTHS.tiny) });
    const input = path.join(cache, '..', 'request.json');
    const data = [1, 2, 3, 4, 5, 6, 7, 8];
    writeFileSync(input, JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [2, 4], data }] }));
    assert.equal((await run('m', { input, cores: 1 })).code, 0);
    writeFileSync(input, JSON.stringify({ inputs: [{ name: 'z', datatype: 'FP32', shape: [2, 4], data }] }));
    const wrong = await run('m', { input, cores: 1 });
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /model 'm' version 1: model 'm' needs input 'x'/);
    writeFileSync(input, '{');
    await assert.rejects(
      run('m', { input }),
      /--input is '.*', expected a file with the JSON body of an infer request/,
    );
  });

  it('says when there is nothing to measure', async (t) => {
    const { models, run } = setUp(t, {});
    await assert.rejects(run('none'), /argument <model> is 'none', expected an .onnx file, a folder of models, or/);
    const empty = await run(models);
    assert.deepEqual([empty.code, empty.stderr], [1, `shoal: no models in ${models}\n`]);
  });
});
