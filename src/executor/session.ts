import * as ort from 'onnxruntime-node';
import {
  DATATYPES,
  type Datatype,
  decodeStrings,
  elementCount,
  encodeStrings,
  isDatatype,
  type Tensor,
} from '../tensor/tensor.ts';
import { ARRAYS } from '../tensor/typed.ts';
import type { LoadRequest } from './messages.ts';

/**
 * The only file that touches ONNX Runtime. It runs in executor processes alone: `create` and `run` block their
 * thread, and a valid request can kill the process.
 */

/** An input or output as the model file declares it. */
export interface DeclaredTensor {
  readonly name: string;
  readonly datatype: Datatype;
  /** Fixed sizes as numbers, others as their symbol (possibly empty). An undeclared shape is `[]`, as is a scalar's. */
  readonly dims: readonly (number | string)[];
}

type OnnxType = (typeof DATATYPES)[Datatype]['onnx'];
const DATATYPE_OF: ReadonlyMap<string, Datatype> = new Map(
  Object.entries(DATATYPES).flatMap(([name, { onnx }]) => (isDatatype(name) ? [[onnx, name] as const] : [])),
);

/** An ONNX Runtime session whose inputs and outputs are Shoal's tensors. */
export class Session {
  readonly inputs: readonly DeclaredTensor[];
  /** Those that are served, in the order of the graph. */
  readonly outputs: readonly DeclaredTensor[];
  /** Every output of the graph. */
  readonly allOutputs: readonly DeclaredTensor[];
  readonly #session: ort.InferenceSession;
  readonly #outputNames: readonly string[];

  private constructor(session: ort.InferenceSession, served: readonly string[] | undefined) {
    this.#session = session;
    this.inputs = session.inputMetadata.map((meta) => declare('input', meta));
    this.allOutputs = session.outputMetadata.map((meta) => declare('output', meta));
    this.outputs = this.allOutputs.filter(({ name }) => served === undefined || served.includes(name));
    this.#outputNames = this.outputs.map(({ name }) => name);
  }

  /**
   * Loads a model file; blocks the thread meanwhile.
   *
   * @throws {Error} what ONNX Runtime says, or that the model has a type which cannot be carried. Such a model must
   * not be run: some of those types abort the process.
   */
  static async create(request: LoadRequest): Promise<Session> {
    const { file, inline, provider, device, intraOpThreads, graphOptimization } = request;
    const options: ort.InferenceSession.SessionOptions = {
      executionProviders: [provider === 'cuda' ? { name: 'cuda', deviceId: device } : 'cpu'],
      intraOpNumThreads: intraOpThreads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: graphOptimization ?? 'all',
      // Every failing node would print a line otherwise, request by request.
      logSeverityLevel: 4,
      // A thread that spins after each run takes the core from the front and from other models.
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    };
    const session =
      inline === undefined
        ? await ort.InferenceSession.create(file, options)
        : await ort.InferenceSession.create(Buffer.from(inline, 'base64'), options);
    return new Session(session, request.outputs);
  }

  /**
   * Runs the model once; blocks the thread meanwhile.
   *
   * @param inputs in the order of {@link Session.inputs}. Bytes of numbers must be aligned to their size; they are
   * read in place and must not change before the promise settles.
   * @param outputs indices of the outputs wanted; empty stands for all.
   * @returns the outputs in that order; the caller owns them.
   */
  async run(inputs: readonly Tensor[], outputs: readonly number[] = []): Promise<Tensor[]> {
    const feeds: Record<string, ort.OnnxValue> = {};
    for (let i = 0; i < inputs.length; i++) feeds[this.inputs[i]!.name] = toOnnx(inputs[i]!);
    const names = outputs.length === 0 ? this.#outputNames : outputs.map((index) => this.#outputNames[index]!);
    const results = await this.#session.run(feeds, names);
    return names.map((name) => fromOnnx(results[name]!));
  }
}

function declare(role: 'input' | 'output', meta: ort.InferenceSession.ValueMetadata): DeclaredTensor {
  if (!meta.isTensor) throw new Error(`${role} '${meta.name}' is a sequence or a map; only tensors can be served`);
  const datatype = DATATYPE_OF.get(meta.type);
  if (datatype === undefined) {
    throw new Error(
      `${role} '${meta.name}' has type ${meta.type}, which cannot be served; add a Cast node to the model`,
    );
  }
  // A symbol that the file gives as −1 is as good as one without a name.
  return { name: meta.name, datatype, dims: meta.shape.map((dim) => (typeof dim === 'number' && dim < 0 ? '' : dim)) };
}

function toOnnx(tensor: Tensor): ort.OnnxValue {
  const { datatype, shape, bytes } = tensor;
  const type: OnnxType = DATATYPES[datatype].onnx;
  const count = elementCount(shape);
  const data =
    datatype === 'BYTES'
      ? decodeStrings(bytes, count)
      : new ARRAYS[datatype](bytes.buffer as ArrayBuffer, bytes.byteOffset, count);
  // A plain object of the tensor's form is accepted, saves the constructor's checks, and is the only way to feed
  // float16 on Nodes that have Float16Array.
  return { type, data, dims: shape, location: 'cpu' } as unknown as ort.OnnxValue;
}

function fromOnnx(value: ort.OnnxValue): Tensor {
  const { type, data, dims } = value as ort.Tensor;
  const datatype = DATATYPE_OF.get(type)!;
  if (datatype === 'BYTES') return { datatype, shape: dims, bytes: encodeStrings(data as string[]) };
  const view = data as unknown as ArrayBufferView;
  return { datatype, shape: dims, bytes: new Uint8Array(view.buffer, view.byteOffset, view.byteLength) };
}
