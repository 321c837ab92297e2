import type { Registry } from 'prom-client';
import { addCounter, addGauge } from './collectors.ts';

/** What is counted of a model's trainings. */
interface Meters {
  readonly model: string;
  readonly examples: number | undefined;
  readonly steps: number;
  readonly rows: number;
  readonly computeMs: number;
  readonly waitMs: number;
  readonly loss: number | undefined;
  readonly state: string | undefined;
  readonly published: number;
}

/**
 * Adds the metrics of trainings.
 *
 * @param states all states that a training can be in.
 * @param read gives the meters of every model that has some; labels are bounded by the models on disk.
 */
export function addTrainingMetrics(registry: Registry, states: readonly string[], read: () => Iterable<Meters>): void {
  const labelNames = ['model'];
  const counters: readonly [string, string, (meters: Meters) => number][] = [
    ['shoal_training_steps_total', 'Steps that trainings have made.', (meters) => meters.steps],
    ['shoal_training_rows_total', 'Rows that these steps were made with.', (meters) => meters.rows],
    ['shoal_training_compute_seconds_total', 'Time spent computing steps.', (meters) => meters.computeMs / 1e3],
    ['shoal_training_wait_seconds_total', 'Time spent waiting for gaps.', (meters) => meters.waitMs / 1e3],
    ['shoal_training_published_total', 'Versions that trainings have published.', (meters) => meters.published],
  ];
  for (const [name, help, pick] of counters) {
    addCounter(registry, {
      name,
      help,
      labelNames,
      read: (report) => {
        for (const meters of read()) report({ model: meters.model }, pick(meters));
      },
    });
  }
  const gauges: readonly [string, string, (meters: Meters) => number | undefined][] = [
    ['shoal_training_examples', 'Labelled rows that are stored.', (meters) => meters.examples],
    ['shoal_training_loss', 'Loss of the last step.', (meters) => meters.loss],
  ];
  for (const [name, help, pick] of gauges) {
    addGauge(registry, {
      name,
      help,
      labelNames,
      read: (report) => {
        for (const meters of read()) {
          const value = pick(meters);
          if (value !== undefined) report({ model: meters.model }, value);
        }
      },
    });
  }
  addGauge(registry, {
    name: 'shoal_training_state',
    help: '1 for the state that the latest training of a model is in, 0 for the others.',
    labelNames: ['model', 'state'],
    read: (report) => {
      for (const { model, state: current } of read()) {
        if (current === undefined) continue;
        for (const state of states) report({ model, state }, state === current ? 1 : 0);
      }
    },
  });
}
