import { invalid, type ShoalError } from '../errors.ts';
import { asBuffer, type Datatype, formatShape, type Tensor } from './tensor.ts';

/** One input or output of a model. */
export interface TensorSpec {
  readonly name: string;
  readonly datatype: Datatype;
  /** Full shape, batch axis included; −1 stands for a dimension of any size. `[]` is a scalar. */
  readonly shape: readonly number[];
  /** The axis along which rows are stacked, as the probe found it; null where the tensor has none. */
  readonly batchAxis: number | null;
  /** The shape of the same elements in the model file, with as many free dimensions; left out: `shape`. */
  readonly modelShape?: readonly number[];
}

/** What a model version takes and gives, in the order of its graph. */
export interface Signature {
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  /** Whether requests may share a run. False: each request runs alone and counts as one row. */
  readonly batched: boolean;
}

/** Whether rows are stacked along the first dimension of every input and output. */
export function isBatchedAlongFirst({ batched, inputs, outputs }: Signature): boolean {
  return batched && [...inputs, ...outputs].every((spec) => spec.batchAxis === 0);
}

/** Inputs that fit a signature, in its order, with what the batcher needs to know of them. */
export interface CheckedInputs {
  readonly tensors: readonly Tensor[];
  /** Whether the signature that they were checked by has rows. */
  readonly batched: boolean;
  /** The rows of the request; 1 where the model does not batch. */
  readonly rows: number;
  /** Sum of the tensors' bytes. */
  readonly bytes: number;
  /** Requests with equal keys may share a batch: same non-batch dimensions and equal values of unbatched inputs. */
  readonly laneKey: string;
}

/**
 * Checks a request's inputs against the signature: names, datatypes, ranks, dimensions, rows.
 * Element counts against bytes are the decoder's task.
 *
 * @param model what messages call the model.
 * @throws {ShoalError} INVALID_REQUEST that names the input, what came and what was expected.
 */
export function checkInputs(
  model: string,
  signature: Signature,
  inputs: ReadonlyMap<string, Tensor>,
  maxBatchSize: number,
): CheckedInputs {
  const tensors: Tensor[] = [];
  let rows = signature.batched ? 0 : 1;
  let rowsFrom = '';
  let bytes = 0;
  let laneKey = '';
  for (const spec of signature.inputs) {
    const tensor = inputs.get(spec.name);
    if (tensor === undefined) {
      const came = inputs.size === 0 ? 'the request has none' : `the request has ${quoteList([...inputs.keys()])}`;
      throw invalid(`model '${model}' needs input '${spec.name}' (${describe(spec)}), ${came}`);
    }
    if (tensor.datatype !== spec.datatype) {
      throw invalid(`input '${spec.name}' of model '${model}' is ${spec.datatype}, the request has ${tensor.datatype}`);
    }
    checkShape(model, signature, spec, tensor.shape);
    const axis = signature.batched ? spec.batchAxis : null;
    if (axis !== null) {
      const n = tensor.shape[axis]!;
      if (rowsFrom === '') {
        rows = n;
        rowsFrom = spec.name;
      } else if (n !== rows) {
        throw invalid(
          `inputs of model '${model}' disagree on the number of rows: '${rowsFrom}' has ${rows}, '${spec.name}' has ${n}`,
        );
      }
      if (hasFreeDimension(spec)) laneKey += `${tensor.shape.toSpliced(axis, 1).join(',')};`;
    } else if (signature.batched) {
      // Callers may share an input without rows only when they gave the same value.
      laneKey += `${tensor.shape.join(',')}=${asBuffer(tensor.bytes).toString('latin1')};`;
    }
    tensors.push(spec.modelShape === undefined ? tensor : reshape(tensor, spec.shape, spec.modelShape));
    bytes += tensor.bytes.byteLength;
  }
  if (inputs.size > signature.inputs.length) throw unexpectedInput(model, signature, inputs);
  if (rows < 1) throw invalid(`a request to model '${model}' needs at least one row, '${rowsFrom}' has 0`);
  if (rows > maxBatchSize) {
    throw invalid(`the request has ${rows} rows, model '${model}' takes at most ${maxBatchSize} in one request`);
  }
  return { tensors, batched: signature.batched, rows, bytes, laneKey };
}

/**
 * A tensor of shape `from` as one of shape `to`: each free dimension of `to` gets the size of the one that stands at
 * the same place among those of `from`. The bytes are shared.
 */
export function reshape(tensor: Tensor, from: readonly number[], to: readonly number[]): Tensor {
  const sizes = tensor.shape.filter((_, i) => from[i]! < 0);
  let next = 0;
  return { ...tensor, shape: to.map((dim) => (dim < 0 ? sizes[next++]! : dim)) };
}

/**
 * The indices of the outputs asked for, in the caller's order; undefined stands for all in the model's order.
 *
 * @throws {ShoalError} INVALID_REQUEST for an unknown or repeated name.
 */
export function checkOutputs(
  model: string,
  signature: Signature,
  names: readonly string[] | undefined,
): number[] | undefined {
  if (names === undefined || names.length === 0) return undefined;
  const indices: number[] = [];
  for (const name of names) {
    const index = signature.outputs.findIndex((spec) => spec.name === name);
    if (index < 0) {
      throw invalid(
        `model '${model}' has no output '${name}', only ${quoteList(signature.outputs.map((s) => s.name))}`,
      );
    }
    if (indices.includes(index)) throw invalid(`output '${name}' is asked for twice`);
    indices.push(index);
  }
  return indices;
}

function checkShape(model: string, signature: Signature, spec: TensorSpec, shape: readonly number[]): void {
  const wrong =
    shape.length !== spec.shape.length ||
    spec.shape.some((dim, i) => dim >= 0 && dim !== shape[i] && i !== spec.batchAxis);
  if (!wrong) return;
  const hint =
    signature.batched && spec.batchAxis === 0 && shape.length === spec.shape.length - 1
      ? '; the first dimension counts the rows and is required'
      : '';
  throw invalid(
    `input '${spec.name}' of model '${model}' has shape ${formatShape(shape)}, expected ${formatShape(spec.shape)}${hint}`,
  );
}

/** Whether a dimension besides the batch axis is free, so that requests may differ in it. */
function hasFreeDimension({ shape, batchAxis }: TensorSpec): boolean {
  for (let i = 0; i < shape.length; i++) if (shape[i]! < 0 && i !== batchAxis) return true;
  return false;
}

function unexpectedInput(model: string, signature: Signature, inputs: ReadonlyMap<string, Tensor>): ShoalError {
  const known = new Set(signature.inputs.map((spec) => spec.name));
  const extra = [...inputs.keys()].find((name) => !known.has(name));
  return invalid(`model '${model}' has no input '${extra}', only ${quoteList([...known])}`);
}

function describe(spec: TensorSpec): string {
  return `${spec.datatype} ${formatShape(spec.shape)}`;
}

function quoteList(names: readonly string[]): string {
  return names.map((name) => `'${name}'`).join(', ');
}
