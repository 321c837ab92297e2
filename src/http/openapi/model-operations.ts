import type { ErrorCode } from '../../errors.ts';
import { exampleInfer } from '../../protocol/example-command.ts';
import { needsBinaryInputs } from '../../protocol/example-request.ts';
import type { TensorSpec } from '../../tensor/signature.ts';
import { type DescribedModel, hasExample, type ModelParts } from './described-model.ts';
import type { ErrorResponses } from './errors.ts';
import { type InferText, inferOperation } from './infer-operations.ts';
import { ComponentNames, type Json } from './json-schema.ts';
import { operation } from './operation.ts';
import { pipelinePredict } from './pipeline-operations.ts';
import { predictOperation } from './predict-operations.ts';

const INFER_ERRORS: readonly ErrorCode[] = [
  'MODEL_NOT_FOUND',
  'BODY_TIMEOUT',
  'BODY_TOO_LARGE',
  'QUEUE_FULL',
  'DEADLINE_UNREACHABLE',
  'HEADERS_TOO_LARGE',
  'INFERENCE_FAILED',
  'INTERNAL',
  'MODEL_NOT_READY',
  'EXECUTOR_LOST',
  'SHUTTING_DOWN',
  'DEADLINE_EXCEEDED',
];

/** Operations of each model and each version, with the tensors it really has. */
export function modelParts(models: readonly DescribedModel[], responses: ErrorResponses): ModelParts {
  const parts: ModelParts = { paths: {}, schemas: {}, examples: {}, tags: [] };
  const components = new ComponentNames();
  const ids = new ComponentNames();
  for (const model of models) {
    const { name, version, batching } = model.summary;
    const component = components.take(`${name}.${version}`);
    const segment = `models/${encodeURIComponent(name)}`;
    const post = (id: string, summary: string, description: string, text: InferText): Json => ({
      post: operation(
        { id: ids.take(id), tag: modelTag(name), summary, description, errors: INFER_ERRORS, ...text },
        responses,
      ),
    });
    const infer = inferOperation(component, model, parts);
    const { pipeline } = model;
    const predict = pipeline === undefined ? predictOperation(component, model, parts) : pipelinePredict(pipeline);
    const description = describeModel(model);
    const v1 = 'As KServe V1 and TensorFlow Serving have it: nested JSON, without names where there is but one tensor.';
    if (model.isDefault) {
      parts.tags.push({ name: modelTag(name), description: batching });
      parts.paths[`/v2/${segment}/infer`] = post(`infer_${name}`, `Run ${name}`, description, infer);
      parts.paths[`/v1/${segment}:predict`] = post(`predict_${name}`, `Run ${name}, V1`, v1, predict);
    }
    const which = `Run version ${version} of ${name}`;
    const ofVersion = `${segment}/versions/${version}`;
    parts.paths[`/v2/${ofVersion}/infer`] = post(`infer_${name}_${version}`, which, description, infer);
    parts.paths[`/v1/${ofVersion}:predict`] = post(`predict_${name}_${version}`, `${which}, V1`, v1, predict);
  }
  return parts;
}

/** The tag under which a model's operations stand. */
function modelTag(name: string): string {
  return `model ${name}`;
}

/** What the metadata says of the model, for people. */
function describeModel(model: DescribedModel): string {
  const { summary, signature, pipeline } = model;
  const { provider, providerReason, batching, maxBatchSize } = summary;
  const rows = signature.batched ? `; at most ${maxBatchSize} rows in one request` : '';
  const table = (title: string, specs: readonly TensorSpec[]): string[] => [
    `| ${title} | datatype | shape |`,
    '| --- | --- | --- |',
    ...specs.map((spec) => `| ${code(spec.name)} | ${spec.datatype} | \`[${spec.shape.join(', ')}]\` |`),
  ];
  const lines = [
    ...table('input', signature.inputs),
    '',
    ...table('output', signature.outputs),
    '',
    pipeline === undefined
      ? `Requests: ${batching}${rows}. Runs on ${provider} (${providerReason}).`
      : [pipeline.description, `A pipeline: ${batching}.`].join(' ').trim(),
  ];
  const command =
    pipeline === undefined && (needsBinaryInputs(signature) || !hasExample(model))
      ? exampleInfer(summary, 'http://127.0.0.1:8000')
      : undefined;
  if (command !== undefined) {
    const why = needsBinaryInputs(signature) ? 'FP16 is taken in binary only' : 'The example is too long to be shown';
    lines.push('', `${why}; this makes it and sends it (put in the address of your server):`, '');
    lines.push('```sh', command.command, '```');
  }
  return lines.join('\n');
}

/** Text that Markdown shows as it is, in a cell of a table. */
function code(text: string): string {
  const shown = text.replace(/\s+/g, ' ').replaceAll('|', '\\|');
  const fence = '`'.repeat(1 + Math.max(0, ...[...shown.matchAll(/`+/g)].map(([run]) => run.length)));
  const space = /^`|`$/.test(shown) ? ' ' : '';
  return `${fence}${space}${shown}${space}${fence}`;
}
