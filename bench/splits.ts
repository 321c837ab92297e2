import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Split } from '../src/batching/curve-verdict.ts';
import { systemClock } from '../src/clock.ts';
import { resolveConfig } from '../src/config.ts';
import { grantedMemoryBytes } from '../src/granted.ts';
import { type ConfigInput, makeTensor, type Tensor } from '../src/index.ts';
import { Service } from '../src/service.ts';
import { profileModel } from '../src/serving/profile/profile-model.ts';
import { rateWith, type SweptSplit } from '../src/serving/profile/sweep.ts';
import { findModels } from '../src/serving/repository.ts';
import { spreadByProfile, spreadOver } from '../src/serving/threads.ts';
import { linearRows, MLP_WIDTHS, mlp, wideConvolution, writeRepository } from '../test/support/models.ts';
import { estimateMedian } from './statistics.ts';

/**
 * Does a server gain what a profile promises? `npm run build && node dist/bench/splits.js` (about 3 minutes; nothing
 * else should run). With names of models only those: `… splits.js mlp`.
 *
 * For each model the two outermost splits, one wide executor and as many narrow ones as there are cores, serve the same
 * load by turns: 2, 16 and 64 callers in the same process, each of whom has one row under way. Printed are rows per
 * second of the narrow split over those of the wide one, as measured and as the profile has them, and the split that the
 * profile advises beside the one by rule.
 *
 * Expected on 2 cores, written down before it was run: narrow ÷ wide above 1.3 for *convolution* and *mlp* with 16 and
 * 64 callers; 0.85 to 1.15 for *memory* with 16 and 64; at least 1 for *linear*; measured and promised within 20 % of
 * one another with 16 and 64 callers (with 2 the hand-over has a part in it that no profile sees); and no advice
 * that is slower than the split by rule by more than 5 %.
 */

interface Case {
  readonly name: string;
  readonly model: () => Buffer;
  readonly rowShape: readonly number[];
}

const CASES: readonly Case[] = [
  { name: 'memory', model: () => mlp(MLP_WIDTHS.big), rowShape: [MLP_WIDTHS.big[0]] },
  { name: 'mlp', model: () => mlp(MLP_WIDTHS.mlp), rowShape: [MLP_WIDTHS.mlp[0]] },
  { name: 'convolution', model: wideConvolution, rowShape: [64, 32, 32] },
  { name: 'linear', model: linearRows, rowShape: [131_072] },
];

const CALLERS = [2, 16, 64];
const PAIRS = 5;
const SLICE_MS = 700;
const WARM_MS = 1500;
const PROFILE_MS = 12_000;

const only = process.argv.slice(2);
for (const one of CASES.filter(({ name }) => only.length === 0 || only.includes(name))) {
  const folder = mkdtempSync(path.join(tmpdir(), 'shoal-splits-'));
  try {
    writeRepository(folder, { [one.name]: one.model() });
    await compare(one, folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
process.exit(0);

async function compare({ name, rowShape }: Case, folder: string): Promise<void> {
  const options: ConfigInput = { models: folder, provider: 'cpu', profileCache: 'off', logLevel: 'silent' };
  const config = resolveConfig(options);
  const { cores } = config;
  const [source] = await findModels(path.join(folder, `${name}.onnx`));
  const profile = await profileModel(source!, {
    config,
    clock: systemClock,
    memoryBytes: grantedMemoryBytes(),
    provider: async () => ({ provider: 'cpu', device: 0, reason: '', problem: undefined }),
    forMs: PROFILE_MS,
    inputs: undefined,
  });
  const byRule = spreadOver(config, source!.bytes);
  say(`\n${name}: ${profile.sentence}`);
  say(`  by rule: ${nameOf(byRule)}, advised: ${nameOf(spreadByProfile(byRule, config, profile))}`);

  const shape = [1, ...rowShape];
  const x = makeTensor('FP32', shape, new Float32Array(shape.reduce((a, b) => a * b)).fill(0.5));
  const splits: readonly [Split, Split] = [
    { instances: 1, threads: cores },
    { instances: cores, threads: 1 },
  ];
  const services = await Promise.all(
    splits.map(async ({ instances, threads }) => {
      const service = await Service.create({ ...options, instances, intraOpThreads: threads });
      await service.loaded();
      return service;
    }),
  );
  const [wide, narrow] = services as [Service, Service];
  for (const service of services) await rowsPerSecond(service, name, x, 64, WARM_MS);
  for (const callers of CALLERS) {
    const ratios: number[] = [];
    for (let pair = 0; pair < PAIRS; pair++) {
      const order = pair % 2 === 0 ? [wide, narrow] : [narrow, wide];
      const rates = new Map<Service, number>();
      for (const service of order) rates.set(service, await rowsPerSecond(service, name, x, callers, SLICE_MS));
      ratios.push(rates.get(narrow)! / rates.get(wide)!);
    }
    const { median, low, high } = estimateMedian(ratios);
    const promised = rateOf(profile.splits, splits[1], callers) / rateOf(profile.splits, splits[0], callers);
    say(
      `  ${String(callers).padStart(2)} callers: narrow ÷ wide ${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)}), promised ${promised.toFixed(2)}`,
    );
  }
  for (const service of services) await service.drain();
}

async function rowsPerSecond(
  service: Service,
  name: string,
  x: Tensor,
  callers: number,
  forMs: number,
): Promise<number> {
  const startMs = systemClock.now();
  let rows = 0;
  const call = async (): Promise<void> => {
    while (systemClock.now() - startMs < forMs) {
      await service.infer(name, { x });
      rows++;
    }
  };
  await Promise.all(Array.from({ length: callers }, call));
  return (1e3 * rows) / (systemClock.now() - startMs);
}

function rateOf(splits: readonly SweptSplit[], { instances, threads }: Split, underWay: number): number {
  const split = splits.find((other) => other.instances === instances && other.threads === threads);
  return (split && rateWith(split, underWay)) ?? Number.NaN;
}

function nameOf({ instances, threads }: Split): string {
  return `${instances} × ${threads}`;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
