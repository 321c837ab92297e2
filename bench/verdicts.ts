import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { judge, type Split, sayVerdict } from '../src/batching/curve-verdict.ts';
import { systemClock } from '../src/clock.ts';
import { type Config, resolveConfig } from '../src/config.ts';
import { grantedMemoryBytes } from '../src/granted.ts';
import { type ConfigInput, makeTensor } from '../src/index.ts';
import { seededRandom } from '../src/random.ts';
import { Service } from '../src/service.ts';
import { profileModel } from '../src/serving/profile/profile-model.ts';
import { peakOf } from '../src/serving/profile/sweep.ts';
import { findModels } from '../src/serving/repository.ts';
import { linearRows, MLP_WIDTHS, mlp, wideConvolution, writeRepository } from '../test/support/models.ts';
import { type Exhaustive, measureAll, rateAt } from './verdicts-exhaustive.ts';

/**
 * Are the verdicts right? `npm run build && node dist/bench/verdicts.js` (about 3.5 minutes; nothing else should run).
 * With names of models only those: `… verdicts.js linear`.
 *
 * Three models whose cost by rows is known from how they are made; the verdicts of `shoal profile` and of a server that
 * has seen live runs of many sizes, beside an exhaustive measurement of many sizes for every split.
 *
 * Expected on 2 cores, written down before it was run:
 *
 * | model | kind | knee | gain | best |
 * | --- | --- | --- | --- | --- |
 * | memory: MLP with 117 MB of weights | pays | 64 to 128 | 7 to 14 | either within 10 % |
 * | convolution: 3 layers of 64 channels | no, or little | 1 to 8 | below 1.25 | 2 executors of 1 thread |
 * | linear: 16 times tanh of 131,072 elements | no | 1 | 1 | 2 executors of 1 thread, or within 10 % |
 *
 * They agree when each knee and each best split has at least 90 % of the most rows per second that were measured
 * exhaustively, and each gain is within 20 %. Exit code 1 when they do not.
 */

interface Case {
  readonly name: string;
  readonly model: () => Buffer;
  readonly rowShape: readonly number[];
  readonly maxRows: number;
}

const CASES: readonly Case[] = [
  { name: 'memory', model: () => mlp(MLP_WIDTHS.big), rowShape: [MLP_WIDTHS.big[0]], maxRows: 128 },
  { name: 'convolution', model: wideConvolution, rowShape: [64, 32, 32], maxRows: 32 },
  { name: 'linear', model: linearRows, rowShape: [131_072], maxRows: 32 },
];

const EXHAUSTIVE_MS = 30_000;
const PROFILE_MS = 15_000;
const LIVE_MS = 12_000;

const LEAST_SHARE = 0.9;
const GAIN_WITHIN = 1.2;

const only = process.argv.slice(2);
let failed = false;
for (const one of CASES.filter(({ name }) => only.length === 0 || only.includes(name))) {
  const folder = mkdtempSync(path.join(tmpdir(), 'shoal-verdicts-'));
  try {
    writeRepository(folder, { [one.name]: one.model() });
    await compare(one, folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
process.exit(failed ? 1 : 0);

async function compare({ name, rowShape, maxRows }: Case, folder: string): Promise<void> {
  const options: ConfigInput = {
    models: folder,
    provider: 'cpu',
    maxBatchSize: maxRows,
    profileCache: 'off',
    logLevel: 'silent',
  };
  const config = resolveConfig(options);
  const [source] = await findModels(path.join(folder, `${name}.onnx`));
  const context = {
    config,
    clock: systemClock,
    memoryBytes: grantedMemoryBytes(),
    provider: async () => ({ provider: 'cpu' as const, device: 0, reason: '', problem: undefined }),
    inputs: undefined,
  };
  const all = await measureAll(source!, config, maxRows, EXHAUSTIVE_MS);
  const profiled = await profileModel(source!, { ...context, forMs: PROFILE_MS });
  const live = await verdictOfLiveRuns(config, name, rowShape, maxRows);

  const most = Math.max(...all.map((split) => peakOf(split)));
  const best = all.find((split) => peakOf(split) === most)!;
  say(
    `\n${name}\n  exhaustive: ${sayVerdict(judge(best.sizes, maxRows), best)}\n  profile:    ${profiled.sentence}\n  live:       ${live.sentence}`,
  );
  for (const { instances, threads, sizes } of all) {
    say(
      `  ${instances} × ${threads}: ${sizes.map(({ rows, rowsPerSecond }) => `${rows}: ${Math.round(rowsPerSecond)}`).join(', ')}`,
    );
  }
  checkSplit('profile', profiled.best, all, most);
  checkCurve('profile', profiled.best, profiled.kneeRows, profiled.gain, all, maxRows);
  checkCurve('live', live.spread, live.verdict.kneeRows, live.verdict.gain, all, maxRows);
}

async function verdictOfLiveRuns(config: Config, name: string, rowShape: readonly number[], maxRows: number) {
  const service = await Service.create(config);
  await service.loaded();
  const version = service.registry.versions(name)[0]!;
  const random = seededRandom(11);
  const endMs = systemClock.now() + LIVE_MS;
  const { maxInstances } = version.summary();
  const rowElements = rowShape.reduce((a, b) => a * b);
  const data = Float32Array.from({ length: maxRows * rowElements }, () => 2 * random() - 1);
  const call = async (): Promise<void> => {
    while (systemClock.now() < endMs) {
      // Every doubling is as frequent as the others.
      const rows = Math.min(maxRows, Math.floor(2 ** (random() * (Math.log2(maxRows) + 1))));
      const shape = [rows, ...rowShape];
      const x = makeTensor('FP32', shape, data.subarray(0, rows * rowElements));
      await service.infer(name, { x }, { whenFull: 'wait' });
    }
  };
  await Promise.all(Array.from({ length: maxInstances }, call));
  const profile = version.profile()!;
  await service.drain();
  return profile;
}

function checkSplit(who: string, split: Split, all: readonly Exhaustive[], most: number): void {
  const share = peakOf(same(split, all)) / most;
  check(share >= LEAST_SHARE, `${who}: its best split has ${percent(share)} of the most rows per second`);
}

function checkCurve(
  who: string,
  split: Split,
  kneeRows: number,
  gain: number,
  all: readonly Exhaustive[],
  maxRows: number,
): void {
  const own = same(split, all);
  const share = rateAt(own, kneeRows) / peakOf(own);
  check(
    share >= LEAST_SHARE,
    `${who}: its knee, ${kneeRows} rows, has ${percent(share)} of the most rows per second of that split`,
  );
  const truth = judge(own.sizes, maxRows).gain;
  const ratio = Math.max(gain / truth, truth / gain);
  check(ratio <= GAIN_WITHIN, `${who}: its gain is ${gain.toFixed(2)}, the exhaustive one ${truth.toFixed(2)}`);
}

function same({ instances, threads }: Split, all: readonly Exhaustive[]): Exhaustive {
  return all.find((other) => other.instances === instances && other.threads === threads)!;
}

function check(isRight: boolean, text: string): void {
  if (!isRight) failed = true;
  say(`  ${isRight ? 'agrees' : 'DIFFERS'}: ${text}`);
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
