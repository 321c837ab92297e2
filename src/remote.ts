import { type ByteBudget, shareOf } from './batching/byte-budget.ts';
import type { Clock } from './clock.ts';
import type { Config } from './config.ts';
import { RemoteFetcher, type RemoteTest } from './loading/remote.ts';
import type { ServerMetrics } from './metrics/server-metrics.ts';
import { RemoteInputs } from './protocol/remote-inputs.ts';

/** What fetches the remote inputs of a service; its program is loaded only where that is asked for. */
export function createRemoteInputs(
  config: Config,
  clock: Clock,
  budget: ByteBudget,
  metrics: ServerMetrics,
  test: RemoteTest | undefined,
): RemoteInputs {
  const hold = shareOf(budget, clock);
  const fetcher = new RemoteFetcher({
    hosts: config.remoteHosts,
    maxBytes: config.remoteMaxBytes,
    timeoutMs: config.remoteTimeoutMs,
    concurrency: config.remoteConcurrency,
    hold,
    events: metrics.addFetches(),
    ...(test && { test }),
  });
  return new RemoteInputs(fetcher, hold, clock, config.remoteMaxBytes);
}
