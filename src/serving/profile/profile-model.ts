import { judge, sayBest, sayVerdict } from '../../batching/curve-verdict.ts';
import type { Clock } from '../../clock.ts';
import type { Config } from '../../config.ts';
import { messageOf } from '../../errors.ts';
import { Executor } from '../../executor/executor.ts';
import type { LoadReport } from '../../executor/messages.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { applySettings, planProbe } from '../apply-settings.ts';
import { chooseForModel, type ProviderChoice } from '../provider.ts';
import type { ModelSource } from '../repository.ts';
import { ExecutorTarget, runOnce } from './executor-target.ts';
import type { Profile } from './profile.ts';
import { keyOf } from './profile-key.ts';
import { generateProfileRows, givenProfileRows, type ProfileRows } from './profile-rows.ts';
import { splitsFor } from './splits.ts';
import { bestOf, kneeOf, type SweptSplit, sweep } from './sweep.ts';

/** What {@link profileModel} works with. */
export interface ProfileContext {
  readonly config: Config;
  readonly clock: Clock;
  /** Memory granted, in bytes. */
  readonly memoryBytes: number;
  readonly provider: () => Promise<ProviderChoice>;
  /** How long the measurement may take, loading not counted. */
  readonly forMs: number;
  /** Inputs whose rows are used in turn; undefined: made-up ones. */
  readonly inputs: ReadonlyMap<string, Tensor> | undefined;
  readonly executorEntry?: string | undefined;
}

/** Share of the memory granted that all executors together may take for the model, and that one may hold at all. */
const MEMORY_SHARE = 0.5;

/** Splits are measured in turns when so many executors are enough for all of them; otherwise one after the other. */
const MOST_EXECUTORS = 8;

/** A run that takes longer than this is hung. */
const HANG_MS = 60_000;

/**
 * Measures what runs of a model take by their rows, for every way worth trying to spread it over the cores, in executor
 * processes of its own.
 *
 * @throws {Error} that says why the model cannot be measured.
 */
export async function profileModel(source: ModelSource, context: ProfileContext): Promise<Profile> {
  const { config, clock, memoryBytes } = context;
  const { settings } = source;
  if (source.problem !== undefined) throw new Error(source.problem);
  const choice = await chooseForModel(settings, context.provider);
  if (choice.problem !== undefined) throw new Error(choice.problem);
  const start = (threads: number): Promise<{ executor: Executor; report: LoadReport }> =>
    startExecutor(source, context, choice, threads);

  const splits = splitsFor({
    cores: config.cores,
    instances: settings.instances.count ?? config.instances,
    threads: settings.session.intraOpThreads ?? config.intraOpThreads,
    memoryBytes: MEMORY_SHARE * memoryBytes,
    modelBytes: source.bytes,
  });
  const first = await start(splits[0]!.threads);
  const targets: ExecutorTarget[] = [];
  try {
    const finding = await first.executor.probe(planProbe(settings, first.report.signature));
    const { signature, shares, reason } = applySettings(settings, finding, 'load');
    const asked = settings.maxBatchSize || config.maxBatchSize;
    const maxRows = signature.batched && shares ? asked : 1;
    const rows = await rowsFor(source.name, signature, first.executor, context.inputs);

    const swept: SweptSplit[] = [];
    const together = splits.reduce((sum, { instances }) => sum + instances, 0) <= MOST_EXECUTORS;
    const groups = together ? [splits] : splits.map((split) => [split]);
    let leftMs = context.forMs;
    for (const [g, group] of groups.entries()) {
      for (const split of group) {
        const executors = split === splits[0] ? [first.executor] : [];
        const target = new ExecutorTarget(split, executors, signature, rows, clock);
        targets.push(target);
        while (executors.length < split.instances) executors.push((await start(split.threads)).executor);
      }
      const beginMs = clock.now();
      swept.push(
        ...(await sweep(targets, {
          maxRows,
          memoryBytes: MEMORY_SHARE * memoryBytes,
          endMs: beginMs + leftMs / (groups.length - g),
          now: () => clock.now(),
        })),
      );
      leftMs -= clock.now() - beginMs;
      for (const target of targets.splice(0)) target.close();
    }

    const best = bestOf(swept);
    if (best === undefined) throw new Error(swept[0]?.failure ?? 'there was no time for a single run');
    const verdict = judge(best.sizes, maxRows);
    const { instances, threads } = best;
    return {
      model: source.name,
      version: source.version,
      key: await keyOf(source, config.cores, choice.provider),
      measuredAt: new Date().toISOString(),
      batching: reason,
      maxRows,
      rowBytes: rows(1).bytes,
      splits: swept,
      best: { instances, threads },
      kneeRows: kneeOf(best),
      gain: verdict.gain,
      sentence:
        maxRows === 1 ? `It is not batched (${reason})${sayBest(best)}.` : sayVerdict(verdict, { instances, threads }),
    };
  } finally {
    first.executor.close();
    for (const target of targets) target.close();
  }
}

async function rowsFor(
  model: string,
  signature: Parameters<typeof generateProfileRows>[0],
  executor: Executor,
  inputs: ReadonlyMap<string, Tensor> | undefined,
): Promise<ProfileRows> {
  if (inputs === undefined) return generateProfileRows(signature, (one) => runOnce(executor, signature, one));
  const rows = givenProfileRows(model, signature, inputs);
  try {
    await runOnce(executor, signature, rows(1));
  } catch (thrown) {
    throw new Error(`the rows given do not run: ${messageOf(thrown)}`);
  }
  return rows;
}

function startExecutor(
  { name, file, settings }: ModelSource,
  { clock, config, executorEntry }: ProfileContext,
  { provider, device }: ProviderChoice,
  threads: number,
): Promise<{ executor: Executor; report: LoadReport }> {
  return Executor.start({
    clock,
    name,
    load: {
      file,
      provider,
      device,
      intraOpThreads: threads,
      graphOptimization: settings.session.graphOptimization,
      outputs: settings.outputs.length === 0 ? undefined : settings.outputs.map((output) => output.name),
    },
    loadTimeoutMs: config.loadTimeoutMs,
    hangLimits: () => ({ cpuMs: HANG_MS * config.cores, wallMs: HANG_MS }),
    entry: executorEntry,
    onExit: () => {},
  });
}
