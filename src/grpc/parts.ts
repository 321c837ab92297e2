import type { Clock } from '../clock.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../logging.ts';
import type { BuildInfo, ServerMetrics } from '../metrics/server-metrics.ts';
import type { LogSettings } from '../protocol/log-settings.ts';
import type { RemoteInputs } from '../protocol/remote-inputs.ts';
import type { ModelControl } from '../serving/model-control.ts';
import type { ModelRegistry } from '../serving/registry.ts';

/** What the methods work with. */
export interface GrpcParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly registry: ModelRegistry;
  readonly control: ModelControl;
  readonly metrics: ServerMetrics;
  readonly build: BuildInfo;
  /** Why the server is not ready; undefined when it is. */
  readonly notReady: () => string | undefined;
  readonly logger: Logger;
  readonly logSettings: LogSettings;
  /** Undefined where no remote inputs are fetched. */
  readonly remote: RemoteInputs | undefined;
}
