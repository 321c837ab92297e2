import type { FastifyRequest } from 'fastify';
import type { Clock } from '../clock.ts';
import type { Config } from '../config.ts';
import type { BuildInfo, ServerMetrics } from '../metrics/server-metrics.ts';
import type { ModelRegistry } from '../serving/registry.ts';

/** What the routes work with. */
export interface HttpParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly registry: ModelRegistry;
  readonly metrics: ServerMetrics;
  readonly build: BuildInfo;
  /** Why the server is not ready; undefined when it is. */
  readonly notReady: () => string | undefined;
  /** Whether connections are to be closed after their answer. */
  readonly isDraining: () => boolean;
  /** When the headers of a request had been read. */
  readonly receivedMs: (request: FastifyRequest) => number;
}
