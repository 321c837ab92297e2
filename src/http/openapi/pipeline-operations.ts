import type { ErrorCode } from '../../errors.ts';
import type { CompiledField } from '../../pipeline/compiled-field.ts';
import type { PipelineVersion } from '../../pipeline/pipeline-version.ts';
import { MULTIPART, OCTETS } from '../pipelines/media-type.ts';
import { JSON_TYPE } from '../replies.ts';
import { BASE64 } from './element-schemas.ts';
import type { ErrorResponses } from './errors.ts';
import type { InferText } from './infer-operations.ts';
import { arrayOf, ComponentNames, type Json, object, ref } from './json-schema.ts';
import { jsonReply, operation } from './operation.ts';
import {
  BINARY,
  formEncoding,
  formObject,
  inputObject,
  inputSchema,
  outputObject,
  outputSchema,
} from './pipeline-schemas.ts';

/** What a call of a pipeline may be answered with. */
const CALL_ERRORS: readonly ErrorCode[] = [
  'MODEL_NOT_FOUND',
  'BODY_TIMEOUT',
  'BODY_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
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

const TAG = 'Pipelines';

/** The section of the pipelines' own doors. */
export const PIPELINE_TAG: Json = {
  name: TAG,
  description: 'Functions over models, with their inputs and outputs as they are. They also answer as models do.',
};

/** Operations of the pipelines' own doors; none without pipelines. */
export function pipelinePaths(
  pipelines: readonly PipelineVersion[],
  responses: ErrorResponses,
): { readonly paths: Record<string, Json>; readonly schemas: Record<string, Json> } {
  if (pipelines.length === 0) return { paths: {}, schemas: {} };
  const list = operation(
    { id: 'pipelines', tag: TAG, summary: 'All pipelines', ok: jsonReply('What each takes and gives.', 'Pipelines') },
    responses,
  );
  const paths: Record<string, Json> = { '/pipelines': { get: list } };
  const ids = new ComponentNames();
  for (const pipeline of pipelines) {
    const { name, description } = pipeline;
    const describe = operation(
      {
        id: ids.take(`describe_pipeline_${name}`),
        tag: TAG,
        summary: `What ${name} takes and gives`,
        ok: jsonReply('Its fields.', 'Pipeline'),
        errors: ['MODEL_NOT_FOUND'],
      },
      responses,
    );
    const text = {
      id: ids.take(`call_pipeline_${name}`),
      tag: TAG,
      summary: `Call ${name}`,
      ...(description === '' ? {} : { description }),
      errors: CALL_ERRORS,
      ...callOperation(pipeline),
    };
    paths[`/pipelines/${encodeURIComponent(name)}`] = { get: describe, post: operation(text, responses) };
  }
  return { paths, schemas: SCHEMAS };
}

/** Body and reply of a predict request to a pipeline: an item for each call, or the inputs of one. */
export function pipelinePredict({ inputs, outputs }: PipelineVersion): InferText {
  const item = bareOr(inputs, inputSchema, inputObject(inputs));
  const [only] = outputs;
  const one = outputs.length === 1 ? outputSchema(only!, BASE64) : outputObject(outputs, BASE64);
  const rows = object({ instances: arrayOf(item, { minItems: 1 }) }, { not: { required: ['inputs'] } });
  const single = object({ inputs: item }, { not: { required: ['instances'] } });
  const predictions = object({ predictions: arrayOf(one) }, { additionalProperties: false });
  const answer = object({ outputs: one }, { additionalProperties: false });
  return {
    requestBody: {
      required: true,
      description:
        '`instances`, each of which is a call and is answered by one of `predictions`, or `inputs`, one call.',
      content: { [JSON_TYPE]: { schema: { anyOf: [rows, single] } } },
    },
    ok: ok({ anyOf: [predictions, answer] }),
  };
}

function callOperation({ inputs, outputs }: PipelineVersion): InferText {
  const encoding = formEncoding(inputs);
  const content: Record<string, Json> = {
    [JSON_TYPE]: { schema: inputObject(inputs) },
    [MULTIPART]: {
      schema: formObject(inputs),
      ...(Object.keys(encoding).length === 0 ? {} : { encoding }),
    },
  };
  const bytes = inputs.filter((field) => field.kind === 'bytes');
  const raw = bytes.length === 1 ? bytes[0]! : undefined;
  for (const type of raw === undefined ? [] : [...(raw.field.mediaTypes ?? []), OCTETS])
    content[type] = { schema: BINARY };
  return {
    ...(raw === undefined
      ? {}
      : { parameters: inputs.filter((field) => field !== raw && field.kind !== 'bytes').map(queryParameter) }),
    requestBody: {
      required: true,
      description:
        'The inputs in JSON; or a form, with a file for each input that is bytes' +
        (raw === undefined ? '.' : `; or the bytes of '${raw.name}' alone, the others then in the query.`),
      content,
    },
    ok: ok(outputObject(outputs)),
  };
}

/** An input beside a body of bytes. */
function queryParameter(field: CompiledField): Json {
  const isText = field.kind === 'json' && field.form === 'string' && !field.isList;
  const isPlain = isText || (field.kind === 'json' && !field.isList && field.form !== 'text');
  return {
    name: field.name,
    in: 'query',
    required: false,
    description: `Only beside a body of bytes${isText ? '' : '; as JSON'}.`,
    ...(isPlain ? { schema: inputSchema(field) } : { content: { [JSON_TYPE]: { schema: inputSchema(field) } } }),
  };
}

function ok(schema: Json): Json {
  return {
    description: 'The outputs.',
    headers: { 'server-timing': ref('headers', 'ServerTiming') },
    content: { [JSON_TYPE]: { schema } },
  };
}

/** The object of all fields; where there is but one, also its bare value. */
function bareOr(fields: readonly CompiledField[], schemaOf: (field: CompiledField) => Json, all: Json): Json {
  return fields.length === 1 ? { anyOf: [schemaOf(fields[0]!), all] } : all;
}

const FIELDS: Json = {
  type: 'object',
  additionalProperties: object({ kind: { enum: ['tensor', 'bytes', 'json'] } }),
};

const PIPELINE: Json = object({
  name: { type: 'string' },
  description: { type: 'string' },
  ready: { type: 'boolean' },
  input: FIELDS,
  output: FIELDS,
});

const SCHEMAS: Record<string, Json> = {
  Pipeline: PIPELINE,
  Pipelines: object({ pipelines: arrayOf(ref('schemas', 'Pipeline')) }),
};
