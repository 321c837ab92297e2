import type { Signature, TensorSpec } from '../../tensor/signature.ts';
import { elementCount, formatShape } from '../../tensor/tensor.ts';
import { replyElement, requestElement } from './element-schemas.ts';
import { anyOf, arrayOf, COUNT, type Json, object, STRING } from './json-schema.ts';

/** The most dimensions for which nested data is spelt out; flat data is the same whatever the rank. */
const MAX_NESTED_RANK = 6;

const PARAMETER: Json = { type: ['string', 'number', 'boolean', 'null'] };

/** The schema of an inference request in JSON for one model version. */
export function requestSchema(signature: Signature, maxBatchSize: number): Json {
  const inputs = signature.inputs.map((spec) => requestTensor(spec, signature, maxBatchSize));
  const names = signature.inputs.map((spec) => spec.name);
  const everyInput = names.length > 1 ? { allOf: names.map((name) => ({ contains: named(name) })) } : {};
  return {
    type: 'object',
    required: ['inputs'],
    properties: {
      id: { type: ['string', 'null'], description: 'Returned with the reply.' },
      inputs: arrayOf(anyOf(inputs), { minItems: inputs.length, maxItems: inputs.length, ...everyInput }),
      outputs: {
        ...arrayOf(requestedOutput(signature), { maxItems: signature.outputs.length, ...eachAtMostOnce(signature) }),
        type: ['array', 'null'],
        description: 'The outputs wanted, in this order. Without it: all of them.',
      },
      parameters: {
        type: ['object', 'null'],
        properties: {
          binary_data_output: {
            type: ['boolean', 'null'],
            description: 'Whether outputs are sent in binary; FP16 is sent in no other way.',
          },
          timeout: {
            type: ['integer', 'null'],
            minimum: 0,
            description:
              'Microseconds that the request may wait for its run to begin; 0: as long as the server allows.',
          },
          priority: {
            type: ['integer', 'null'],
            minimum: 0,
            description:
              '1 is run first; 0 stands for the default. Only where the configuration has levels of priority.',
          },
          sequence_id: { type: ['integer', 'string', 'null'], minimum: 0 },
          sequence_start: { type: ['boolean', 'null'] },
          sequence_end: { type: ['boolean', 'null'] },
          headers: true,
          triton_enable_empty_final_response: true,
        },
        patternProperties: { '^triton_(?!enable_empty_final_response$)': false },
        additionalProperties: PARAMETER,
        description: 'Further ones of your own are ignored.',
      },
    },
  };
}

/** The schema of an inference reply in JSON of one model version; undefined where JSON carries none of its outputs. */
export function replySchema(model: { name: string; version: string }, signature: Signature): Json | undefined {
  const tensors = signature.outputs.flatMap((spec) => {
    const element = replyElement(spec.datatype);
    const classes = isRankable(spec) ? [replyClasses(spec)] : [];
    return element === undefined ? [] : [replyTensor(spec, element), ...classes];
  });
  if (tensors.length === 0) return undefined;
  const outputs = arrayOf(anyOf(tensors), { minItems: 1, maxItems: signature.outputs.length });
  const known = { model_name: { const: model.name }, model_version: { const: model.version }, outputs };
  return {
    type: 'object',
    required: Object.keys(known),
    properties: { id: { ...STRING, description: 'As the request had it.' }, ...known },
    additionalProperties: false,
  };
}

function requestTensor(spec: TensorSpec, signature: Signature, maxBatchSize: number): Json {
  const element = requestElement(spec.datatype);
  const dims = requestDims(spec, signature, maxBatchSize);
  const common = {
    name: { const: spec.name },
    shape: shapeSchema(dims, rowsOf(spec, signature)),
    datatype: { const: spec.datatype },
  };
  if (element === undefined) {
    // Only behind the JSON of a binary request.
    const size = object({ binary_data_size: COUNT });
    return object({ ...common, parameters: size }, { description: 'FP16 is taken in binary only.' });
  }
  return object({ ...common, data: dataSchema(element, dims) }, { description: describe(spec) });
}

/** How large a dimension may be; `most` is undefined where nothing bounds it. */
export interface Dim {
  readonly least: number;
  readonly most: number | undefined;
}

/** The dimensions that an input may have in a request. */
export function requestDims(spec: TensorSpec, { batched }: Signature, maxBatchSize: number): Dim[] {
  return spec.shape.map((dim, axis) => {
    if (batched && axis === spec.batchAxis) return { least: 1, most: maxBatchSize };
    return dim < 0 ? { least: 0, most: undefined } : { least: dim, most: dim };
  });
}

/** Arrays nested as `dims` say, around elements. */
export function nestedSchema(element: Json, dims: readonly Dim[]): Json {
  return dims.reduceRight<Json>((items, { least, most }) => arrayOf(items, bounds(least, most)), element);
}

function shapeSchema(dims: readonly Dim[], description?: string): Json {
  const sizes = dims.map(({ least, most }) =>
    least === most
      ? { const: least }
      : { type: 'integer', minimum: least, ...(most === undefined ? {} : { maximum: most }) },
  );
  const items = sizes.length === 0 ? {} : { prefixItems: sizes };
  const text = description === undefined ? {} : { description };
  const examples = [dims.map(({ least, most }) => (least === most ? least : 1))];
  return { type: 'array', ...items, minItems: dims.length, maxItems: dims.length, ...text, examples };
}

/** Row-major: flat, or nested as the shape is. */
function dataSchema(element: Json, dims: readonly Dim[]): Json {
  const least = dims.reduce((product, dim) => product * dim.least, 1);
  const most = dims.reduce<number | undefined>(
    (product, dim) => (product === undefined || dim.most === undefined ? undefined : product * dim.most),
    1,
  );
  const flat = arrayOf(element, bounds(least, most));
  if (dims.length < 2 || dims.length > MAX_NESTED_RANK) return flat;
  return { anyOf: [flat, nestedSchema(element, dims)] };
}

function bounds(least: number, most: number | undefined): Json {
  return { ...(least > 0 ? { minItems: least } : {}), ...(most === undefined ? {} : { maxItems: most }) };
}

function requestedOutput({ outputs }: Signature): Json {
  const forms = outputs.map((spec) => ({
    type: 'object',
    required: ['name'],
    properties: {
      name: { const: spec.name },
      parameters: {
        type: ['object', 'null'],
        properties: {
          binary_data: { type: ['boolean', 'null'], description: 'Whether this output is sent in binary.' },
          classification: isRankable(spec)
            ? {
                type: ['integer', 'null'],
                minimum: 0,
                description: 'So many of the largest elements of each row, as texts.',
              }
            : { enum: [0, null] },
        },
        patternProperties: { '^shared_memory_': false },
      },
    },
  }));
  return anyOf(forms);
}

/** Whether there is a classification of the output. */
function isRankable({ datatype, shape }: TensorSpec): boolean {
  return !['FP16', 'BOOL', 'BYTES'].includes(datatype) && !shape.includes(0);
}

/** The classes of an output, in a reply. */
function replyClasses(spec: TensorSpec): Json {
  const rank = spec.batchAxis === null ? 1 : 2;
  return object(
    {
      name: { const: spec.name },
      datatype: { const: 'BYTES' },
      shape: arrayOf(COUNT, { minItems: rank, maxItems: rank }),
      data: arrayOf({ type: 'string', pattern: '^[^:]+:[0-9]+(:.*)?$' }),
    },
    { additionalProperties: false, description: 'Classes of the output, `value:index` or `value:index:label`.' },
  );
}

/** An output in a reply that is JSON throughout. */
function replyTensor(spec: TensorSpec, element: Json): Json {
  const dims = replyDims(spec);
  const fixed = dims.every(({ least, most }) => least === most);
  const count = fixed ? elementCount(spec.shape) : undefined;
  return object(
    {
      name: { const: spec.name },
      datatype: { const: spec.datatype },
      shape: shapeSchema(dims),
      data: arrayOf(element, bounds(count ?? 0, count)),
    },
    { additionalProperties: false, description: describe(spec) },
  );
}

/** The dimensions that an output may have in a reply. */
export function replyDims({ shape, batchAxis }: TensorSpec): Dim[] {
  return shape.map((dim, axis) =>
    dim < 0 || axis === batchAxis ? { least: 0, most: undefined } : { least: dim, most: dim },
  );
}

function rowsOf(spec: TensorSpec, signature: Signature): string {
  const rows = signature.batched && spec.batchAxis !== null ? `; dimension ${spec.batchAxis} counts the rows` : '';
  return `${formatShape(spec.shape)}, -1 is any size${rows}`;
}

function describe(spec: TensorSpec): string {
  return `${spec.datatype} ${formatShape(spec.shape)}`;
}

function eachAtMostOnce({ outputs }: Signature): Json {
  if (outputs.length === 1) return {};
  return { allOf: outputs.map(({ name }) => ({ contains: named(name), minContains: 0, maxContains: 1 })) };
}

function named(name: string): Json {
  return { type: 'object', properties: { name: { const: name } }, required: ['name'] };
}
