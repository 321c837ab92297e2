// Writes ONNX files for the recipes beside it. Field numbers are those of onnx/onnx.proto.
//
// The bytes have to be the same each time, so the order is fixed: the fields of a message ascend, repeated integers are
// packed, and a field is written whenever a value was given, be it empty or zero.
import { PbfWriter } from 'pbf';

/** Element types (`TensorProto.DataType`). */
export const FLOAT = 1;
export const INT64 = 7;
export const STRING = 8;

/** Attribute types (`AttributeProto.AttributeType`). */
const ATTRIBUTE = { INT: 2, STRING: 3, INTS: 7, STRINGS: 8 };

/** A graph under construction: constants and operators get names in the order in which they are added. */
export class GraphWriter {
  #count = 0;
  #name;
  #inputs;
  #outputs;
  #nodes = [];
  #initializers = [];

  /**
   * @param {string} name
   * @param {{name: string, type: number, shape: (string | number)[]}[]} inputs
   * @param {{name: string, type: number, shape: (string | number)[]}[]} outputs
   */
  constructor(name, inputs, outputs) {
    this.#name = name;
    this.#inputs = inputs;
    this.#outputs = outputs;
  }

  /** Adds an FP32 constant and returns its name. */
  floats(values, dims = [values.length]) {
    return this.#constant(FLOAT, dims, { raw: Float32Array.from(values) });
  }

  /** Adds an INT64 constant and returns its name. */
  int64s(values, dims = [values.length]) {
    return this.#constant(INT64, dims, { raw: BigInt64Array.from(values, BigInt) });
  }

  /** Adds a constant of strings and returns its name. */
  strings(values, dims = [values.length]) {
    return this.#constant(STRING, dims, { strings: values });
  }

  /**
   * Adds an operator and returns the name of its output.
   *
   * @param {string} type
   * @param {string[]} inputs names of values.
   * @param {Record<string, number | string | number[] | string[]>} attributes numbers are integers.
   * @param {{output?: string, domain?: string}} options `output` names what the graph gives out.
   */
  add(type, inputs, attributes = {}, { output = `t${this.#count++}`, domain = '' } = {}) {
    this.#nodes.push({ type, inputs, output, name: `n${this.#count++}`, attributes, domain });
    return output;
  }

  /**
   * The bytes of the model file.
   *
   * @param {{irVersion: number, producer: string, opsets: Record<string, number>, metadata?: Record<string, string>}} model
   */
  encode({ irVersion, producer, opsets, metadata = {} }) {
    const pbf = new PbfWriter();
    pbf.writeVarintField(1, irVersion);
    pbf.writeStringField(2, producer);
    pbf.writeMessage(7, (_, graph) => this.#write(graph));
    for (const [domain, version] of Object.entries(opsets)) {
      pbf.writeMessage(8, (_, opset) => {
        opset.writeStringField(1, domain);
        opset.writeVarintField(2, version);
      });
    }
    for (const [key, value] of Object.entries(metadata)) {
      pbf.writeMessage(14, (_, entry) => {
        entry.writeStringField(1, key);
        entry.writeStringField(2, value);
      });
    }
    return Buffer.from(pbf.finish());
  }

  #constant(type, dims, data) {
    const name = `c${this.#count++}`;
    this.#initializers.push({ name, type, dims, ...data });
    return name;
  }

  #write(pbf) {
    for (const node of this.#nodes) pbf.writeMessage(1, writeNode, node);
    pbf.writeStringField(2, this.#name);
    for (const initializer of this.#initializers) pbf.writeMessage(5, writeTensor, initializer);
    for (const input of this.#inputs) pbf.writeMessage(11, writeValueInfo, input);
    for (const output of this.#outputs) pbf.writeMessage(12, writeValueInfo, output);
  }
}

function writeNode({ type, inputs, output, name, attributes, domain }, pbf) {
  for (const input of inputs) pbf.writeStringField(1, input);
  pbf.writeStringField(2, output);
  pbf.writeStringField(3, name);
  pbf.writeStringField(4, type);
  for (const attribute of Object.entries(attributes)) pbf.writeMessage(5, writeAttribute, attribute);
  pbf.writeStringField(7, domain);
}

function writeAttribute([name, value], pbf) {
  pbf.writeStringField(1, name);
  let type;
  if (typeof value === 'number') {
    pbf.writeVarintField(3, value);
    type = ATTRIBUTE.INT;
  } else if (typeof value === 'string') {
    pbf.writeStringField(4, value);
    type = ATTRIBUTE.STRING;
  } else if (typeof value[0] === 'number') {
    pbf.writePackedVarint(8, value);
    type = ATTRIBUTE.INTS;
  } else {
    for (const string of value) pbf.writeStringField(9, string);
    type = ATTRIBUTE.STRINGS;
  }
  pbf.writeVarintField(20, type);
}

function writeTensor({ name, type, dims, raw, strings = [] }, pbf) {
  pbf.writePackedVarint(1, dims);
  pbf.writeVarintField(2, type);
  for (const string of strings) pbf.writeStringField(6, string);
  pbf.writeStringField(8, name);
  if (raw) pbf.writeBytesField(9, new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength));
}

function writeValueInfo({ name, type, shape }, pbf) {
  pbf.writeStringField(1, name);
  // ValueInfo.type → TypeProto.tensor_type → its element type and shape → one message for each dimension.
  pbf.writeMessage(2, (_, typeProto) => {
    typeProto.writeMessage(1, (_, tensorType) => {
      tensorType.writeVarintField(1, type);
      tensorType.writeMessage(2, writeShape, shape);
    });
  });
}

function writeShape(shape, pbf) {
  for (const dim of shape) {
    pbf.writeMessage(1, (_, dimension) => {
      if (typeof dim === 'number') dimension.writeVarintField(1, dim);
      else dimension.writeStringField(2, dim);
    });
  }
}
