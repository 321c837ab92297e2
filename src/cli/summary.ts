import type { Config } from '../config.ts';
import { exampleInfer } from '../protocol/example-command.ts';
import type { ModelSummary } from '../server.ts';
import { alignColumns, plural, reachableUrl } from './text.ts';

/** What a terminal shows once every model is ready or failed. */
export interface StartFacts {
  readonly url: string;
  /** Where `/metrics` is: `url` unless it has a port of its own. */
  readonly metricsUrl: string;
  /** Where gRPC is; undefined when it is off. */
  readonly grpcAddress?: string | undefined;
  readonly models: readonly ModelSummary[];
  readonly config: Pick<Config, 'models' | 'cores' | 'modelControlMode'>;
}

/** The first line, printed as soon as the port is open. */
export function formatListening(version: string, url: string): string {
  return `Shoal ${version} listens on ${url}\n`;
}

/** One line per model, and what to try next. */
export function formatSummary({ url, metricsUrl, grpcAddress, models, config }: StartFacts): string {
  const base = reachableUrl(url);
  if (models.length === 0) return `\n${describeEmpty(config)}\n`;
  const rows = models.map((model) => [
    model.name,
    `v${model.version}`,
    model.state,
    ...(model.state === 'failed'
      ? [model.reason ?? 'no reason given']
      : [model.provider, describeInstances(model), model.batching]),
  ]);
  const failed = models.filter((model) => model.state === 'failed');
  const ready = models.filter((model) => model.state === 'ready');
  const counts = `${plural(ready.length, 'model')} ready${failed.length > 0 ? `, ${failed.length} failed` : ''}`;
  let text = `${counts}; runs use ${plural(config.cores, 'core')}${describeProvider(models)}\n\n`;
  text += alignColumns(rows, '  ');
  const first = ready.map((model) => exampleInfer(model, base)).sort(byLength)[0];
  text += `\nTry it:\n${first === undefined ? '' : `  ${first.command}\n`}`;
  text += `  ${base}/ in a browser; ${reachableUrl(metricsUrl)}/metrics for Prometheus\n`;
  if (grpcAddress !== undefined) text += `  ${grpcAddress} for clients of Triton's gRPC service\n`;
  text += `  Ctrl-C finishes what was accepted, then stops\n`;
  return text;
}

/** How a server without models becomes useful. */
export function describeEmpty({
  models: folder,
  modelControlMode,
}: Pick<Config, 'models' | 'modelControlMode'>): string {
  if (modelControlMode === 'explicit') {
    return `No models are loaded yet: POST /v2/repository/models/<name>/load loads one of ${folder}, --load-model <name> at the start`;
  }
  const path = folder.replace(/\/+$/, '');
  return `No models in ${folder} yet: add one as ${path}/<name>.onnx or ${path}/<name>/1/model.onnx and start again`;
}

/** Models run on the same provider unless their configuration says otherwise, so that the reason for it is said once. */
function describeProvider(models: readonly ModelSummary[]): string {
  const ready = models.filter((one) => one.state === 'ready');
  const model = ready[0];
  return model === undefined || ready.some((one) => one.providerReason !== model.providerReason)
    ? ''
    : ` on ${model.provider} (${model.providerReason})`;
}

function describeInstances({ maxInstances, threads }: ModelSummary): string {
  return `${maxInstances > 1 ? `up to ${maxInstances}` : maxInstances} × ${plural(threads, 'thread')}`;
}

function byLength(a: { command: string } | undefined, b: { command: string } | undefined): number {
  return (a?.command.length ?? Number.POSITIVE_INFINITY) - (b?.command.length ?? Number.POSITIVE_INFINITY);
}
