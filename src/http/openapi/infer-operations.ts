import type { ErrorCode } from '../../errors.ts';
import { exampleInfer } from '../../protocol/example-command.ts';
import { exampleBinary, exampleInputs, exampleJson, needsBinaryInputs } from '../../protocol/example-request.ts';
import type { ModelSummary } from '../../serving/model-version.ts';
import type { Signature, TensorSpec } from '../../tensor/signature.ts';
import { JSON_TYPE } from '../replies.ts';
import type { ErrorResponses } from './errors.ts';
import { ComponentNames, type Json, ref } from './json-schema.ts';
import { operation } from './operation.ts';
import { HEADER_LENGTH } from './reply-schemas.ts';
import { replySchema, requestSchema } from './tensor-schemas.ts';

/** A model version that answers. */
export interface DescribedModel {
  readonly summary: ModelSummary;
  readonly signature: Signature;
  /** Whether requests that name no version go to this one. */
  readonly isDefault: boolean;
}

const BINARY_TYPE = 'application/octet-stream';

/** Examples with more elements than this would make the document, and who shows it, slow. */
const EXAMPLE_LIMIT = 16_384;

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

/** What models add to the document. */
export interface ModelParts {
  readonly paths: Record<string, Json>;
  readonly schemas: Record<string, Json>;
  readonly examples: Record<string, Json>;
  readonly tags: Json[];
}

/** One operation per model and one per version, each with the tensors it really has. */
export function modelParts(models: readonly DescribedModel[], responses: ErrorResponses): ModelParts {
  const parts: ModelParts = { paths: {}, schemas: {}, examples: {}, tags: [] };
  const components = new ComponentNames();
  const ids = new ComponentNames();
  for (const model of models) {
    const { name, version } = model.summary;
    const component = components.take(`${name}.${version}`);
    const body = requestBody(component, model, parts);
    const ok = okReply(component, model, parts);
    const post = (id: string, summary: string): Json => ({
      post: operation(
        {
          id: ids.take(id),
          tag: modelTag(name),
          summary,
          description: describeModel(model),
          parameters: [headerLength(model.signature)],
          requestBody: body,
          ok,
          errors: INFER_ERRORS,
        },
        responses,
      ),
    });
    const path = `/v2/models/${encodeURIComponent(name)}`;
    if (model.isDefault) {
      parts.paths[`${path}/infer`] = post(`infer_${name}`, `Run ${name}`);
      parts.tags.push({ name: modelTag(name), description: model.summary.batching });
    }
    const summary = `Run version ${version} of ${name}`;
    parts.paths[`${path}/versions/${version}/infer`] = post(`infer_${name}_${version}`, summary);
  }
  return parts;
}

/** The tag under which a model's operations stand. */
function modelTag(name: string): string {
  return `model ${name}`;
}

function isShort(signature: Signature): boolean {
  return exampleInputs(signature).reduce((sum, { count }) => sum + count, 0) <= EXAMPLE_LIMIT;
}

function requestBody(component: string, { signature, summary }: DescribedModel, parts: ModelParts): Json {
  const name = `Request.${component}`;
  parts.schemas[name] = requestSchema(signature, summary.maxBatchSize);
  const schema = ref('schemas', name);
  const binary = needsBinaryInputs(signature);
  if (isShort(signature)) {
    const value = binary ? binaryText(signature) : exampleJson(signature);
    parts.examples[component] = { summary: 'one row', value };
  }
  const examples = isShort(signature) ? { examples: { 'one row': ref('examples', component) } } : {};
  return {
    required: true,
    description:
      'JSON, or JSON followed by the bytes of the inputs that have `parameters.binary_data_size` instead of `data`, in ' +
      'their order: little-endian, row-major; elements of BYTES each behind their length in 32 bits. The header ' +
      '`Inference-Header-Content-Length` then says how many bytes of the body are JSON. ' +
      'The content type of a request is not looked at.',
    content: binary
      ? { [BINARY_TYPE]: { 'x-json': schema, ...examples } }
      : { [JSON_TYPE]: { schema, ...examples }, [BINARY_TYPE]: {} },
  };
}

/** The body of a binary request. Its bytes are JSON and zeros, so that it can stand as text. */
function binaryText(signature: Signature): string {
  const { json, sizes } = exampleBinary(signature);
  return json + sizes.map((size) => '\0'.repeat(size)).join('');
}

/** The parameter with the bytes of JSON in the body; where every request has it, with that of the example. */
function headerLength(signature: Signature): Json {
  if (!needsBinaryInputs(signature)) return ref('parameters', 'HeaderLength');
  return { ...HEADER_LENGTH, required: true, example: Buffer.byteLength(exampleBinary(signature).json) };
}

function okReply(component: string, { signature, summary }: DescribedModel, parts: ModelParts): Json {
  const schema = replySchema(summary, signature);
  const name = `Reply.${component}`;
  if (schema !== undefined) parts.schemas[name] = schema;
  return {
    description:
      'The outputs, in JSON. Where at least one was asked for in binary: such JSON, in which those outputs have ' +
      '`parameters.binary_data_size` instead of `data`, followed by their bytes.',
    headers: {
      'server-timing': ref('headers', 'ServerTiming'),
      'inference-header-content-length': ref('headers', 'HeaderLength'),
    },
    content: { ...(schema === undefined ? {} : { [JSON_TYPE]: { schema: ref('schemas', name) } }), [BINARY_TYPE]: {} },
  };
}

/** What the metadata says of the model, for people. */
function describeModel({ summary, signature }: DescribedModel): string {
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
    `Requests: ${batching}${rows}. Runs on ${provider} (${providerReason}).`,
  ];
  const command =
    needsBinaryInputs(signature) || !isShort(signature) ? exampleInfer(summary, 'http://127.0.0.1:8000') : undefined;
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
