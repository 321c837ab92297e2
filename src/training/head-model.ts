import protobuf from 'protobufjs/minimal.js';
import { invalid } from '../errors.ts';
import type { Head, Layer } from './head.ts';
import { graphNames, replaceOutput } from './onnx-graph.ts';

/** How a head is written as a model. */
export interface HeadModelOptions {
  /** What the head's input is called: for a model of its own any name, on a base the name of its output. */
  readonly features: string;
  /** What its output is called: outputs `[rows, outputs]`, probabilities for a head that tells classes. */
  readonly output: string;
  /** Whether it tells classes: then softmax follows. */
  readonly classifies: boolean;
}

/** Operators of this version of ONNX's standard set are used; all of them are in every later one. */
const OPSET = 13;
const IR_VERSION = 8;
const FLOAT = 1;
/** Kinds of attributes. */
const INT = 2;
/** The dimension that counts rows. */
const ROWS = 'rows';

/** Numbers of the fields of onnx.proto that are written here. */
const MODEL = { irVersion: 1, producer: 2, graph: 7, opset: 8 } as const;
const OPERATOR_SET = { version: 2 } as const;
const GRAPH = { node: 1, name: 2, initializer: 5, input: 11, output: 12 } as const;
const NODE = { input: 1, output: 2, name: 3, operator: 4, attribute: 5 } as const;
const ATTRIBUTE = { name: 1, integer: 3, kind: 20 } as const;
const TENSOR = { dims: 1, datatype: 2, name: 8, raw: 9 } as const;

type Fill = (writer: protobuf.Writer) => void;

/**
 * A head as an ONNX model of its own: `[rows, features]` to `[rows, outputs]`, FP32.
 */
export function headModel(head: Head, options: HeadModelOptions): Uint8Array {
  const { shape } = head;
  const writer = protobuf.Writer.create();
  varint(writer, MODEL.irVersion, IR_VERSION);
  text(writer, MODEL.producer, 'shoal');
  message(writer, MODEL.opset, (opset) => varint(opset, OPERATOR_SET.version, OPSET));
  message(writer, MODEL.graph, (graph) => {
    text(graph, GRAPH.name, 'head');
    message(graph, GRAPH.input, valueInfo(options.features, shape.features));
    addHead(new GraphMessage(graph), head, options);
  });
  return writer.finish();
}

/**
 * A base model with a head on one of its outputs. The base keeps all of its inputs and outputs, byte for byte.
 *
 * Protocol Buffers merge a message that occurs twice, so the head's nodes are appended as a second graph; the base is
 * never taken apart, however large it is.
 *
 * @param base an ONNX model that has an FP32 output `options.features` of shape `[rows, features]`.
 * @throws {ShoalError} INVALID_REQUEST when names of the head occur in the base.
 */
export function baseWithHead(base: Uint8Array, head: Head, options: HeadModelOptions): Uint8Array {
  const taken = Buffer.from(base.buffer, base.byteOffset, base.byteLength);
  for (const name of [options.output, PREFIX]) {
    // A name that merely occurs in other data is refused, too; another one is found more easily than a wrong graph.
    if (taken.includes(name)) throw invalid(`the base model has something called '${name}' already`);
  }
  const writer = protobuf.Writer.create();
  message(writer, MODEL.graph, (graph) => addHead(new GraphMessage(graph), head, options));
  return Buffer.concat([taken, writer.finish()]);
}

/**
 * A base model in which a head gives one of the outputs that the base has; see {@link replaceOutput}. Outputs keep their
 * names and order.
 *
 * @returns the model in pieces, most of them views of `base`.
 * @throws {ShoalError} INVALID_REQUEST when the base does not allow it.
 */
export function baseWithHeadInstead(base: Uint8Array, head: Head, options: HeadModelOptions): Uint8Array[] {
  const names = graphNames(base);
  let prefix = PREFIX;
  for (let i = 2; [...names].some((name) => name.startsWith(prefix)); i++) prefix = `shoal_head${i}_`;
  const parts = new GraphParts();
  addHead(parts, head, options, prefix);
  const { nodes, initializers, outputs } = parts;
  const { output, features } = options;
  return replaceOutput(base, { output, features, nodes, initializers, valueInfo: outputs[0]! });
}

/** What names of the head begin with. */
const PREFIX = 'shoal_head_';

/** Takes the fields of a graph one by one. */
interface GraphWriter {
  add(field: number, fill: Fill): void;
}

class GraphMessage implements GraphWriter {
  readonly #writer: protobuf.Writer;

  constructor(writer: protobuf.Writer) {
    this.#writer = writer;
  }

  add(field: number, fill: Fill): void {
    message(this.#writer, field, fill);
  }
}

class GraphParts implements GraphWriter {
  readonly nodes: Uint8Array[] = [];
  readonly initializers: Uint8Array[] = [];
  readonly outputs: Uint8Array[] = [];

  add(field: number, fill: Fill): void {
    const writer = protobuf.Writer.create();
    fill(writer);
    const list = field === GRAPH.node ? this.nodes : field === GRAPH.initializer ? this.initializers : this.outputs;
    list.push(writer.finish());
  }
}

function addHead(graph: GraphWriter, head: Head, options: HeadModelOptions, prefix: string = PREFIX): void {
  const { features, output, classifies } = options;
  let input = features;
  for (const [i, layer] of head.layers.entries()) {
    const isLast = i === head.layers.length - 1;
    const name = `${prefix}${i}`;
    const sum = isLast && !classifies ? output : `${name}_sum`;
    addLayer(graph, layer, name, input, sum);
    if (!isLast) {
      const given = `${name}_out`;
      node(graph, head.shape.activation === 'relu' ? 'Relu' : 'Tanh', `${name}_activation`, [sum], given);
      input = given;
    } else if (classifies) node(graph, 'Softmax', `${name}_softmax`, [sum], output, { axis: 1 });
  }
  graph.add(GRAPH.output, valueInfo(output, head.shape.outputs));
}

function addLayer(graph: GraphWriter, layer: Layer, name: string, input: string, output: string): void {
  const { inputs, outputs, weights, bias } = layer;
  graph.add(GRAPH.initializer, tensor(`${name}_weights`, [inputs, outputs], weights));
  if (bias.length === 0) {
    node(graph, 'MatMul', `${name}_product`, [input, `${name}_weights`], output);
    return;
  }
  graph.add(GRAPH.initializer, tensor(`${name}_bias`, [outputs], bias));
  node(graph, 'Gemm', `${name}_product`, [input, `${name}_weights`, `${name}_bias`], output);
}

function node(
  graph: GraphWriter,
  operator: string,
  name: string,
  inputs: readonly string[],
  output: string,
  attributes: Readonly<Record<string, number>> = {},
): void {
  graph.add(GRAPH.node, (into) => {
    for (const input of inputs) text(into, NODE.input, input);
    text(into, NODE.output, output);
    text(into, NODE.name, name);
    text(into, NODE.operator, operator);
    for (const [key, value] of Object.entries(attributes)) {
      message(into, NODE.attribute, (attribute) => {
        text(attribute, ATTRIBUTE.name, key);
        varint(attribute, ATTRIBUTE.integer, value);
        varint(attribute, ATTRIBUTE.kind, INT);
      });
    }
  });
}

function tensor(name: string, dims: readonly number[], values: Float64Array): Fill {
  const raw = Buffer.from(Float32Array.from(values).buffer);
  return (into) => {
    for (const dim of dims) varint(into, TENSOR.dims, dim);
    varint(into, TENSOR.datatype, FLOAT);
    text(into, TENSOR.name, name);
    into.uint32(tag(TENSOR.raw, 2)).bytes(raw);
  };
}

/** An FP32 tensor of shape `[rows, width]`. */
function valueInfo(name: string, width: number): Fill {
  const dimensions: Fill = (shape) => {
    message(shape, 1, (dimension) => text(dimension, 2, ROWS));
    message(shape, 1, (dimension) => varint(dimension, 1, width));
  };
  return (into) => {
    text(into, 1, name);
    message(into, 2, (type) =>
      message(type, 1, (tensorType) => {
        varint(tensorType, 1, FLOAT);
        message(tensorType, 2, dimensions);
      }),
    );
  };
}

function message(writer: protobuf.Writer, field: number, fill: Fill): void {
  writer.uint32(tag(field, 2)).fork();
  fill(writer);
  writer.ldelim();
}

function text(writer: protobuf.Writer, field: number, value: string): void {
  writer.uint32(tag(field, 2)).string(value);
}

function varint(writer: protobuf.Writer, field: number, value: number): void {
  writer.uint32(tag(field, 0)).int64(value);
}

function tag(field: number, wireType: number): number {
  return (field << 3) | wireType;
}
