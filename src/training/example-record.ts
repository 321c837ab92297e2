import { invalid } from '../errors.ts';
import { checkInputs, type Signature } from '../tensor/signature.ts';
import { asBuffer, type Datatype, decodeStrings, elementCount, formatShape, type Tensor } from '../tensor/tensor.ts';
import { readTensor } from '../tensor/typed.ts';

/** What rows are to be learned as: numbered classes, named ones, or numbers. */
export type LabelKind = 'classes' | 'names' | 'targets';

/** Labelled rows of one request. */
export interface Example {
  /** The request's own id; undefined when it had none. */
  readonly id: string | undefined;
  readonly rows: number;
  /** The model's inputs, by name. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly labels: Labels;
}

/** Labels of rows, one entry each. */
export type Labels =
  | { readonly kind: 'classes'; readonly classes: readonly number[] }
  | { readonly kind: 'names'; readonly names: readonly string[] }
  /** `values` is `[rows, width]`, row-major. */
  | { readonly kind: 'targets'; readonly width: number; readonly values: Float64Array };

/** Most rows of one request, and most bytes of its tensors. */
export const MOST_REQUEST_ROWS = 4096;
export const MOST_REQUEST_BYTES: number = 16 << 20;
/** Largest number of classes, and of numbers in a target. */
export const MOST_CLASSES = 10_000;
/** Longest name of a class, in UTF-16 units. */
const MOST_NAME_LENGTH = 256;
/** Longest id of a request, which is remembered. */
const MOST_ID_LENGTH = 128;
/** Numbers that are looked at before others have a turn. */
const CHECKED_AT_ONCE = 1 << 17;

const INTEGERS: ReadonlySet<Datatype> = new Set([
  'UINT8',
  'UINT16',
  'UINT32',
  'UINT64',
  'INT8',
  'INT16',
  'INT32',
  'INT64',
]);

/**
 * Labelled rows from the tensors of a request: the model's inputs, and `label` (integers from 0, or texts, one for each
 * row) or `target` (FP32 or FP64, `[rows]` or `[rows, width]`). Where the model has an input of that name, the other is
 * called `example_label` or `example_target`.
 *
 * @throws {ShoalError} INVALID_REQUEST that names the tensor, what came and what was expected.
 */
export async function readExample(
  model: string,
  signature: Signature,
  maxBatchSize: number,
  tensors: ReadonlyMap<string, Tensor>,
  id: string | undefined,
): Promise<Example> {
  const named = (name: string): string =>
    signature.inputs.some((spec) => spec.name === name) ? `example_${name}` : name;
  const [labelName, targetName] = [named('label'), named('target')];
  const inputs = new Map(tensors);
  inputs.delete(labelName);
  inputs.delete(targetName);
  const label = tensors.get(labelName);
  const target = tensors.get(targetName);
  if ((label === undefined) === (target === undefined)) {
    const came = label === undefined ? 'neither' : 'both';
    throw invalid(
      `the request has ${came}: expected a tensor '${labelName}' (integers from 0, or texts) or '${targetName}' (numbers), one for each row`,
    );
  }
  if (id !== undefined && id.length > MOST_ID_LENGTH) {
    throw invalid(
      `the id of the request has ${id.length} characters, expected at most ${MOST_ID_LENGTH} with examples`,
    );
  }
  // Rows along other axes cannot be cut apart by bytes; a request of them is one run.
  const isCut = signature.batched && signature.inputs.every(({ batchAxis }) => batchAxis === 0 || batchAxis === null);
  const { rows, bytes } = checkInputs(model, signature, inputs, isCut ? MOST_REQUEST_ROWS : maxBatchSize);
  if (bytes > MOST_REQUEST_BYTES) {
    throw invalid(`the inputs have ${bytes} bytes, expected at most ${MOST_REQUEST_BYTES} in one request of examples`);
  }
  for (const [name, tensor] of inputs) await checkNumbers(`input '${name}'`, tensor);
  const labels =
    label === undefined ? await readTargets(targetName, target!, rows) : readClasses(labelName, label, rows);
  return { id, rows, inputs: new Map(signature.inputs.map(({ name }) => [name, inputs.get(name)!])), labels };
}

function readClasses(name: string, tensor: Tensor, rows: number): Labels {
  const { datatype, shape } = tensor;
  checkRows(name, tensor, rows, 1);
  if (datatype === 'BYTES') {
    const names = decodeStrings(tensor.bytes, rows);
    for (const [row, text] of names.entries()) {
      if (text === '' || text.length > MOST_NAME_LENGTH) {
        throw invalid(`the label of row ${row} has ${text.length} characters, expected 1 to ${MOST_NAME_LENGTH}`);
      }
    }
    return { kind: 'names', names };
  }
  if (!INTEGERS.has(datatype)) {
    throw invalid(`'${name}' is ${datatype} ${formatShape(shape)}, expected integers or BYTES`);
  }
  const classes = [...readTensor(tensor)].map(Number);
  for (const [row, value] of classes.entries()) {
    if (value < 0 || value >= MOST_CLASSES) {
      throw invalid(`the label of row ${row} is ${value}, expected an integer from 0 to ${MOST_CLASSES - 1}`);
    }
  }
  return { kind: 'classes', classes };
}

async function readTargets(name: string, tensor: Tensor, rows: number): Promise<Labels> {
  const { datatype, shape } = tensor;
  if (datatype !== 'FP32' && datatype !== 'FP64') {
    throw invalid(`'${name}' is ${datatype} ${formatShape(shape)}, expected FP32 or FP64`);
  }
  const width = shape.length < 2 ? 1 : shape[1]!;
  if (width < 1 || width > MOST_CLASSES) {
    throw invalid(`'${name}' has ${width} numbers for each row, expected 1 to ${MOST_CLASSES}`);
  }
  checkRows(name, tensor, rows, width);
  await checkNumbers(`'${name}'`, tensor);
  return { kind: 'targets', width, values: Float64Array.from(readTensor(tensor) as Float32Array | Float64Array) };
}

function checkRows(name: string, { shape }: Tensor, rows: number, width: number): void {
  const fits = shape[0] === rows && (shape.length === 1 ? width === 1 : shape.length === 2 && shape[1] === width);
  if (fits) return;
  throw invalid(`'${name}' has shape ${formatShape(shape)}, expected [${rows}] or [${rows},${width}]`);
}

/** @throws {ShoalError} INVALID_REQUEST when a number is not finite. */
async function checkNumbers(what: string, tensor: Tensor): Promise<void> {
  const { datatype } = tensor;
  if (datatype !== 'FP16' && datatype !== 'FP32' && datatype !== 'FP64') return;
  const values = readTensor(tensor) as Uint16Array | Float32Array | Float64Array;
  for (let i = 0; i < values.length; i++) {
    if (i % CHECKED_AT_ONCE === 0 && i > 0) await new Promise(setImmediate);
    // Of FP16 these are the bits; an exponent of ones is infinite or no number.
    const finite = datatype === 'FP16' ? (values[i]! & 0x7c00) !== 0x7c00 : Number.isFinite(values[i]!);
    if (!finite) throw invalid(`element ${i} of ${what} is not a finite number`);
  }
}

/** What stands at the beginning of a record, in JSON. */
interface RecordHead {
  readonly id?: string;
  readonly rows: number;
  readonly inputs: readonly { name: string; datatype: Datatype; shape: readonly number[]; bytes: number }[];
  readonly labels: { kind: 'classes' | 'names'; values: readonly (number | string)[] } | { width: number };
}

/** An example as the payload of a record: its head's length, the head as JSON, targets, and the inputs' bytes. */
export function encodeExample({ id, rows, inputs, labels }: Example): Uint8Array[] {
  const head: RecordHead = {
    ...(id === undefined ? {} : { id }),
    rows,
    inputs: [...inputs].map(([name, { datatype, shape, bytes }]) => ({ name, datatype, shape, bytes: bytes.length })),
    labels:
      labels.kind === 'targets'
        ? { width: labels.width }
        : { kind: labels.kind, values: labels.kind === 'classes' ? labels.classes : labels.names },
  };
  const text = Buffer.from(JSON.stringify(head));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  const targets = labels.kind === 'targets' ? [bytesOf(labels.values)] : [];
  return [length, text, ...targets, ...[...inputs.values()].map(({ bytes }) => bytes)];
}

/** What {@link encodeExample} was given; tensors are views of the payload. */
export function decodeExample(payload: Buffer): Example {
  const { head, end } = decodeHead(payload);
  let at = end;
  const take = (bytes: number): Buffer => {
    at += bytes;
    return payload.subarray(at - bytes, at);
  };
  const labels = labelsOf(head, take);
  const inputs = new Map(
    head.inputs.map(({ name, datatype, shape, bytes }) => [name, { datatype, shape, bytes: take(bytes) }]),
  );
  return { id: head.id, rows: head.rows, inputs, labels };
}

function decodeHead(payload: Buffer): { readonly head: RecordHead; readonly end: number } {
  const end = 4 + payload.readUInt32LE(0);
  return { head: JSON.parse(payload.toString('utf8', 4, end)) as RecordHead, end };
}

function labelsOf({ labels, rows }: RecordHead, take: (bytes: number) => Buffer): Labels {
  if (!('kind' in labels)) {
    const values = Float64Array.from({ length: rows * labels.width });
    asBuffer(bytesOf(values)).set(take(values.byteLength));
    return { kind: 'targets', width: labels.width, values };
  }
  return labels.kind === 'classes'
    ? { kind: 'classes', classes: labels.values as number[] }
    : { kind: 'names', names: labels.values as string[] };
}

function bytesOf(values: Float64Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/**
 * Some of the rows of an example's inputs, for one run.
 *
 * @param signature in which every input has its rows along the first axis or none.
 */
export function sliceInputs(
  { inputs, rows }: Pick<Example, 'inputs' | 'rows'>,
  signature: Signature,
  from: number,
  to: number,
): Record<string, Tensor> {
  if (from === 0 && to === rows) return Object.fromEntries(inputs);
  const sliced: Record<string, Tensor> = {};
  for (const { name, batchAxis } of signature.inputs) {
    const tensor = inputs.get(name)!;
    sliced[name] = batchAxis === 0 ? sliceRows(tensor, from, to) : tensor;
  }
  return sliced;
}

function sliceRows({ datatype, shape, bytes }: Tensor, from: number, to: number): Tensor {
  const perRow = elementCount(shape.slice(1));
  const sliced = shape.with(0, to - from);
  if (datatype !== 'BYTES') {
    const rowBytes = bytes.byteLength / shape[0]!;
    return { datatype, shape: sliced, bytes: bytes.subarray(from * rowBytes, to * rowBytes) };
  }
  const buffer = asBuffer(bytes);
  const skip = (at: number, count: number): number => {
    let end = at;
    for (let i = 0; i < count; i++) end += 4 + buffer.readUInt32LE(end);
    return end;
  };
  const start = skip(0, from * perRow);
  return { datatype, shape: sliced, bytes: buffer.subarray(start, skip(start, (to - from) * perRow)) };
}
