import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { HotHistogram } from './histogram.ts';

/** Metrics of prom-client whose values are read when they are scraped, from wherever they are kept. */

type Labels = Record<string, string>;

/** Gives one value with its labels to a metric that is being collected. */
type Report<V> = (labels: Labels, value: V) => void;

interface Description<V> {
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly string[];
  /** Called at each scrape; reports every series there is. */
  readonly read: (report: Report<V>) => void;
}

/** A counter whose totals are kept elsewhere. */
export function addCounter(registry: Registry, { name, help, labelNames = [], read }: Description<number>): void {
  new Counter({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset();
      read((labels, value) => this.inc(labels, value));
    },
  });
}

/** A gauge read at each scrape. */
export function addGauge(registry: Registry, { name, help, labelNames = [], read }: Description<number>): void {
  new Gauge({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset();
      read((labels, value) => this.set(labels, value));
    },
  });
}

interface Sample {
  readonly metricName: string;
  readonly labels: Record<string, string | number>;
  readonly value: number;
}

/** prom-client's histogram takes single observations only, so that one with ready counts brings its own samples. */
class CollectedHistogram extends Histogram {
  readonly #description: Description<HotHistogram>;

  constructor(registry: Registry, description: Description<HotHistogram>) {
    super({
      name: description.name,
      help: description.help,
      labelNames: [...(description.labelNames ?? [])],
      registers: [registry],
    });
    this.#description = description;
  }

  /** What prom-client calls to write the text format. */
  async getForPromString(): Promise<object> {
    const { name, help, read } = this.#description;
    const values: Sample[] = [];
    read((labels, histogram) => {
      let cumulated = 0;
      for (const [i, n] of histogram.counts.entries()) {
        cumulated += n;
        const le = histogram.bounds[i] ?? '+Inf';
        values.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: cumulated });
      }
      values.push({ metricName: `${name}_sum`, labels, value: histogram.sum });
      values.push({ metricName: `${name}_count`, labels, value: cumulated });
    });
    return { name, help, type: 'histogram', values, aggregator: 'sum' };
  }
}

/** A histogram whose counts are kept elsewhere. */
export function addHistogram(registry: Registry, description: Description<HotHistogram>): void {
  new CollectedHistogram(registry, description);
}
