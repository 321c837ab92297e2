import { existsSync, readdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Config } from '../config.ts';
import { ConfigError } from '../config-error.ts';
import { type Example, exampleInfer } from '../protocol/example-command.ts';
import type { ModelSummary } from '../server.ts';
import type { TensorSpec } from '../tensor/signature.ts';
import { formatShape } from '../tensor/tensor.ts';
import { explainStartFailure } from './explain.ts';
import { EXIT, type Host } from './host.ts';
import { alignColumns, baseUrlOf, formatBytes, reachableUrl } from './text.ts';

/** Loads and probes every model at a path. */
export type InspectModels = (path: string, config: Config) => Promise<readonly ModelSummary[]>;

/**
 * Prints what each model at `path` takes and gives. Exit code 1 when one failed or there was none, 3 when the folder
 * cannot be served at all.
 *
 * @throws {ConfigError} when nothing is at `path`.
 */
export async function inspect(
  path: string,
  config: Config,
  options: { readonly json: boolean },
  inspectModels: InspectModels,
  host: Host,
): Promise<number> {
  const models = await readModels(path, config, inspectModels, host);
  if (models === undefined) return EXIT.cannotServe;
  const base = reachableUrl(baseUrlOf(config.host, config.port));
  const reports = models.map((model) => ({
    ...model,
    example: exampleInfer(model, base, versionToName(model, models)),
  }));
  if (options.json) host.out(`${JSON.stringify(reports, null, 2)}\n`);
  else if (reports.length > 0) host.out(reports.map(formatReport).join('\n'));
  if (reports.length === 0) {
    host.err(noModels(path, host));
    return EXIT.failed;
  }
  return reports.some((model) => model.state !== 'ready') ? EXIT.failed : EXIT.ok;
}

/**
 * The models at a path, loaded and probed; undefined when the folder cannot be served, which has been said then.
 *
 * @throws {ConfigError} when nothing is at `path`.
 */
export async function readModels(
  path: string,
  config: Config,
  inspectModels: InspectModels,
  host: Host,
): Promise<readonly ModelSummary[] | undefined> {
  if (!existsSync(resolve(host.cwd, path))) {
    throw new ConfigError(
      'argument <file|folder>',
      path,
      'the path of an .onnx file or a folder of models (nothing is there)',
    );
  }
  try {
    return await inspectModels(path, config);
  } catch (error) {
    const reason = explainStartFailure(error, config);
    if (reason === undefined) throw error;
    host.err(`shoal: ${reason}\n`);
    return undefined;
  }
}

/** A line that says that no models are at a path. */
export function noModels(path: string, host: Host): string {
  const isModel = readdirSync(resolve(host.cwd, path)).some((entry) => /^\d+$/.test(entry));
  const hint = isModel ? `; this looks like the folder of one model, name ${dirname(path)} instead` : '';
  return `shoal: no models in ${path}, expected <name>.onnx or <name>/<version>/model.onnx${hint}\n`;
}

/** One model for people: facts, tensors, a curl. */
export function formatReport(model: ModelSummary & { readonly example: Example | undefined }): string {
  const load = model.loadMs === undefined ? '' : `, loaded and probed in ${Math.round(model.loadMs)} ms`;
  const facts = [
    ['file', `${model.file}${model.fileBytes > 0 ? ` (${formatBytes(model.fileBytes)})` : ''}`],
    ['state', model.state === 'failed' ? `failed: ${model.reason ?? 'no reason given'}` : `${model.state}${load}`],
  ];
  if (model.configuration !== undefined) facts.push(['configuration', model.configuration]);
  if (model.signature !== undefined) {
    facts.push(['provider', `${model.provider}: ${model.providerReason}`]);
    facts.push(['batching', model.batching]);
    facts.push(['rows', model.signature.batched ? `at most ${model.maxBatchSize} in one request` : '1 per request']);
  }
  let text = `${model.name} version ${model.version}\n${alignColumns(facts, '  ')}`;
  if (model.signature !== undefined) {
    const { inputs, outputs } = model.signature;
    const rows = [
      ['', 'name', 'datatype', 'shape', 'batch axis'],
      ...inputs.map((spec) => tensorRow('input', spec)),
      ...outputs.map((spec) => tensorRow('output', spec)),
    ];
    text += `\n${alignColumns(rows, '  ')}`;
  }
  if (model.example !== undefined) {
    const { command, note } = model.example;
    text += `\n  ${command}\n${note === undefined ? '' : `  ${note}\n`}`;
  }
  return text;
}

function tensorRow(kind: string, spec: TensorSpec): string[] {
  return [
    kind,
    spec.name,
    spec.datatype,
    formatShape(spec.shape),
    spec.batchAxis === null ? 'none' : `${spec.batchAxis}`,
  ];
}

/** The version to put into the URL: none for the one that is served by default, the highest. */
function versionToName(model: ModelSummary, models: readonly ModelSummary[]): string | undefined {
  const versions = models.filter((other) => other.name === model.name).map((other) => Number(other.version));
  return Number(model.version) === Math.max(...versions) ? undefined : model.version;
}
