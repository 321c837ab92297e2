import { systemClock } from '../src/clock.ts';
import type { Config } from '../src/config.ts';
import { Executor } from '../src/executor/executor.ts';
import { seededRandom } from '../src/random.ts';
import { ExecutorTarget, runOnce } from '../src/serving/profile/executor-target.ts';
import { generateProfileRows } from '../src/serving/profile/profile-rows.ts';
import { splitsFor } from '../src/serving/profile/splits.ts';
import type { SweptSplit } from '../src/serving/profile/sweep.ts';
import type { ModelSource } from '../src/serving/repository.ts';
import { quantile } from './statistics.ts';

/** What was measured of a split at every size. */
export type Exhaustive = SweptSplit;

/** So many rounds, each over all sizes of all splits in an order of its own. */
const ROUNDS = 6;

/** Every size up to 8, then four to a doubling. */
function sizesUpTo(maxRows: number): number[] {
  const sizes: number[] = [];
  for (let rows = 1; rows < maxRows; rows += rows < 8 ? 1 : 2 ** (Math.floor(Math.log2(rows)) - 2)) sizes.push(rows);
  return [...sizes, maxRows];
}

/** Measures every size of every split, with no rule for when to stop and no assumption about the curve. */
export async function measureAll(
  source: ModelSource,
  config: Config,
  maxRows: number,
  forMs: number,
): Promise<Exhaustive[]> {
  const splits = splitsFor({
    cores: config.cores,
    instances: 'auto',
    threads: 'auto',
    memoryBytes: Number.POSITIVE_INFINITY,
    modelBytes: source.bytes,
  });
  const targets: ExecutorTarget[] = [];
  try {
    for (const split of splits) {
      const executors: Executor[] = [];
      for (let i = 0; i < split.instances; i++) executors.push(await start(source, config, split.threads));
      const { signature } = await executors[0]!.probe({ shapes: {}, alongFirst: false });
      const rows = await generateProfileRows(signature, (one) => runOnce(executors[0]!, signature, one));
      targets.push(new ExecutorTarget(split, executors, signature, rows, systemClock));
    }
    const cells = targets.flatMap((target) =>
      sizesUpTo(maxRows).map((rows) => ({ target, rows, times: [] as number[] })),
    );
    const random = seededRandom(5);
    for (let round = 0; round < ROUNDS; round++) {
      const order = cells.map((cell) => ({ cell, at: random() })).sort((a, b) => a.at - b.at);
      for (const { cell } of order) {
        cell.times.push(...(await cell.target.measure(cell.rows, forMs / ROUNDS / cells.length)));
      }
    }
    return targets.map(({ split }) => ({
      ...split,
      stop: 'largest',
      sizes: cells
        .filter(({ target }) => target.split === split)
        .map(({ rows, times }) => {
          const ms = quantile(times, 0.25);
          return { rows, runs: times.length, ms, highMs: ms, rowsPerSecond: (1e3 * split.instances * rows) / ms };
        }),
    }));
  } finally {
    for (const target of targets) target.close();
  }
}

/** Rows per second of a split at the measured size that is nearest. */
export function rateAt({ sizes }: Exhaustive, rows: number): number {
  return sizes.reduce((a, b) => (Math.abs(b.rows - rows) < Math.abs(a.rows - rows) ? b : a)).rowsPerSecond;
}

async function start(source: ModelSource, config: Config, threads: number): Promise<Executor> {
  const { executor } = await Executor.start({
    clock: systemClock,
    name: source.name,
    load: { file: source.file, provider: 'cpu', device: 0, intraOpThreads: threads },
    loadTimeoutMs: config.loadTimeoutMs,
    hangLimits: () => ({ cpuMs: 60_000, wallMs: 60_000 }),
    onExit: () => {},
  });
  return executor;
}
