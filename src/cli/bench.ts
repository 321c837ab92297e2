import type { EventEmitter } from 'node:events';
import type { Config } from '../config.ts';
import { ConfigError } from '../config-error.ts';
import { ShoalError } from '../errors.ts';
import { takeAccount } from './bench/account.ts';
import { formatAccount } from './bench/account-report.ts';
import { HttpTarget } from './bench/http-target.ts';
import { InProcessTarget } from './bench/in-process-target.ts';
import { type Inputs, readInputs } from './bench/inputs.ts';
import type { BenchJob } from './bench/job.ts';
import { type Load, RequestFailure, runLoad } from './bench/load.ts';
import { formatReport, reportOf } from './bench/report.ts';
import type { Target } from './bench/target.ts';
import { explainStartFailure } from './explain.ts';
import { EXIT, type Host } from './host.ts';
import { plural } from './text.ts';

/** Before anything is counted, so that code is compiled and connections are open: a fifth of the time, and at most this. */
const WARM_UP_MS = 1000;

/**
 * Sends requests to a model for a while, and tells how many were answered and how long that took. Exit code 1 when
 * none was answered.
 *
 * @param signals emits SIGINT and SIGTERM, which end it early: `process`.
 * @throws {ConfigError} when the address or the input is wrong.
 */
export async function bench(job: BenchJob, config: Config, host: Host, signals: EventEmitter): Promise<number> {
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  signals.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  let target: Target | undefined;
  try {
    const given = job.input === undefined ? undefined : readInputs(job.input, host.cwd);
    if (job.account) return await account(job, config, given, host, stop.signal);
    target =
      job.url === undefined
        ? await InProcessTarget.start(config, job.model)
        : new HttpTarget(job.url, job.model, job.clients);
    return await measure(target, job, given, host, stop.signal);
  } catch (thrown) {
    const reason = explainStartFailure(thrown, config);
    if (reason !== undefined) {
      host.err(`shoal: ${reason}\n`);
      return EXIT.cannotServe;
    }
    if (!(thrown instanceof ShoalError || thrown instanceof RequestFailure)) throw thrown;
    host.err(`shoal: ${thrown.message}\n`);
    return EXIT.failed;
  } finally {
    await target?.close();
    signals.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

async function measure(
  target: Target,
  job: BenchJob,
  given: Inputs | undefined,
  host: Host,
  signal: AbortSignal,
): Promise<number> {
  const inputs = given ?? (await target.makeInputs(job.rows));
  const load: Load =
    job.rate === undefined
      ? { kind: 'closed', clients: job.clients }
      : { kind: 'open', rate: job.rate, arrivals: job.arrivals, most: job.clients };
  const durationMs = job.seconds * 1000;
  const send = () => target.send(inputs);
  await runLoad(load, Math.min(WARM_UP_MS, durationMs / 5), send, signal);
  const report = reportOf(await runLoad(load, durationMs, send, signal));
  if (job.json) host.out(`${JSON.stringify({ model: job.model, target: target.name, load, ...report }, null, 2)}\n`);
  else {
    const how =
      load.kind === 'closed'
        ? plural(load.clients, 'client')
        : `${load.rate} requests a second, ${load.arrivals} arrivals`;
    const what = given === undefined ? `made-up requests of ${plural(job.rows, 'row')}` : `the request of ${job.input}`;
    host.out(`model '${job.model}' of ${target.name}: ${how}, ${what}\n\n${formatReport(report)}`);
  }
  return report.requests > 0 ? EXIT.ok : EXIT.failed;
}

async function account(
  job: BenchJob,
  config: Config,
  given: Inputs | undefined,
  host: Host,
  signal: AbortSignal,
): Promise<number> {
  if (job.url !== undefined) {
    throw new ConfigError('--account', job.url, 'no address: it looks into the processes of a model in this process');
  }
  const found = await takeAccount(job, config, given, signal);
  host.out(job.json ? `${JSON.stringify(found, null, 2)}\n` : formatAccount(found));
  return EXIT.ok;
}
