import type { Datatype } from './tensor.ts';

/**
 * Signatures as types. `shoal types` writes an interface with one {@link ModelTypes} per model; from it follow the
 * inputs a caller must give and the outputs it gets, so that a wrong model, tensor, datatype, rank or fixed dimension
 * does not compile. Nothing here exists at run time.
 */

/** A tensor of a signature: a dimension that may be any is `number`, a fixed one its number, a scalar has `[]`. */
export interface TensorType {
  readonly datatype: Datatype;
  readonly shape: readonly number[];
}

/** What a model takes and gives, by the tensors' names. */
export interface ModelTypes {
  readonly inputs: Readonly<Record<string, TensorType>>;
  readonly outputs: Readonly<Record<string, TensorType>>;
}

/** The constraint of an interface of models: every property is a {@link ModelTypes}. */
export type ModelMap<Models> = { readonly [M in keyof Models]: ModelTypes };

/** Models of which nothing is known. */
export type AnyModels = Readonly<Record<string, ModelTypes>>;

/** The names of the models. */
export type ModelName<Models> = keyof Models & string;

/** The names of a model's outputs. */
export type OutputName<T extends ModelTypes> = keyof T['outputs'] & string;

/**
 * JavaScript's `Float16Array`, which Node.js has from version 24 on, and which older type libraries do not know.
 */
export interface HalfArray extends ArrayBufferView {
  readonly length: number;
  readonly BYTES_PER_ELEMENT: number;
  readonly [Symbol.toStringTag]: 'Float16Array';
}

/** The array of each datatype's elements. FP16 is its bits, BOOL is 0 and 1. */
export interface DataOf {
  readonly BOOL: Uint8Array;
  readonly UINT8: Uint8Array;
  readonly UINT16: Uint16Array;
  readonly UINT32: Uint32Array;
  readonly UINT64: BigUint64Array;
  readonly INT8: Int8Array;
  readonly INT16: Int16Array;
  readonly INT32: Int32Array;
  readonly INT64: BigInt64Array;
  readonly FP16: Uint16Array;
  readonly FP32: Float32Array;
  readonly FP64: Float64Array;
  readonly BYTES: readonly string[];
}

/** Datatypes whose array says alone what it is. */
type Plain = Exclude<Datatype, 'BOOL' | 'FP16' | 'BYTES'>;

/** What an input may be given as, by datatype. */
type InputForms<Shape> = {
  readonly [D in Plain]: { readonly data: DataOf[D]; readonly shape: Shape; readonly datatype?: D };
} & {
  readonly BOOL:
    | { readonly data: readonly boolean[]; readonly shape: Shape; readonly datatype?: 'BOOL' }
    | { readonly data: Uint8Array; readonly shape: Shape; readonly datatype: 'BOOL' };
  readonly FP16:
    | { readonly data: HalfArray; readonly shape: Shape; readonly datatype?: 'FP16' }
    | { readonly data: Uint16Array; readonly shape: Shape; readonly datatype: 'FP16' };
  readonly BYTES: {
    readonly data: readonly (string | Uint8Array)[];
    readonly shape: Shape;
    readonly datatype?: 'BYTES';
  };
};

/**
 * An input: its elements, row-major, and its shape. `datatype` is needed where an array does not say it: FP16 as
 * bits, and BOOL as bytes.
 */
export type InputTensor<T extends TensorType = TensorType> = InputForms<T['shape']>[T['datatype']];

/** All inputs of a model. */
export type InputsOf<T extends ModelTypes> = { readonly [I in keyof T['inputs']]: InputTensor<T['inputs'][I]> };

/** How BYTES elements come out: as strings of UTF-8, or as they are. */
export type BytesForm = 'text' | 'binary';

/** An output. Where the datatype is not known, `datatype` tells which array `data` is. */
export type OutputTensor<T extends TensorType, B extends BytesForm = 'text'> = {
  readonly [D in Datatype]: {
    readonly datatype: D;
    readonly shape: T['shape'];
    readonly data: D extends 'BYTES' ? (B extends 'binary' ? readonly Uint8Array[] : readonly string[]) : DataOf[D];
  };
}[T['datatype']];

/** The outputs asked for, by name. */
export type OutputsOf<T extends ModelTypes, Names extends string = OutputName<T>, B extends BytesForm = 'text'> = {
  readonly [O in Names]: OutputTensor<T['outputs'][O], B>;
};
