import asciichart from 'asciichart';
import type { Profile } from '../serving/profile/profile.ts';
import type { Stop, SweptSplit } from '../serving/profile/sweep.ts';
import { alignColumns, plural } from './text.ts';

/** Lines of the plot. */
const HEIGHT = 12;

/** Columns from one size to the next. */
const STEP = 8;

/** Columns of the labels beside the plot. */
const LABEL = 10;

const COLORS = [
  asciichart.green,
  asciichart.blue,
  asciichart.magenta,
  asciichart.yellow,
  asciichart.cyan,
  asciichart.red,
] as const;

const STOPS: Readonly<Record<Stop, string>> = {
  flat: 'more rows did not raise the rows per second',
  largest: 'the largest run allowed',
  memory: 'more rows would have passed the memory budget',
  time: 'the time was over',
  failed: 'a run failed',
};

/**
 * A profile for people: a table, a plot, a sentence.
 *
 * @param colored whether the lines of the plot have colors; otherwise only the best split is drawn.
 */
export function formatProfile(profile: Profile, colored: boolean): string {
  const { model, version, key, batching, splits, best, sentence } = profile;
  const where = `${key.provider}, ${plural(key.cores, 'core')} of ${key.processor}, ONNX Runtime ${key.runtime}`;
  let text = `${model} version ${version}: ${batching}\n${where}\n`;
  for (const split of splits)
    text += `\n${formatSplit(split, split.instances === best.instances && split.threads === best.threads)}`;
  const plot = formatPlot(splits, best, colored);
  if (plot !== '') text += `\n${plot}`;
  return `${text}\n${sentence}\n`;
}

function formatSplit(split: SweptSplit, isBest: boolean): string {
  const { sizes, stop, failure } = split;
  const head = `${nameOf(split)}${isBest ? ' (best)' : ''}: up to ${sizes.at(-1)?.rows ?? 0} rows, ${STOPS[stop]}${failure === undefined ? '' : ` (${failure})`}\n`;
  if (sizes.length === 0) return head;
  const one = sizes[0]!.rowsPerSecond;
  const rows = sizes.map(({ rows, runs, ms, highMs, rowsPerSecond }) => [
    String(rows),
    String(runs),
    digits(ms),
    digits(highMs),
    digits(rowsPerSecond),
    `${(rowsPerSecond / one).toFixed(2)}×`,
  ]);
  return head + alignColumns(rightAligned([['rows', 'runs', 'ms p25', 'ms p90', 'rows/s', 'gain'], ...rows]), '  ');
}

/** Rows per second by rows per run, a column for each doubling. */
function formatPlot(splits: readonly SweptSplit[], best: Profile['best'], colored: boolean): string {
  const drawn = splits.filter(
    ({ sizes, instances, threads }) =>
      sizes.length > 1 && (colored || (instances === best.instances && threads === best.threads)),
  );
  if (drawn.length === 0) return '';
  const most = Math.max(...drawn.flatMap(({ sizes }) => sizes.map(({ rowsPerSecond }) => rowsPerSecond)));
  const plot = asciichart.plot(
    drawn.map(({ sizes }) => stretched(sizes.map(({ rowsPerSecond }) => rowsPerSecond))),
    {
      height: HEIGHT,
      min: 0,
      max: most,
      offset: 3,
      format: (value) => digits(Math.max(0, value)).padStart(LABEL),
      colors: drawn.map((_, i) => (colored ? COLORS[i % COLORS.length] : undefined)),
    },
  );
  const longest = drawn.reduce((a, b) => (b.sizes.length > a.sizes.length ? b : a));
  const axis = longest.sizes.map(({ rows }) => String(rows).padEnd(STEP)).join('');
  const legend = colored
    ? drawn.map((split, i) => `${COLORS[i % COLORS.length]}${nameOf(split)}${asciichart.reset}`)
    : [];
  return `${[`rows per second by rows per run${legend.length > 0 ? `: ${legend.join(', ')}` : ''}`, ...plot.split('\n').map((line) => line.trimEnd()), `${' '.repeat(LABEL + 1)}${axis.trimEnd()}`].join('\n')}\n`;
}

/** The values with the points between them on straight lines. */
function stretched(values: readonly number[]): number[] {
  const points: number[] = [];
  for (let i = 0; i + 1 < values.length; i++) {
    for (let step = 0; step < STEP; step++) points.push(values[i]! + ((values[i + 1]! - values[i]!) * step) / STEP);
  }
  return [...points, values.at(-1)!];
}

function nameOf({ instances, threads }: Profile['best']): string {
  return `${plural(instances, 'executor')} of ${plural(threads, 'thread')}`;
}

function rightAligned(rows: readonly (readonly string[])[]): string[][] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) => row.map((cell, i) => cell.padStart(widths[i]!)));
}

/** Three significant digits, or all before the point. */
function digits(value: number): string {
  return value >= 100 ? String(Math.round(value)) : Number(value.toPrecision(3)).toString();
}
