import { exampleBinary, exampleJson, needsBinaryInputs } from '../../protocol/example-request.ts';
import type { Signature } from '../../tensor/signature.ts';
import { JSON_TYPE } from '../replies.ts';
import { type DescribedModel, hasExample, type ModelParts } from './described-model.ts';
import { type Json, ref } from './json-schema.ts';
import { HEADER_LENGTH } from './reply-schemas.ts';
import { replySchema, requestSchema } from './tensor-schemas.ts';

const BINARY_TYPE = 'application/octet-stream';

/** Parameters, body and reply of an inference request to a model version; what they refer to is added to `parts`. */
export function inferOperation(component: string, model: DescribedModel, parts: ModelParts): InferText {
  return {
    parameters: [headerLength(model.signature)],
    requestBody: requestBody(component, model, parts),
    ok: okReply(component, model, parts),
  };
}

/** What is particular to a way of inference. */
export interface InferText {
  readonly parameters?: readonly Json[];
  readonly requestBody: Json;
  readonly ok: Json;
}

function requestBody(component: string, model: DescribedModel, parts: ModelParts): Json {
  const { signature, summary } = model;
  const name = `Request.${component}`;
  parts.schemas[name] = requestSchema(signature, summary.maxBatchSize);
  const schema = ref('schemas', name);
  const binary = needsBinaryInputs(signature);
  if (hasExample(model)) {
    const value = binary ? binaryText(signature) : exampleJson(signature);
    parts.examples[component] = { summary: 'one row', value };
  }
  const examples = hasExample(model) ? { examples: { 'one row': ref('examples', component) } } : {};
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
