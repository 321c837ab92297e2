import type { TSchema } from 'typebox';
import type { Compile } from 'typebox/compile';
import type { TensorSpec } from '../tensor/signature.ts';
import {
  DATATYPES,
  type Datatype,
  elementCount,
  formatShape,
  skipBytesElements,
  type Tensor,
} from '../tensor/tensor.ts';
import { type BytesField, type Field, type Fields, isBytesField, isTensorField, type TensorField } from './fields.ts';

/** How a JSON value is carried in a tensor: as its elements, or as JSON text where nothing plainer fits. */
export type JsonForm = 'string' | 'integer' | 'number' | 'boolean' | 'text';

interface Common {
  readonly name: string;
  /** The tensor that carries the field where the protocol knows nothing but tensors. */
  readonly spec: TensorSpec;
  readonly isOptional: boolean;
  /** Why a value does not fit: what came and what was expected; undefined when it does. */
  readonly check: (value: unknown) => string | undefined;
}

/** A field with what follows from it. */
export type CompiledField =
  | (Common & { readonly kind: 'tensor'; readonly field: TensorField })
  | (Common & { readonly kind: 'bytes'; readonly field: BytesField })
  | (Common & {
      readonly kind: 'json';
      readonly field: TSchema;
      readonly form: JsonForm;
      /** Whether the value is an array of the form. */
      readonly isList: boolean;
      /** What stands for a value that is missing; undefined: nothing does. */
      readonly fallback: unknown;
    });

let compile: typeof Compile = () => {
  throw new Error('loadSchemaCompiler has not been called');
};

/** Loads what compiles schemas; to be called where there are pipelines, for it takes longer to load than all the rest. */
export async function loadSchemaCompiler(): Promise<void> {
  ({ Compile: compile } = await import('typebox/compile'));
}

/** Above so many characters of JSON an error is told without its place, for finding that takes long. */
const EXPLAINED_ITEMS = 4096;

const DATATYPE_OF: Readonly<Record<JsonForm, Datatype>> = {
  string: 'BYTES',
  integer: 'INT64',
  number: 'FP64',
  boolean: 'BOOL',
  text: 'BYTES',
};

/** @throws {TypeError} for a schema that cannot be compiled; `what` names the pipeline. */
export function compileFields(fields: Fields, what: string): readonly CompiledField[] {
  return Object.entries(fields).map(([name, field]) => compileField(name, field, what));
}

function compileField(name: string, field: Field, what: string): CompiledField {
  if (isTensorField(field)) {
    const spec: TensorSpec = { name, datatype: field.datatype, shape: field.shape, batchAxis: null };
    return { name, kind: 'tensor', field, spec, isOptional: false, check: (value) => tensorProblem(field, value) };
  }
  if (isBytesField(field)) {
    const spec: TensorSpec = { name, datatype: 'BYTES', shape: [1], batchAxis: null };
    return { name, kind: 'bytes', field, spec, isOptional: false, check: (value) => bytesProblem(field, value) };
  }
  return compileSchema(name, field, what);
}

function compileSchema(name: string, schema: TSchema, what: string): CompiledField {
  const { type, items, default: fallback } = schema as Readonly<Record<string, unknown>>;
  const inner = type === 'array' ? (items as { readonly type?: unknown } | undefined)?.type : type;
  const form: JsonForm =
    inner === 'string' || inner === 'integer' || inner === 'number' || inner === 'boolean' ? inner : 'text';
  const isList = type === 'array' && form !== 'text';
  const isOptional = '~optional' in schema || fallback !== undefined;
  let validator: ReturnType<typeof Compile>;
  try {
    validator = compile(schema);
  } catch (cause) {
    throw new TypeError(`the schema of '${name}' of ${what} cannot be compiled: ${String(cause)}`, { cause });
  }
  const check = (value: unknown): string | undefined => {
    if (value === undefined) return isOptional ? undefined : 'is missing';
    try {
      if (validator.Check(value)) return form === 'integer' ? integerProblem(value) : undefined;
    } catch {
      // A schema may be recursive, and a value deeper than the stack.
      return 'is nested too deeply';
    }
    if (!isSmall(value)) return 'does not fit its schema';
    const [first] = validator.Errors(value);
    const place = first?.instancePath ? `${first.instancePath} ` : '';
    return `is ${excerptOf(value)}: ${place}${first?.message ?? 'does not fit its schema'}`;
  };
  const shape = isList || isOptional ? [-1] : [1];
  const spec: TensorSpec = { name, datatype: DATATYPE_OF[form], shape, batchAxis: null };
  return { name, kind: 'json', field: schema, form, isList, spec, isOptional, fallback, check };
}

/** Integers are carried as 64 bits; beyond 53 they are not what they seem. */
function integerProblem(value: unknown): string | undefined {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const wrong = list.find((one) => !Number.isSafeInteger(one));
  return wrong === undefined ? undefined : `is ${String(wrong)}, expected an integer of at most 53 bits`;
}

function tensorProblem({ datatype, shape }: TensorField, value: unknown): string | undefined {
  if (!isTensor(value)) return `is ${excerptOf(value)}, expected a tensor`;
  const expected = `${datatype} ${formatShape(shape)}`;
  if (value.datatype !== datatype) return `is ${value.datatype}, expected ${expected}`;
  const fits =
    value.shape.length === shape.length &&
    value.shape.every((dim, i) => Number.isSafeInteger(dim) && dim >= 0 && (shape[i]! < 0 || dim === shape[i]));
  if (!fits) return `has shape ${formatShape(value.shape)}, expected ${expected}`;
  const count = elementCount(value.shape);
  let end: number;
  try {
    end = datatype === 'BYTES' ? skipBytesElements(value.bytes, 0, count, 'it') : count * DATATYPES[datatype].size;
  } catch (thrown) {
    return `is no BYTES tensor: ${String((thrown as Error).message)}`;
  }
  if (value.bytes.byteLength === end) return undefined;
  return `has ${value.bytes.byteLength} bytes, ${datatype} of shape ${formatShape(value.shape)} has ${end}`;
}

function bytesProblem({ maxBytes }: BytesField, value: unknown): string | undefined {
  if (!(value instanceof Uint8Array)) return `is ${excerptOf(value)}, expected bytes`;
  if (maxBytes === undefined || value.byteLength <= maxBytes) return undefined;
  return `has ${value.byteLength} bytes, at most ${maxBytes} are taken`;
}

function isTensor(value: unknown): value is Tensor {
  if (typeof value !== 'object' || value === null) return false;
  const { datatype, shape, bytes } = value as Partial<Tensor>;
  return typeof datatype === 'string' && Array.isArray(shape) && bytes instanceof Uint8Array;
}

/** Whether a value has few enough parts to say where in it the error is. */
function isSmall(value: unknown): boolean {
  let left = EXPLAINED_ITEMS;
  const stack: unknown[] = [value];
  while (stack.length > 0) {
    if (--left < 0) return false;
    const one = stack.pop();
    if (Array.isArray(one)) {
      if (one.length > left) return false;
      for (const part of one) stack.push(part);
    } else if (typeof one === 'object' && one !== null) {
      const parts = Object.values(one);
      if (parts.length > left) return false;
      for (const part of parts) stack.push(part);
    }
  }
  return true;
}

/** A value as short text for messages. */
export function excerptOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value instanceof Uint8Array) return `${value.byteLength} bytes`;
  if (typeof value === 'bigint' || typeof value === 'symbol' || typeof value === 'function') return `a ${typeof value}`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = String(JSON.stringify(value));
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}
