/**
 * What sharing the steps of a training out to processes costs and gives: `node dist/bench/training/data-parallel.js`.
 * Three minutes at most. One process, then 1, 2 and 4 workers, synchronous and overlapped, interleaved.
 *
 * Expected on two cores, for the large head: two workers halve T_compute and make a step in 0.55 to 0.65 of the time of
 * one process; four are no faster than two. Of the communication of a synchronous step nothing is hidden; with four
 * micro-shards half to three quarters of it, but there is four times as much, and the last gradient and the parameters
 * are as exposed as before, so that a step is not faster for it. For the small head every spread form is slower than
 * one process.
 */
import { parseArgs } from 'node:util';
import { seededRandom } from '../../src/random.ts';
import type { TrainingStep } from '../../src/training/descent.ts';
import type { Head } from '../../src/training/head.ts';
import { type ParallelStep, trainDataParallel } from '../../src/training/parallel/train-data-parallel.ts';
import { trainHead } from '../../src/training/train-head.ts';
import type { TrainHeadOptions } from '../../src/training/training-plan.ts';
import { describeMachine } from '../machine.ts';
import { median } from '../statistics.ts';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, seconds: { type: 'string', default: '170' } },
});
const ROUNDS = Number(values.rounds);
const END_MS = performance.now() + Number(values.seconds) * 1000;

/** Steps that are made before anything is counted: the compiler has seen the loops by then. */
const WARM_STEPS = 3;

interface Case {
  readonly name: string;
  readonly options: TrainHeadOptions;
  readonly steps: number;
}

interface Variant {
  readonly name: string;
  readonly workers: number;
  readonly microShards: number;
}

/** Per step, in milliseconds. */
interface Figures {
  readonly totalMs: number;
  readonly computeMs: number;
  readonly switchMs: number;
  readonly communicationMs: number;
  readonly hiddenMs: number;
}

function caseOf(name: string, hidden: number, batchRows: number, steps: number): Case {
  const random = seededRandom(1);
  const [count, width] = [2048, 256];
  const features = Float32Array.from({ length: count * width }, () => random());
  const classes = Uint8Array.from({ length: count }, () => Math.floor(10 * random()));
  return { name, steps, options: { features, width, classes, outputs: 10, hidden, batchRows, epochs: 1000 } };
}

const CASES: readonly Case[] = [
  caseOf('large: 256 features, 256 hidden units, 10 classes, 256 rows a step', 256, 256, 15),
  caseOf('small: 256 features, 10 classes, 32 rows a step', 0, 32, 200),
];

const VARIANTS: readonly Variant[] = [
  { name: 'one process', workers: 0, microShards: 1 },
  ...[1, 2, 4].flatMap((workers) => [
    { name: `${workers} worker${workers > 1 ? 's' : ''}, synchronous`, workers, microShards: 1 },
    { name: `${workers} worker${workers > 1 ? 's' : ''}, overlapped`, workers, microShards: 4 },
  ]),
];

/** Runs a variant; the figures are those of the steps after the first few. */
async function measure({ options, steps }: Case, { workers, microShards }: Variant): Promise<Figures> {
  const limited = { ...options, steps: WARM_STEPS + steps };
  const training: AsyncGenerator<TrainingStep | ParallelStep, Head> =
    workers === 0 ? trainHead(limited) : trainDataParallel({ ...limited, workers, microShards });
  let first: Figures | undefined;
  let last: Figures | undefined;
  for await (const step of training) {
    last = figuresOf(step);
    if (step.step === WARM_STEPS) first = last;
  }
  const per = (figure: keyof Figures): number => (last![figure] - first![figure]) / steps;
  return {
    totalMs: per('totalMs'),
    computeMs: per('computeMs'),
    switchMs: per('switchMs'),
    communicationMs: per('communicationMs'),
    hiddenMs: per('hiddenMs'),
  };
}

function figuresOf(step: TrainingStep | ParallelStep): Figures {
  const { computeMs, switchMs, waitMs } = step;
  const [communicationMs, hiddenMs] = 'hiddenMs' in step ? [step.communicationMs, step.hiddenMs] : [0, 0];
  // Between two steps a turn of the event loop passes, which is no work of others here.
  return { totalMs: computeMs + switchMs + waitMs, computeMs, switchMs: switchMs + waitMs, communicationMs, hiddenMs };
}

const { processor, cores, node, commit } = describeMachine();
console.log(`${processor}, ${cores} cores, Node.js ${node}, commit ${commit}; medians of ${ROUNDS} interleaved rounds`);
for (const one of CASES) {
  const found = new Map<string, Figures[]>(VARIANTS.map(({ name }) => [name, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const variant of VARIANTS) {
      if (performance.now() < END_MS) found.get(variant.name)!.push(await measure(one, variant));
    }
  }
  console.log(`\n${one.name}; milliseconds per step\n`);
  console.log('| | T_total | T_compute | T_switch | of one process | communication | hidden |');
  console.log('| --- | ---: | ---: | ---: | ---: | ---: | ---: |');
  const aloneMs = median(found.get('one process')!.map(({ totalMs }) => totalMs));
  for (const [name, figures] of found) {
    const of = (figure: keyof Figures): number => median(figures.map((each) => each[figure]));
    const ms = (value: number): string => value.toFixed(3);
    const share = median(figures.map(({ hiddenMs, communicationMs }) => hiddenMs / communicationMs));
    const sent = name === 'one process' ? '– | –' : `${ms(of('communicationMs'))} | ${Math.round(100 * share)} %`;
    const relative = `${(of('totalMs') / aloneMs).toFixed(2)} ×`;
    const row = [name, ms(of('totalMs')), ms(of('computeMs')), ms(of('switchMs')), relative, sent];
    console.log(`| ${row.join(' | ')} |`);
  }
}
if (performance.now() >= END_MS) console.log('\nThe time was over before every round was made.');
