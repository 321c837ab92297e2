import type { Registry } from 'prom-client';
import { addCounter, addHistogram } from './collectors.ts';
import { HotHistogram, SECONDS } from './histogram.ts';

/** How fetches of remote inputs end, as a label. */
export const FETCH_OUTCOMES = ['ok', 'refused', 'failed', 'timeout', 'cancelled', 'full'] as const;

/** Counts what a fetcher of remote inputs does. */
export class FetchMeters {
  readonly outcomes: Record<(typeof FETCH_OUTCOMES)[number], number> = {
    ok: 0,
    refused: 0,
    failed: 0,
    timeout: 0,
    cancelled: 0,
    full: 0,
  };
  readonly duration: HotHistogram = new HotHistogram(SECONDS);
  bytes = 0;
  joined = 0;

  ended(outcome: (typeof FETCH_OUTCOMES)[number], bytes: number, ms: number): void {
    this.outcomes[outcome]++;
    this.bytes += bytes;
    this.duration.observe(ms / 1e3);
  }

  shared(): void {
    this.joined++;
  }
}

/** Has `registry` show them. */
export function addFetchMetrics(registry: Registry, meters: FetchMeters): void {
  addCounter(registry, {
    name: 'shoal_fetches_total',
    help: 'Addresses of remote inputs that were fetched, by how that ended.',
    labelNames: ['outcome'],
    read: (report) => {
      for (const outcome of FETCH_OUTCOMES) report({ outcome }, meters.outcomes[outcome]);
    },
  });
  addCounter(registry, {
    name: 'shoal_fetches_shared_total',
    help: 'Times that a fetch under way served one more who asked for the same address.',
    read: (report) => report({}, meters.joined),
  });
  addCounter(registry, {
    name: 'shoal_fetched_bytes_total',
    help: 'Bytes of remote inputs that were fetched, those of failed fetches included.',
    read: (report) => report({}, meters.bytes),
  });
  addHistogram(registry, {
    name: 'shoal_fetch_duration_seconds',
    help: 'From when an address was asked for to when its bytes were there or the fetch had failed, waiting included.',
    read: (report) => report({}, meters.duration),
  });
}
