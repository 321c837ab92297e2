import { PbfWriter } from 'pbf';
import type { Datatype } from '../../src/tensor/tensor.ts';

/**
 * Writes ONNX files for tests: just enough of `ModelProto` to say every graph a server may meet, wrong ones included.
 * Nothing is checked here; ONNX Runtime is the judge.
 *
 * Field and enum numbers are those of `onnx/onnx.proto` (github.com/onnx/onnx).
 */

/** Element types: the server's datatypes and those that ONNX Runtime for Node cannot carry. */
export type ElementType = Datatype | 'BF16' | 'INT4' | 'UINT4' | 'FP8E4M3FN';

/** `TensorProto.DataType` of each element type. */
const ELEMENT_CODE: Readonly<Record<ElementType, number>> = {
  FP32: 1,
  UINT8: 2,
  INT8: 3,
  UINT16: 4,
  INT16: 5,
  INT32: 6,
  INT64: 7,
  BYTES: 8,
  BOOL: 9,
  FP16: 10,
  FP64: 11,
  UINT32: 12,
  UINT64: 13,
  BF16: 16,
  FP8E4M3FN: 17,
  UINT4: 21,
  INT4: 22,
};

/** A dimension: a number is fixed, a name symbolic, `''` anonymous. */
export type Dim = number | string;

/** The type of a value; a tensor without a shape has an unknown rank. */
export type ValueType =
  | { readonly kind: 'tensor'; readonly element: ElementType; readonly shape?: readonly Dim[] }
  | { readonly kind: 'sequence'; readonly of: ValueType }
  | { readonly kind: 'map'; readonly key: ElementType; readonly value: ValueType };

/** A named input or output of a graph. */
export interface ValueInfo {
  readonly name: string;
  readonly type: ValueType;
}

/** Where the bytes of an initializer lie: in the file, as strings, or in a file beside it. */
export type TensorData =
  | { readonly raw: Uint8Array }
  | { readonly strings: readonly string[] }
  | { readonly external: { readonly location: string; readonly offset: number; readonly length: number } };

/** A constant tensor. `data` is not copied before {@link encodeModel}. */
export interface Initializer {
  readonly name: string;
  readonly element: ElementType;
  readonly dims: readonly number[];
  readonly data: TensorData;
}

/** The value of an attribute; the key says its type, because a number alone could be an int or a float. */
export type Attribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly string: string }
  | { readonly ints: readonly number[] }
  | { readonly floats: readonly number[] }
  | { readonly strings: readonly string[] }
  | { readonly tensor: Initializer }
  | { readonly graph: Graph };

/** One operator. An input named `''` is left out. */
export interface Node {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly domain?: string;
}

/** A graph: a model's own, or the body of a `Loop` or `If`. */
export interface Graph {
  readonly name?: string;
  readonly nodes: readonly Node[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly initializers?: readonly Initializer[];
}

/** A model file. */
export interface Model extends Graph {
  /** Version of the standard operators, default 20. */
  readonly opset?: number;
  /** Further operator sets, version by domain. */
  readonly domains?: Readonly<Record<string, number>>;
  /** Default 9. */
  readonly irVersion?: number;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A tensor input or output. */
export function tensor(name: string, element: ElementType, shape?: readonly Dim[]): ValueInfo {
  return { name, type: shape === undefined ? { kind: 'tensor', element } : { kind: 'tensor', element, shape } };
}

/** One operator: `node('Add', ['a', 'b'], ['sum'])`. */
export function node(
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Readonly<Record<string, Attribute>> = {},
  domain = '',
): Node {
  return { op, inputs, outputs, attributes, domain };
}

/** An FP32 constant; `dims` defaults to the number of values, `[]` makes a scalar. */
export function fp32(name: string, values: ArrayLike<number>, dims: readonly number[] = [values.length]): Initializer {
  return { name, element: 'FP32', dims, data: { raw: bytesOf(Float32Array.from(values)) } };
}

/** An INT64 constant; `dims` defaults to the number of values, `[]` makes a scalar. */
export function int64(name: string, values: readonly number[], dims: readonly number[] = [values.length]): Initializer {
  return { name, element: 'INT64', dims, data: { raw: bytesOf(BigInt64Array.from(values, BigInt)) } };
}

/** The bytes of a typed array, without a copy. */
export function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** The bytes of a model file. */
export function encodeModel(model: Model): Buffer {
  // Room for all weights at once: doubling its way up to 100 MB would copy them several times.
  let size = 4096;
  for (const { data } of model.initializers ?? []) size += 'raw' in data ? data.raw.byteLength + 256 : 256;
  const pbf = new PbfWriter(new Uint8Array(size));
  pbf.writeVarintField(1, model.irVersion ?? 9);
  pbf.writeStringField(2, 'shoal-tests');
  pbf.writeMessage(7, writeGraph, model);
  for (const [domain, version] of Object.entries({ '': model.opset ?? 20, ...model.domains })) {
    pbf.writeMessage(8, writeOpset, { domain, version });
  }
  for (const [key, value] of Object.entries(model.metadata ?? {})) pbf.writeMessage(14, writeEntry, { key, value });
  const bytes = pbf.finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function writeOpset({ domain, version }: { domain: string; version: number }, pbf: PbfWriter): void {
  pbf.writeStringField(1, domain);
  pbf.writeVarintField(2, version);
}

function writeEntry({ key, value }: { key: string; value: string }, pbf: PbfWriter): void {
  pbf.writeStringField(1, key);
  pbf.writeStringField(2, value);
}

function writeGraph(graph: Graph, pbf: PbfWriter): void {
  for (const n of graph.nodes) pbf.writeMessage(1, writeNode, n);
  pbf.writeStringField(2, graph.name ?? 'graph');
  for (const initializer of graph.initializers ?? []) pbf.writeMessage(5, writeInitializer, initializer);
  for (const input of graph.inputs) pbf.writeMessage(11, writeValueInfo, input);
  for (const output of graph.outputs) pbf.writeMessage(12, writeValueInfo, output);
}

function writeNode(n: Node, pbf: PbfWriter): void {
  for (const input of n.inputs) pbf.writeStringField(1, input);
  for (const output of n.outputs) pbf.writeStringField(2, output);
  pbf.writeStringField(4, n.op);
  for (const [name, value] of Object.entries(n.attributes ?? {})) pbf.writeMessage(5, writeAttribute, { name, value });
  if (n.domain) pbf.writeStringField(7, n.domain);
}

function writeAttribute({ name, value }: { name: string; value: Attribute }, pbf: PbfWriter): void {
  pbf.writeStringField(1, name);
  if ('float' in value) {
    pbf.writeFloatField(2, value.float);
    pbf.writeVarintField(20, 1);
  } else if ('int' in value) {
    pbf.writeVarintField(3, value.int);
    pbf.writeVarintField(20, 2);
  } else if ('string' in value) {
    pbf.writeStringField(4, value.string);
    pbf.writeVarintField(20, 3);
  } else if ('tensor' in value) {
    pbf.writeMessage(5, writeInitializer, value.tensor);
    pbf.writeVarintField(20, 4);
  } else if ('graph' in value) {
    pbf.writeMessage(6, writeGraph, value.graph);
    pbf.writeVarintField(20, 5);
  } else if ('floats' in value) {
    for (const float of value.floats) pbf.writeFloatField(7, float);
    pbf.writeVarintField(20, 6);
  } else if ('ints' in value) {
    for (const int of value.ints) pbf.writeVarintField(8, int);
    pbf.writeVarintField(20, 7);
  } else {
    for (const string of value.strings) pbf.writeStringField(9, string);
    pbf.writeVarintField(20, 8);
  }
}

function writeInitializer({ name, element, dims, data }: Initializer, pbf: PbfWriter): void {
  for (const dim of dims) pbf.writeVarintField(1, dim);
  pbf.writeVarintField(2, ELEMENT_CODE[element]);
  if ('strings' in data) for (const string of data.strings) pbf.writeStringField(6, string);
  pbf.writeStringField(8, name);
  if ('raw' in data) pbf.writeBytesField(9, data.raw);
  if ('external' in data) {
    for (const [key, value] of Object.entries(data.external)) {
      pbf.writeMessage(13, writeEntry, { key, value: String(value) });
    }
    pbf.writeVarintField(14, 1);
  }
}

function writeValueInfo({ name, type }: ValueInfo, pbf: PbfWriter): void {
  pbf.writeStringField(1, name);
  pbf.writeMessage(2, writeType, type);
}

function writeType(type: ValueType, pbf: PbfWriter): void {
  if (type.kind === 'tensor') pbf.writeMessage(1, writeTensorType, type);
  else if (type.kind === 'sequence') pbf.writeMessage(4, writeSequenceType, type.of);
  else pbf.writeMessage(5, writeMapType, type);
}

function writeTensorType(type: { element: ElementType; shape?: readonly Dim[] }, pbf: PbfWriter): void {
  pbf.writeVarintField(1, ELEMENT_CODE[type.element]);
  if (type.shape !== undefined) pbf.writeMessage(2, writeShape, type.shape);
}

function writeSequenceType(of: ValueType, pbf: PbfWriter): void {
  pbf.writeMessage(1, writeType, of);
}

function writeMapType(type: { key: ElementType; value: ValueType }, pbf: PbfWriter): void {
  pbf.writeVarintField(1, ELEMENT_CODE[type.key]);
  pbf.writeMessage(2, writeType, type.value);
}

function writeShape(shape: readonly Dim[], pbf: PbfWriter): void {
  for (const dim of shape) pbf.writeMessage(1, writeDim, dim);
}

function writeDim(dim: Dim, pbf: PbfWriter): void {
  if (typeof dim === 'number') pbf.writeVarintField(1, dim);
  else if (dim !== '') pbf.writeStringField(2, dim);
}
