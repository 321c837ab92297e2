import { type ExampleInput, exampleInputs } from '../../protocol/example-request.ts';
import type { Signature, TensorSpec } from '../../tensor/signature.ts';
import { JSON_TYPE } from '../replies.ts';
import { type DescribedModel, hasExample, type ModelParts } from './described-model.ts';
import { predictReplyElement, predictRequestElement, withoutNull } from './element-schemas.ts';
import type { InferText } from './infer-operations.ts';
import { anyOf, arrayOf, type Json, object, ref } from './json-schema.ts';
import { type Dim, nestedSchema, replyDims, requestDims } from './tensor-schemas.ts';

/** What is written of a tensor: its name, the schema of its elements, its dimensions. */
interface Nested {
  readonly name: string;
  readonly element: Json;
  readonly dims: readonly Dim[];
}

/** Body and reply of a predict request to a model version; what they refer to is added to `parts`. */
export function predictOperation(component: string, model: DescribedModel, parts: ModelParts): InferText {
  const { signature, summary } = model;
  const rows = hasRows(signature);
  parts.schemas[`Predict.${component}`] = predictSchema(signature, summary.maxBatchSize, rows);
  parts.schemas[`Predictions.${component}`] = predictionsSchema(signature, rows);
  const examples: Record<string, Json> = {};
  if (hasExample(model)) {
    for (const [form, value] of Object.entries(examplesOf(signature, rows))) {
      parts.examples[`${component}.${form}`] = { summary: form, value };
      examples[form] = ref('examples', `${component}.${form}`);
    }
  }
  const content = { schema: ref('schemas', `Predict.${component}`), examples };
  return {
    requestBody: {
      required: true,
      description: rows
        ? '`instances`, a list with an item per row that is answered by `predictions`, or `inputs` with whole tensors, answered by `outputs`.'
        : '`inputs` with whole tensors.',
      content: { [JSON_TYPE]: content },
    },
    ok: {
      description: 'The outputs, nested as their shapes; NaN and the infinities are `null`.',
      headers: { 'server-timing': ref('headers', 'ServerTiming') },
      content: { [JSON_TYPE]: { schema: ref('schemas', `Predictions.${component}`) } },
    },
  };
}

/** Whether requests may be written row by row: every tensor begins with a dimension, and outputs with that of the rows. */
function hasRows({ inputs, outputs, batched }: Signature): boolean {
  const begins = (spec: TensorSpec): boolean => spec.shape.length > 0;
  return inputs.every(begins) && outputs.every((spec) => begins(spec) && (!batched || spec.batchAxis === 0));
}

function predictSchema(signature: Signature, maxBatchSize: number, rows: boolean): Json {
  const inputs = signature.inputs.map((spec): Nested => {
    const dims = requestDims(spec, signature, maxBatchSize);
    // An array without elements ends the nesting, so that only the last dimension can be 0.
    const written = dims.map((dim, i) => (i < dims.length - 1 ? { ...dim, least: Math.max(dim.least, 1) } : dim));
    return { name: spec.name, element: predictRequestElement(spec.datatype), dims: written };
  });
  const columns = object({ inputs: anyOf(forms(inputs)) }, { not: { required: ['instances'] } });
  if (!rows) return columns;
  const count = inputs[0]!.dims[0]!;
  const list = [{ ...count, least: Math.max(count.least, 1) }];
  // Items are all of one kind.
  const instances = anyOf(forms(inputs.map(behindRows)).map((item) => nestedSchema(item, list)));
  return { anyOf: [object({ instances }, { not: { required: ['inputs'] } }), columns] };
}

function predictionsSchema({ outputs }: Signature, rows: boolean): Json {
  const tensors = outputs.map(
    (spec): Nested => ({
      name: spec.name,
      element: predictReplyElement(spec.datatype),
      dims: replyDims(spec),
    }),
  );
  const columns = object({ outputs: answered(tensors) }, { additionalProperties: false });
  if (!rows) return columns;
  const predictions = arrayOf(answered(tensors.map(behindRows)));
  return { anyOf: [object({ predictions }, { additionalProperties: false }), columns] };
}

/** How tensors are given in a request: by name; an only one also bare. */
function forms(tensors: readonly Nested[]): Json[] {
  const [only] = tensors;
  if (tensors.length > 1 || only === undefined) return [byName(tensors)];
  const element = only.dims.length === 0 ? withoutNull(only.element) : only.element;
  return [nestedSchema(element, only.dims), byName(tensors)];
}

/** How tensors are given in a reply: an only one bare. */
function answered(tensors: readonly Nested[]): Json {
  return tensors.length === 1 ? nestedSchema(tensors[0]!.element, tensors[0]!.dims) : byName(tensors);
}

function byName(tensors: readonly Nested[]): Json {
  const values = tensors.map(({ name, element, dims }) => [name, nestedSchema(element, dims)] as const);
  return object(Object.fromEntries(values), { additionalProperties: false });
}

function behindRows(tensor: Nested): Nested {
  return { ...tensor, dims: tensor.dims.slice(1) };
}

/** The same request in both forms, or in that which the model has. */
function examplesOf(signature: Signature, rows: boolean): Record<string, object> {
  const inputs = exampleInputs(signature);
  const values = inputs.map((input) => [input.name, nest(input)] as const);
  const columns = { inputs: values.length === 1 ? values[0]![1] : Object.fromEntries(values) };
  if (!rows) return { columns };
  const count = inputs[0]!.shape[0]!;
  const instances = Array.from({ length: count }, (_, row) => {
    const items = values.map(([name, value]) => [name, (value as unknown[])[row]] as const);
    return items.length === 1 ? items[0]![1] : Object.fromEntries(items);
  });
  return { rows: { instances }, columns };
}

function nest({ shape, element }: ExampleInput): unknown {
  return shape.reduceRight<unknown>((inner, size) => Array(size).fill(inner), element);
}
