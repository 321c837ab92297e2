import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../clock.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../logging.ts';
import type { BuildInfo, ServerMetrics } from '../metrics/server-metrics.ts';
import type { LogSettings } from '../protocol/log-settings.ts';
import type { RemoteInputs } from '../protocol/remote-inputs.ts';
import type { ModelControl } from '../serving/model-control.ts';
import type { ModelRegistry } from '../serving/registry.ts';
import type { Servable } from '../serving/servable.ts';
import type { TrainingService } from '../training/training-service.ts';

/** What the routes work with. */
export interface HttpParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly registry: ModelRegistry;
  readonly control: ModelControl;
  readonly metrics: ServerMetrics;
  readonly build: BuildInfo;
  /** Why the server is not ready; undefined when it is. */
  readonly notReady: () => string | undefined;
  /** Whether connections are to be closed after their answer. */
  readonly isDraining: () => boolean;
  readonly logger: Logger;
  readonly logSettings: LogSettings;
  /** Undefined without `--training-dir`. */
  readonly trainings: TrainingService | undefined;
  /** Undefined where no remote inputs are fetched. */
  readonly remote: RemoteInputs | undefined;
}

/** What the hooks note of a request. */
export interface Noted {
  /** When its headers had been read. */
  receivedMs: number;
  /** The model it is for, once it is known. */
  model: Servable | undefined;
  readonly reply: FastifyReply;
  /** Set where the body has been expanded; may be called as soon as it has been read, and is when it is answered. */
  release: (() => void) | undefined;
}

/** The name under which a request carries {@link Noted}. */
export const NOTED = 'shoal';

/** What has been noted of a request. */
export function notedOf(request: FastifyRequest): Noted {
  return (request as FastifyRequest & { [NOTED]: Noted })[NOTED];
}
