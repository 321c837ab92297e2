import type { Config } from '../config.ts';

/** Files above this are bound by reading their weights: one wide instance serves them better than several narrow ones. */
const WIDE_ABOVE_BYTES = 16e6;

/** How a version is spread over the cores. */
export interface Spread {
  /** The most instances. */
  readonly instances: number;
  /** Threads of each. */
  readonly threads: number;
}

/** The instances and threads of a model, as configured or by the size of its file. */
export function spreadOver(config: Pick<Config, 'cores' | 'instances' | 'intraOpThreads'>, fileBytes: number): Spread {
  const wide = fileBytes > WIDE_ABOVE_BYTES;
  const threads = config.intraOpThreads === 'auto' ? (wide ? config.cores : 1) : config.intraOpThreads;
  if (config.instances !== 'auto') return { instances: config.instances, threads };
  return { instances: wide ? 1 : Math.max(1, Math.floor(config.cores / threads)), threads };
}
