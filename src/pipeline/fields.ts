import type { Static, TSchema } from 'typebox';
import { type Datatype, elementCount, formatShape, isDatatype } from '../tensor/tensor.ts';
import type { TypedTensor } from '../tensor/typed.ts';

/** The property that tells our fields from schemas; a string, so that two copies of the package understand each other. */
const KIND = '~shoal';

/** A tensor of fixed datatype and rank. */
export interface TensorField<D extends Datatype = Datatype, S extends readonly number[] = readonly number[]> {
  readonly [KIND]: 'tensor';
  readonly datatype: D;
  /** −1 stands for a dimension of any size. */
  readonly shape: S;
}

/** Bytes as they are: a picture, a recording. */
export interface BytesField {
  readonly [KIND]: 'bytes';
  /** Media types that are taken, `image/*` for a whole class; left out: any. */
  readonly mediaTypes?: readonly string[];
  /** Default: what the body limit leaves. */
  readonly maxBytes?: number;
}

/** What an input or output of a pipeline is: {@link tensor}, {@link bytes}, or a TypeBox schema of a JSON value. */
export type Field = TensorField | BytesField | TSchema;

/** Inputs or outputs by name. */
export type Fields = Readonly<Record<string, Field>>;

/** The shape of a value: −1 becomes any number. */
export type ShapeOf<S extends readonly number[]> = {
  readonly [I in keyof S]: S[I] extends -1 ? number : S[I];
};

/** The value of a field inside of a pipeline. */
export type ValueOf<F extends Field> =
  F extends TensorField<infer D, infer S>
    ? TypedTensor<D, ShapeOf<S>>
    : F extends BytesField
      ? Buffer
      : F extends TSchema
        ? Static<F>
        : never;

/** What `run` may give for an output: bytes may be of any kind of array. */
export type ResultOf<F extends Field> = F extends BytesField ? Uint8Array : ValueOf<F>;

type OptionalKeys<F extends Fields> = {
  [K in keyof F]: F[K] extends { readonly '~optional': true } ? K : never;
}[keyof F];

/** The values of all inputs, by name. */
export type InputValues<F extends Fields> = {
  readonly [K in Exclude<keyof F, OptionalKeys<F>>]: ValueOf<F[K]>;
} & { readonly [K in OptionalKeys<F>]?: ValueOf<F[K]> };

/** The values of all outputs, by name. */
export type OutputValues<F extends Fields> = {
  readonly [K in Exclude<keyof F, OptionalKeys<F>>]: ResultOf<F[K]>;
} & { readonly [K in OptionalKeys<F>]?: ResultOf<F[K]> | undefined };

/**
 * A field whose value is a tensor.
 *
 * @param shape its full shape; −1 stands for a dimension of any size, `[]` is a scalar.
 * @throws {TypeError} for an unknown datatype or a shape that is none.
 */
export function tensor<const D extends Datatype, const S extends readonly number[]>(
  datatype: D,
  shape: S,
): TensorField<D, S> {
  if (!isDatatype(datatype)) throw new TypeError(`tensor(): there is no datatype '${String(datatype)}'`);
  const isShape = Array.isArray(shape) && shape.every((dim) => Number.isSafeInteger(dim) && dim >= -1);
  if (!isShape || !Number.isSafeInteger(elementCount(shape.filter((dim) => dim >= 0)))) {
    throw new TypeError(`tensor(): the shape is ${formatShape(shape)}, expected whole numbers from -1`);
  }
  return { [KIND]: 'tensor', datatype, shape };
}

/**
 * A field whose value is a `Buffer`.
 *
 * @throws {TypeError} for a media type that is none, or a limit that is none.
 */
export function bytes(
  options: { readonly mediaTypes?: readonly string[]; readonly maxBytes?: number } = {},
): BytesField {
  const { mediaTypes, maxBytes } = options;
  for (const type of mediaTypes ?? []) {
    if (!/^[\w!#$&^.+-]+\/([\w!#$&^.+-]+|\*)$/.test(type)) {
      throw new TypeError(`bytes(): the media type is '${type}', expected one such as image/png or image/*`);
    }
  }
  if (maxBytes !== undefined && !(Number.isSafeInteger(maxBytes) && maxBytes > 0)) {
    throw new TypeError(`bytes(): maxBytes is ${maxBytes}, expected a whole number from 1`);
  }
  return {
    [KIND]: 'bytes',
    ...(mediaTypes === undefined ? {} : { mediaTypes: mediaTypes.map((type) => type.toLowerCase()) }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
  };
}

export function isTensorField(field: Field): field is TensorField {
  return (field as { readonly [KIND]?: unknown })[KIND] === 'tensor';
}

export function isBytesField(field: Field): field is BytesField {
  return (field as { readonly [KIND]?: unknown })[KIND] === 'bytes';
}

/** Whether a media type, without parameters and in lower case, is one that a field takes. */
export function takesMediaType({ mediaTypes }: BytesField, type: string): boolean {
  if (mediaTypes === undefined) return true;
  return mediaTypes.some((one) => (one.endsWith('/*') ? type.startsWith(one.slice(0, -1)) : one === type));
}
