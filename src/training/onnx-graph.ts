import protobuf from 'protobufjs/minimal.js';
import { invalid } from '../errors.ts';

/** Numbers of the fields of onnx.proto that are read here. */
const MODEL = { irVersion: 1, graph: 7, opset: 8 } as const;
const GRAPH = { node: 1, initializer: 5, input: 11, output: 12, valueInfo: 13 } as const;
const NODE = { input: 1, output: 2, attribute: 5 } as const;
const ATTRIBUTE = { graph: 6, graphs: 11 } as const;
const TENSOR_NAME = 8;
const VALUE_NAME = 1;

/** Oldest version of the format in which constants need not be inputs, and of the operators that heads use. */
const OLDEST_IR = 4;
const OLDEST_OPSET = 7;

/** A field of a message: its bytes with tag and length, and its content where it has a length. */
interface Field {
  readonly number: number;
  readonly bytes: Uint8Array;
  readonly content: Uint8Array | undefined;
  readonly value: number;
}

/** A node of the graph, with everything that it and the graphs inside it read. */
interface Node {
  readonly field: Field;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** What takes an output's place, each as the content of a field of the graph. */
export interface Replacement {
  readonly output: string;
  /** What the nodes read. */
  readonly features: string;
  readonly nodes: readonly Uint8Array[];
  readonly initializers: readonly Uint8Array[];
  /** Stands where the output stood. */
  readonly valueInfo: Uint8Array;
}

/** Names of a model's outputs, in order. */
export function outputNames(model: Uint8Array): string[] {
  return graphFields(model)
    .filter(({ number }) => number === GRAPH.output)
    .map(({ content }) => textOf(content!, VALUE_NAME));
}

/**
 * A model in which other nodes give one of its outputs. Nodes and constants that only the old ones needed are left out,
 * so that a head that is replaced again and again does not pile up; whoever else reads that output gets the new one.
 * All else stays byte for byte.
 *
 * @returns the model in pieces, most of them views of `model`.
 * @throws {ShoalError} INVALID_REQUEST when the graph cannot be changed so: the output is an input or a constant, the
 * features hang on it, or the format is too old.
 */
export function replaceOutput(model: Uint8Array, replacement: Replacement): Uint8Array[] {
  const { output, features } = replacement;
  const fields = graphFields(model);
  checkAge(model);
  const nodes = fields.filter(({ number }) => number === GRAPH.node).map(readNode);
  const old = nodes.find(({ outputs }) => outputs.includes(output));
  if (old === undefined) throw invalid(`output '${output}' of the base is no node's, and cannot be replaced`);
  const others = old.outputs.filter((name) => name !== '' && name !== output);
  if (others.length > 0) {
    throw invalid(
      `output '${output}' of the base comes from a node that gives '${others[0]}', too; choose another name`,
    );
  }
  const rest = nodes.filter((node) => node !== old);
  const before = upstream(rest, [features]);
  if ([...before].some(({ inputs }) => inputs.includes(output))) {
    throw invalid(`'${features}' is made from '${output}', which therefore cannot be replaced by what is made from it`);
  }
  const wanted = fields
    .filter(({ number }) => number === GRAPH.output)
    .map(({ content }) => textOf(content!, VALUE_NAME));
  const live = upstream(rest, [features, ...wanted.filter((name) => name !== output)]);
  const later = downstream(rest, output);
  const read = new Set([features, ...wanted, ...[...live].flatMap(({ inputs }) => inputs)]);
  const made = new Set([...live].flatMap(({ outputs }) => outputs));

  const pieces: Uint8Array[] = [];
  for (const { number, bytes, content } of fields) {
    if (number === GRAPH.node) continue;
    if (number === GRAPH.initializer && !read.has(textOf(content!, TENSOR_NAME))) continue;
    if (number === GRAPH.valueInfo && !made.has(textOf(content!, VALUE_NAME))) continue;
    if (number === GRAPH.output && textOf(content!, VALUE_NAME) === output) {
      pieces.push(...framed(GRAPH.output, [replacement.valueInfo]));
    } else pieces.push(bytes);
  }
  for (const initializer of replacement.initializers) pieces.push(...framed(GRAPH.initializer, [initializer]));
  // Nodes must stand behind those whose outputs they read.
  const ordered = rest.filter((node) => live.has(node));
  pieces.push(...ordered.filter((node) => !later.has(node)).map(({ field }) => field.bytes));
  for (const node of replacement.nodes) pieces.push(...framed(GRAPH.node, [node]));
  pieces.push(...ordered.filter((node) => later.has(node)).map(({ field }) => field.bytes));

  const outside = fieldsOf(model).filter(({ number }) => number !== MODEL.graph);
  return [...outside.map(({ bytes }) => bytes), ...framed(MODEL.graph, pieces)];
}

/** Every name that anything in the graph goes by. */
export function graphNames(model: Uint8Array): Set<string> {
  const names = new Set<string>();
  for (const field of graphFields(model)) {
    const { number, content } = field;
    if (number === GRAPH.node) {
      const { inputs, outputs } = readNode(field);
      for (const name of [...inputs, ...outputs]) names.add(name);
    } else if (number === GRAPH.initializer) names.add(textOf(content!, TENSOR_NAME));
    else if (number === GRAPH.input || number === GRAPH.output) names.add(textOf(content!, VALUE_NAME));
  }
  return names;
}

function checkAge(model: Uint8Array): void {
  for (const { number, value, content } of fieldsOf(model)) {
    if (number === MODEL.irVersion && value < OLDEST_IR) {
      throw invalid(`the base is of version ${value} of ONNX's format, expected ${OLDEST_IR} or later`);
    }
    if (number !== MODEL.opset) continue;
    const opset = fieldsOf(content!);
    const domain = opset.find((field) => field.number === 1)?.content?.length ?? 0;
    const version = opset.find((field) => field.number === 2)?.value ?? 0;
    if (domain === 0 && version < OLDEST_OPSET) {
      throw invalid(`the base uses version ${version} of ONNX's operators, expected ${OLDEST_OPSET} or later`);
    }
  }
}

/** The nodes that these values are made by, directly or not. */
function upstream(nodes: readonly Node[], names: readonly string[]): Set<Node> {
  const makers = new Map<string, Node>();
  for (const node of nodes) for (const name of node.outputs) if (name !== '') makers.set(name, node);
  const found = new Set<Node>();
  const open = [...names];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const maker = makers.get(name);
    if (maker === undefined || found.has(maker)) continue;
    found.add(maker);
    open.push(...maker.inputs);
  }
  return found;
}

/** The nodes that read a value, directly or not. */
function downstream(nodes: readonly Node[], name: string): Set<Node> {
  const found = new Set<Node>();
  const reached = new Set([name]);
  // The nodes are in order, so that once through is enough.
  for (const node of nodes) {
    if (!node.inputs.some((input) => reached.has(input))) continue;
    found.add(node);
    for (const output of node.outputs) if (output !== '') reached.add(output);
  }
  return found;
}

function readNode(field: Field): Node {
  const inputs: string[] = [];
  const outputs: string[] = [];
  for (const { number, content } of fieldsOf(field.content!)) {
    if (number === NODE.input) inputs.push(decode(content!));
    else if (number === NODE.output) outputs.push(decode(content!));
    else if (number === NODE.attribute) inputs.push(...capturedBy(content!));
  }
  return { field, inputs, outputs };
}

/** What graphs inside an attribute read; names of their own among it do no harm. */
function capturedBy(attribute: Uint8Array): string[] {
  return fieldsOf(attribute)
    .filter(({ number }) => number === ATTRIBUTE.graph || number === ATTRIBUTE.graphs)
    .flatMap(({ content }) => fieldsOf(content!))
    .flatMap((field) => {
      if (field.number === GRAPH.node) return readNode(field).inputs;
      return field.number === GRAPH.output ? [textOf(field.content!, VALUE_NAME)] : [];
    });
}

/** The fields of a model's graph; one that stands in several messages is one. */
function graphFields(model: Uint8Array): Field[] {
  return fieldsOf(model)
    .filter(({ number }) => number === MODEL.graph)
    .flatMap(({ content }) => fieldsOf(content!));
}

function fieldsOf(message: Uint8Array): Field[] {
  const reader = protobuf.Reader.create(message);
  const fields: Field[] = [];
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const tag = reader.uint32();
    let content: Uint8Array | undefined;
    let value = 0;
    if ((tag & 7) === 2) {
      const length = reader.uint32();
      content = message.subarray(reader.pos, reader.pos + length);
      reader.skip(length);
    } else if ((tag & 7) === 0) value = Number(reader.int64());
    else reader.skipType(tag & 7);
    fields.push({ number: tag >>> 3, bytes: message.subarray(start, reader.pos), content, value });
  }
  return fields;
}

/** The text in a field of a message; empty when there is none. */
function textOf(message: Uint8Array, number: number): string {
  const content = fieldsOf(message).find((field) => field.number === number)?.content;
  return content === undefined ? '' : decode(content);
}

function decode(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
}

/** A field with a length, in pieces. */
function framed(number: number, pieces: readonly Uint8Array[]): Uint8Array[] {
  const length = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const head = protobuf.Writer.create()
    .uint32((number << 3) | 2)
    .uint32(length)
    .finish();
  return [head, ...pieces];
}
