import { invalid } from '../errors.ts';
import type { LoadedRow } from '../loading/rows.ts';
import type { Datatype, Tensor } from '../tensor/tensor.ts';
import { readTensor } from '../tensor/typed.ts';

/** What is known of a model's input. */
export interface BatchInput {
  readonly name: string;
  readonly datatype: Datatype;
}

/**
 * A row as an instance of a predict request, in JSON: what the row form of KServe V1 and TensorFlow Serving takes.
 *
 * Lines of JSON go as they are. Of a comma-separated row the columns named like inputs are taken; a row of an array and
 * the bytes of a file are for models of one input.
 *
 * @throws {ShoalError} INVALID_REQUEST for a row that has not what the model needs.
 */
export function instanceOf(row: LoadedRow, inputs: readonly BatchInput[]): string {
  const { value, text } = row;
  if (text !== undefined) return text;
  if (Buffer.isBuffer(value)) return JSON.stringify({ b64: value.toString('base64') });
  if (isTensor(value)) return nested(value);
  const columns = value as Readonly<Record<string, string>>;
  const members = inputs.map(({ name, datatype }) => {
    const cell = columns[name];
    if (cell === undefined) throw invalid(`there is no column '${name}'`);
    return `${JSON.stringify(name)}:${cellOf(cell, name, datatype)}`;
  });
  return `{${members.join(',')}}`;
}

function isTensor(value: unknown): value is Tensor {
  return typeof value === 'object' && value !== null && 'datatype' in value && 'bytes' in value;
}

function cellOf(cell: string, name: string, datatype: Datatype): string {
  if (datatype === 'BYTES') return JSON.stringify(cell);
  const text = cell.trim();
  if (datatype === 'BOOL') {
    if (/^(true|1)$/i.test(text)) return 'true';
    if (/^(false|0)$/i.test(text)) return 'false';
  } else if (/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text)) {
    // JSON knows no plus sign, no leading zeros and no bare points; whole numbers keep all of their digits.
    return /^-?(0|[1-9]\d*)$/.test(text) ? text : String(Number(text));
  } else if (datatype.startsWith('FP') && /^(nan|)$/i.test(text)) return 'null';
  throw invalid(`column '${name}' has ${JSON.stringify(cell.slice(0, 100))}, expected a value of type ${datatype}`);
}

/** The elements of a tensor `[1, …]`, nested by its further dimensions. */
function nested(tensor: Tensor): string {
  const data = readTensor(tensor);
  const items = Array.from(data as ArrayLike<number | bigint | string>, (item) =>
    typeof item === 'string'
      ? JSON.stringify(item)
      : typeof item === 'number' && !Number.isFinite(item)
        ? 'null'
        : tensor.datatype === 'BOOL'
          ? String(item !== 0)
          : String(item),
  );
  const fold = (dims: readonly number[], from: number): string => {
    const [size, ...rest] = dims;
    if (size === undefined) return items[from]!;
    const stride = rest.reduce((product, dim) => product * dim, 1);
    return `[${Array.from({ length: size }, (_, i) => fold(rest, from + i * stride)).join(',')}]`;
  };
  return fold(tensor.shape.slice(1), 0);
}
