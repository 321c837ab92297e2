import { reshape, type Signature } from '../tensor/signature.ts';
import { elementCount, skipBytesElements, type Tensor } from '../tensor/tensor.ts';
import type { BatchInfo, PendingRequest, ReleaseReason } from './request.ts';

/** An input of a batch: the shape for all members, and their bytes in pieces that lie in the callers' memory. */
export interface BatchInput {
  readonly datatype: Tensor['datatype'];
  readonly shape: readonly number[];
  readonly segments: readonly Uint8Array[];
}

/** Pieces up to this size are copied together: an entry of a `writev` costs more than so short a copy. */
const COPY_BELOW_BYTES = 4096;

/** An output has not the rows the batch had: the model cannot be batched after all. */
export class RowsMismatch extends Error {
  override name = 'RowsMismatch';
}

/** Rows changed one another's answers: its members must be run again, each alone. */
export class RowsInfluenced extends Error {
  override name = 'RowsInfluenced';
}

/** Members that run together. */
export class Batch {
  readonly members: readonly PendingRequest[];
  readonly laneKey: string;
  readonly reason: ReleaseReason;
  readonly rows: number;
  readonly bytes: number;
  readonly #signature: Signature;

  constructor(signature: Signature, members: readonly PendingRequest[], laneKey: string, reason: ReleaseReason) {
    this.#signature = signature;
    this.members = members;
    this.laneKey = laneKey;
    this.reason = reason;
    let rows = 0;
    let bytes = 0;
    for (const { inputs } of members) {
      rows += inputs.rows;
      bytes += inputs.bytes;
    }
    this.rows = rows;
    this.bytes = bytes;
  }

  /** Whether its members' rows are stacked. */
  get batched(): boolean {
    return this.#signature.batched;
  }

  get info(): BatchInfo {
    return { rows: this.rows, requests: this.members.length, reason: this.reason };
  }

  /** The members' inputs in the signature's order. */
  inputs(): BatchInput[] {
    return this.#signature.inputs.map((spec, i) => {
      const first = this.members[0]!.inputs.tensors[i]!;
      if (this.members.length === 1 || spec.batchAxis === null) {
        return { datatype: first.datatype, shape: first.shape, segments: [first.bytes] };
      }
      const axis = spec.batchAxis;
      const tensors = this.members.map((member) => member.inputs.tensors[i]!);
      const outer = elementCount(first.shape.slice(0, axis));
      const pieces = outer === 1 ? tensors.map((tensor) => tensor.bytes) : interleave(tensors, outer, axis);
      return { datatype: first.datatype, shape: first.shape.with(axis, this.rows), segments: joinSmall(pieces) };
    });
  }

  /** Indices of the outputs that any member wants; empty stands for all. */
  outputs(): readonly number[] {
    const wanted = new Set<number>();
    for (const { outputs } of this.members) {
      if (outputs === undefined) return [];
      for (const index of outputs) wanted.add(index);
    }
    return [...wanted].sort((a, b) => a - b);
  }

  /**
   * Gives each member its rows of the results.
   *
   * @param results by index of the output.
   * @returns for each member its outputs in the order it asked for; views of the results wherever rows lie together.
   * @throws {RowsMismatch} when the results do not have this batch's rows; nobody's answer can be trusted then.
   */
  split(results: ReadonlyMap<number, Tensor>): Tensor[][] {
    const all = [...this.#signature.outputs.keys()];
    if (this.members.length === 1) {
      const only = this.members[0]!;
      // A lone request of several rows has to get as many back, too.
      for (const [index, result] of results) this.#checkRows(index, result);
      return [(only.outputs ?? all).map((index) => this.#forCaller(index, required(results, index)))];
    }
    const parts = new Map<number, Tensor[]>();
    for (const [index, result] of results) {
      this.#checkRows(index, result);
      parts.set(index, splitRows(result, this.#signature.outputs[index]!.batchAxis!, this.members));
    }
    return this.members.map((member, m) =>
      (member.outputs ?? all).map((index) => this.#forCaller(index, required(parts, index)[m]!)),
    );
  }

  #forCaller(index: number, tensor: Tensor): Tensor {
    const { shape, modelShape } = this.#signature.outputs[index]!;
    return modelShape === undefined ? tensor : reshape(tensor, modelShape, shape);
  }

  #checkRows(index: number, result: Tensor): void {
    const spec = this.#signature.outputs[index];
    if (spec === undefined) throw new RowsMismatch(`the executor gave an output ${index} that the model does not have`);
    if (spec.batchAxis !== null && result.shape[spec.batchAxis] !== this.rows) {
      throw new RowsMismatch(
        `output '${spec.name}' came with shape [${result.shape.join(',')}] for ${this.rows} rows; the model cannot be batched`,
      );
    }
  }
}

function required<T>(map: ReadonlyMap<number, T>, index: number): T {
  const value = map.get(index);
  if (value === undefined) throw new RowsMismatch(`the executor did not give output ${index}`);
  return value;
}

/** Pieces of several tensors whose batch axis is not the first: for each index before it, everyone's rows in turn. */
function interleave(tensors: readonly Tensor[], outer: number, axis: number): Uint8Array[] {
  const cuts = tensors.map((tensor) => outerOffsets(tensor, outer, axis));
  const pieces: Uint8Array[] = [];
  for (let o = 0; o < outer; o++) {
    for (let t = 0; t < tensors.length; t++) pieces.push(tensors[t]!.bytes.subarray(cuts[t]![o]!, cuts[t]![o + 1]!));
  }
  return pieces;
}

/** Where each index before the axis begins in a tensor's bytes, and the end. */
function outerOffsets(tensor: Tensor, outer: number, axis: number): number[] {
  const { bytes, datatype, shape } = tensor;
  if (datatype !== 'BYTES') return Array.from({ length: outer + 1 }, (_, o) => (o * bytes.byteLength) / outer);
  const perOuter = elementCount(shape.slice(axis));
  const offsets = [0];
  for (let o = 0; o < outer; o++) offsets.push(skipBytesElements(bytes, offsets[o]!, perOuter, 'an input'));
  return offsets;
}

function joinSmall(pieces: readonly Uint8Array[]): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let i = 0; i < pieces.length; ) {
    let end = i;
    let bytes = 0;
    while (end < pieces.length && pieces[end]!.byteLength <= COPY_BELOW_BYTES) bytes += pieces[end++]!.byteLength;
    if (end - i < 2) {
      out.push(pieces[i++]!);
      continue;
    }
    const joined = Buffer.allocUnsafe(bytes);
    for (let at = 0; i < end; i++) {
      joined.set(pieces[i]!, at);
      at += pieces[i]!.byteLength;
    }
    out.push(joined);
  }
  return out;
}

/** One tensor per member with its rows along `axis`. */
function splitRows(result: Tensor, axis: number, members: readonly PendingRequest[]): Tensor[] {
  const { datatype, shape, bytes } = result;
  const outer = elementCount(shape.slice(0, axis));
  const perRow = elementCount(shape.slice(axis + 1));
  const rowBytes = bytes.byteLength / outer / shape[axis]!;
  const parts: Tensor[] = [];
  let at = 0;
  const next = (rows: number): Uint8Array => {
    const start = at;
    at = datatype === 'BYTES' ? skipBytesElements(bytes, start, rows * perRow, 'an output') : start + rows * rowBytes;
    return bytes.subarray(start, at);
  };
  if (outer === 1) {
    for (const { inputs } of members) {
      parts.push({ datatype, shape: shape.with(axis, inputs.rows), bytes: next(inputs.rows) });
    }
    return parts;
  }
  // Each index before the axis has everyone's rows; a member's are gathered from all of them.
  const pieces: Uint8Array[][] = members.map(() => []);
  for (let o = 0; o < outer; o++) {
    for (const [m, { inputs }] of members.entries()) pieces[m]!.push(next(inputs.rows));
  }
  for (const [m, { inputs }] of members.entries()) {
    parts.push({ datatype, shape: shape.with(axis, inputs.rows), bytes: Buffer.concat(pieces[m]!) });
  }
  return parts;
}
