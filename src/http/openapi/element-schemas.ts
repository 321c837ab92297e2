import type { Datatype } from '../../tensor/tensor.ts';
import type { Json } from './json-schema.ts';

/** The least that is nearer to a number beyond FP32 than to its largest. */
const FLOAT_LIMIT = 2 ** 128 - 2 ** 103;

/** Text of a tensor's element: ONNX Runtime for Node cuts strings at NUL, and halves of surrogate pairs are no text. */
const TEXT: Json = { type: 'string', pattern: '^[^\\u0000]*$' };

/** Elements of JSON tensors as requests may have them; `null` in floating-point data is NaN. */
const IN: Readonly<Record<Exclude<Datatype, 'FP16'>, Json>> = {
  BOOL: { enum: [true, false, 0, 1] },
  UINT8: integer(0, 255),
  UINT16: integer(0, 65_535),
  UINT32: integer(0, 4_294_967_295),
  UINT64: { type: 'integer', format: 'uint64', minimum: 0, exclusiveMaximum: 2 ** 64 },
  INT8: integer(-128, 127),
  INT16: integer(-32_768, 32_767),
  INT32: { ...integer(-2_147_483_648, 2_147_483_647), format: 'int32' },
  INT64: { type: 'integer', format: 'int64', minimum: -(2 ** 63), exclusiveMaximum: 2 ** 63 },
  FP32: { type: ['number', 'null'], format: 'float', exclusiveMinimum: -FLOAT_LIMIT, exclusiveMaximum: FLOAT_LIMIT },
  FP64: { type: ['number', 'null'], format: 'double' },
  BYTES: TEXT,
};

/** What is nearer to 65,504 than to the next step, which FP16 does not have. */
const HALF: Json = { type: ['number', 'null'], exclusiveMinimum: -65_520, exclusiveMaximum: 65_520 };

/** Bytes as TensorFlow Serving has them in JSON; either alphabet, with or without padding. */
export const BASE64: Json = {
  type: 'object',
  required: ['b64'],
  properties: { b64: { type: 'string', contentEncoding: 'base64', pattern: '^[A-Za-z0-9+/_\\r\\n-]*={0,2}$' } },
  additionalProperties: false,
};

/** The schema of an element in the JSON of a request; undefined for FP16, which JSON does not carry. */
export function requestElement(datatype: Datatype): Json | undefined {
  return datatype === 'FP16' ? undefined : IN[datatype];
}

/** As {@link requestElement}, in a reply: `null` stands for NaN and the infinities. */
export function replyElement(datatype: Datatype): Json | undefined {
  if (datatype === 'BOOL') return { type: 'boolean' };
  return datatype === 'BYTES' ? { type: 'string' } : requestElement(datatype);
}

/** The same without `null`, which stands for nothing at all where it is the whole value. */
export function withoutNull(element: Json): Json {
  const { type } = element;
  return Array.isArray(type) ? { ...element, type: type.find((one) => one !== 'null') } : element;
}

/** In a predict request, where FP16 has numbers, and bytes of any kind a form of their own. */
export function predictRequestElement(datatype: Datatype): Json {
  if (datatype === 'FP16') return HALF;
  return datatype === 'BYTES' ? { anyOf: [TEXT, BASE64] } : IN[datatype];
}

/** In the reply to a predict request. */
export function predictReplyElement(datatype: Datatype): Json {
  if (datatype === 'FP16') return HALF;
  return datatype === 'BYTES' ? { anyOf: [{ type: 'string' }, BASE64] } : replyElement(datatype)!;
}

/**
 * The document as text. JavaScript writes the bounds of 64-bit integers with the digits that tell them from their
 * neighbours among doubles; here they get all of their digits.
 */
export function stringifyDocument(document: Json): string {
  return JSON.stringify(document).replace(
    /("(?:minimum|exclusiveMaximum)":-?)(9223372036854776000|18446744073709552000)(?=[,}])/g,
    (_all, key: string, digits: string) =>
      key + (digits.startsWith('9') ? '9223372036854775808' : '18446744073709551616'),
  );
}

function integer(minimum: number, maximum: number): Json {
  return { type: 'integer', minimum, maximum };
}
