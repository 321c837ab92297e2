import { invalid, type ShoalError } from '../errors.ts';
import { type RemoteInput, remoteTensor } from '../protocol/remote-inputs.ts';
import { SeenNames } from '../protocol/seen-names.ts';
import type { DataTarget } from '../tensor/json-array.ts';
import { quoteName, SLICE_BYTES } from '../tensor/json-text.ts';
import { RawTensorReader } from '../tensor/raw-tensor.ts';
import { countElements, MAX_RANK } from '../tensor/shape.ts';
import { DATATYPE_NAMES, type Datatype, isDatatype, type Tensor } from '../tensor/tensor.ts';
import {
  applyInputParameter,
  applyOutputParameter,
  applyRequestParameter,
  type InputParameters,
  type OutputParameters,
  type ParameterValue,
  type RequestParameters,
} from './parameters.ts';
import { TypedContentsReader } from './typed-contents.ts';
import { DELIMITED, malformed, WireReader } from './wire-reader.ts';

/** An output that the caller asked for. */
export interface RequestedOutput {
  readonly name: string;
  /** The output's own `binary_data`. */
  readonly binary: boolean | undefined;
  /** The output's `classification`: how many classes are wanted instead of it; 0 for the output itself. */
  readonly classes: number;
}

/** What a `ModelInferRequest` says, before anything is compared with the model. */
export interface InferCall {
  /** In the order of the request. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** Inputs that are to be fetched and are not among the others; undefined when there are none. */
  readonly remote: readonly RemoteInput[] | undefined;
  /** In the order of the request, without repetition; undefined stands for all. */
  readonly outputs: readonly RequestedOutput[] | undefined;
  /** Whether it had `raw_input_contents`. */
  readonly isRaw: boolean;
  /** The parameter `timeout`; undefined when absent or 0. */
  readonly timeoutMs: number | undefined;
  /** The parameter `priority`, 0 and 1 upwards; undefined when absent. */
  readonly priority: number | undefined;
}

// More than any model has; together they bound what the drafts of a message may take.
const MAX_TENSORS = 16_384;

// What the reader is in.
const REQUEST = 0;
const INPUT = 1;
const OUTPUT = 2;
const PARAMETER = 3;
const VALUE = 4;
const CONTENTS = 5;
const TENSORS = 6;
const DONE = 7;

const NOTHING: ParameterValue = { kind: 'nothing', value: undefined };

/** A field counts as this many bytes more, so that many small ones are work, too. */
const FIELD_COST = 16;

/**
 * Reads a `ModelInferRequest` in slices. Raw tensors are views of the message, which therefore must not change; typed
 * ones are decoded straight into memory of their own.
 */
export class InferRequestReader {
  readonly #wire: WireReader;
  /** Empty until it has been read. */
  modelName = '';
  /** Empty when none was named. */
  modelVersion = '';
  /** The bytes of the caller's id, to be echoed; empty when there was none. */
  id: Buffer | undefined;
  readonly #parameters: RequestParameters = { timeoutMs: undefined, priority: undefined };
  readonly #drafts: InputDraft[] = [];
  readonly #raw: Buffer[] = [];
  readonly #outputs: OutputDraft[] = [];
  readonly #inputNames = new SeenNames();
  readonly #outputNames = new SeenNames();
  #level = REQUEST;
  /** Ends and levels of the messages around the current one. */
  readonly #outer: number[] = [];
  #key = '';
  #value: ParameterValue = NOTHING;
  #contents: TypedContentsReader | undefined;
  #tensor: RawTensorReader | undefined;
  #tensorIndex = 0;
  /** Of the raw contents, which are for the inputs that are not fetched. */
  #rawIndex = 0;
  readonly #opaqueOf: ((modelName: string) => ReadonlySet<string> | undefined) | undefined;

  /** @param opaqueOf names of a model's inputs of BYTES whose elements need not be texts. */
  constructor(message: Buffer, opaqueOf?: (modelName: string) => ReadonlySet<string> | undefined) {
    this.#opaqueOf = opaqueOf;
    this.#wire = new WireReader(message);
  }

  /**
   * Reads on for about {@link SLICE_BYTES}; true when the request is complete.
   *
   * @throws {ShoalError} INVALID_REQUEST for whatever is wrong with the request.
   */
  advance(): boolean {
    const wire = this.#wire;
    let left = SLICE_BYTES;
    while (left > 0) {
      if (this.#level === DONE) return true;
      if (this.#level === TENSORS) left -= this.#readTensors();
      else if (this.#level === CONTENTS) {
        const { pos } = wire;
        const isComplete = this.#contents!.advance();
        left -= FIELD_COST + wire.pos - pos;
        if (isComplete) this.#endContents();
      } else if (wire.pos < wire.end) {
        wire.readTag();
        this.#readField();
        left -= FIELD_COST;
      } else this.#end();
    }
    return false;
  }

  /** The request, once {@link advance} has said true. */
  finish(): InferCall {
    const inputs = new Map<string, Tensor>();
    let remote: RemoteInput[] | undefined;
    for (const { name, what, datatype, shape, url, tensor } of this.#drafts) {
      if (url === undefined) inputs.set(name, tensor!);
      else {
        remote ??= [];
        remote.push(remoteTensor(name, url, { what, datatype: datatype!, shape }));
      }
    }
    const { timeoutMs, priority } = this.#parameters;
    return {
      inputs,
      remote,
      outputs: this.#outputs.length === 0 ? undefined : this.#outputs,
      isRaw: this.#raw.length > 0,
      timeoutMs,
      priority,
    };
  }

  #readField(): void {
    switch (this.#level) {
      case REQUEST:
        this.#readRequestField();
        break;
      case INPUT:
        this.#readInputField(this.#drafts.at(-1)!);
        break;
      case OUTPUT:
        this.#readOutputField(this.#outputs.at(-1)!);
        break;
      case PARAMETER:
        this.#readParameterField();
        break;
      default:
        this.#readValueField();
    }
  }

  #readRequestField(): void {
    const wire = this.#wire;
    switch (wire.field) {
      case 1:
        this.modelName = wire.readString();
        break;
      case 2:
        this.modelVersion = wire.readString();
        break;
      case 3:
        this.id = wire.readText();
        break;
      case 4:
        this.#enterParameter();
        break;
      case 5:
        this.#drafts.push(new InputDraft(limited(this.#drafts, 'inputs')));
        this.#enter(INPUT);
        break;
      case 6:
        this.#outputs.push(new OutputDraft(limited(this.#outputs, 'outputs')));
        this.#enter(OUTPUT);
        break;
      case 7:
        limited(this.#raw, 'raw_input_contents');
        this.#raw.push(wire.readBytes());
        break;
      default:
        wire.skip();
    }
  }

  #readInputField(draft: InputDraft): void {
    const wire = this.#wire;
    switch (wire.field) {
      case 1:
        draft.name = wire.readString();
        break;
      case 2:
        draft.readDatatype(wire.readString());
        break;
      case 3:
        draft.readShape(wire);
        break;
      case 4:
        this.#enterParameter();
        break;
      case 5: {
        if (draft.contentsEnd > 0) throw malformed(`${draft.what} has contents twice`);
        // Read at the end of the input, when datatype and shape are known.
        draft.contentsEnd = wire.readDelimited();
        draft.contentsStart = wire.pos;
        wire.pos = draft.contentsEnd;
        break;
      }
      default:
        wire.skip();
    }
  }

  #readOutputField(draft: OutputDraft): void {
    const wire = this.#wire;
    if (wire.field === 1) draft.name = wire.readString();
    else if (wire.field === 2) this.#enterParameter();
    else wire.skip();
  }

  #enterParameter(): void {
    this.#key = '';
    this.#value = NOTHING;
    this.#enter(PARAMETER);
  }

  #readParameterField(): void {
    const wire = this.#wire;
    if (wire.field === 1) this.#key = wire.readString();
    else if (wire.field === 2) this.#enter(VALUE);
    else wire.skip();
  }

  #readValueField(): void {
    const wire = this.#wire;
    switch (wire.field) {
      case 1:
        wire.readVarintField();
        this.#value = { kind: 'bool', value: (wire.low | wire.high) !== 0 };
        break;
      case 2:
        wire.readVarintField();
        this.#value = { kind: 'integer', value: wire.high * 0x1_0000_0000 + (wire.low >>> 0) };
        break;
      case 3:
        this.#value = { kind: 'string', value: wire.readString() };
        break;
      case 4:
        this.#value = { kind: 'double', value: wire.readDouble() };
        break;
      case 5:
        wire.readVarintField();
        this.#value = { kind: 'integer', value: wire.unsigned() };
        break;
      default:
        wire.skip();
    }
  }

  #enter(level: number): void {
    const wire = this.#wire;
    const end = wire.readDelimited();
    this.#outer.push(wire.end, this.#level);
    wire.end = end;
    this.#level = level;
  }

  #leave(): void {
    this.#level = this.#outer.pop()!;
    this.#wire.end = this.#outer.pop()!;
  }

  /** At the end of a message. */
  #end(): void {
    switch (this.#level) {
      case REQUEST:
        this.#endRequest();
        return;
      case INPUT: {
        const draft = this.#drafts.at(-1)!;
        draft.end = this.#wire.pos;
        draft.complete();
        if (!this.#inputNames.add(draft.name)) throw invalid(`${draft.what} stands in the request twice`);
        if (draft.contentsEnd > draft.contentsStart) this.#startContents(draft);
        else this.#leave();
        return;
      }
      case OUTPUT: {
        const draft = this.#outputs.at(-1)!;
        if (draft.name === '') throw invalid(`${draft.what} has no name`);
        if (!this.#outputNames.add(draft.name)) throw invalid(`output ${quoteName(draft.name)} is asked for twice`);
        break;
      }
      case PARAMETER:
        this.#endParameter(this.#outer.at(-1)!);
        break;
    }
    this.#leave();
  }

  #endParameter(level: number): void {
    if (level === REQUEST) applyRequestParameter(this.#key, this.#value, this.#parameters);
    else if (level === INPUT) applyInputParameter(this.#key, this.#value, this.#drafts.at(-1)!);
    else applyOutputParameter(this.#key, this.#value, this.#outputs.at(-1)!);
  }

  #startContents(draft: InputDraft): void {
    const wire = this.#wire;
    wire.pos = draft.contentsStart;
    wire.end = draft.contentsEnd;
    this.#contents = new TypedContentsReader(wire, draft.datatype!, draft);
    this.#level = CONTENTS;
  }

  #endContents(): void {
    const draft = this.#drafts.at(-1)!;
    draft.tensor = this.#contents!.finish();
    this.#contents = undefined;
    this.#wire.pos = draft.end;
    this.#leave();
  }

  #endRequest(): void {
    const raw = this.#raw.length;
    if (raw > 0) {
      const typed = this.#drafts.find((draft) => draft.tensor !== undefined);
      if (typed !== undefined) throw invalid(`the request has raw_input_contents, and ${typed.what} has contents, too`);
      let inputs = 0;
      for (const { url } of this.#drafts) if (url === undefined) inputs++;
      if (raw !== inputs) {
        throw invalid(`the request has ${raw} raw_input_contents for ${inputs} inputs, expected one for each`);
      }
    }
    this.#level = TENSORS;
  }

  /**
   * Looks at a slice of what has not been looked at: raw tensors, and texts that came typed.
   *
   * @returns what that cost, in bytes.
   */
  #readTensors(): number {
    if (this.#tensorIndex === this.#drafts.length) {
      this.#level = DONE;
      return 0;
    }
    const draft = this.#drafts[this.#tensorIndex]!;
    let cost = FIELD_COST;
    if (draft.url !== undefined) {
      if (draft.tensor !== undefined) throw invalid(`${draft.what} has both contents and a url`);
    } else if (draft.tensor === undefined || draft.datatype === 'BYTES') {
      this.#tensor ??= this.#openTensor(draft);
      if (!this.#tensor.advance()) return SLICE_BYTES;
      draft.tensor = this.#tensor.finish();
      this.#tensor = undefined;
      if (draft.datatype === 'BYTES' || draft.datatype === 'BOOL')
        cost += Math.min(SLICE_BYTES, draft.tensor.bytes.length);
    }
    this.#tensorIndex++;
    return cost;
  }

  #openTensor(draft: InputDraft): RawTensorReader {
    const raw = this.#raw[this.#rawIndex++];
    if (raw === undefined && draft.tensor === undefined && draft.count > 0) {
      throw invalid(`${draft.what} has no contents, and the request has no raw_input_contents`);
    }
    const bytes = raw ?? draft.tensor?.bytes ?? NO_BYTES;
    const label = raw === undefined ? 'the contents' : 'the raw contents';
    const isText = this.#opaqueOf?.(this.modelName)?.has(draft.name) !== true;
    return new RawTensorReader(bytes, draft.datatype!, draft, label, isText);
  }
}

const NO_BYTES = Buffer.alloc(0);

/** Drives an {@link InferRequestReader} with `runSliced`. @throws {ShoalError} INVALID_REQUEST. */
export function* readInferRequest(reader: InferRequestReader): Generator<void, InferCall, void> {
  while (!reader.advance()) yield;
  return reader.finish();
}

/** An input of a request while it is read: its fields come in any order. */
class InputDraft implements DataTarget, InputParameters {
  readonly #index: number;
  name = '';
  datatype: Datatype | undefined;
  readonly shape: number[] = [];
  count = 0;
  contentsStart = 0;
  /** 0 when there are no contents. */
  contentsEnd = 0;
  /** Where the input ends. */
  end = 0;
  tensor: Tensor | undefined;
  url: string | undefined;

  constructor(index: number) {
    this.#index = index;
  }

  /** What messages call the input. */
  get what(): string {
    return this.name === '' ? `inputs[${this.#index}]` : `input ${quoteName(this.name)}`;
  }

  /** @throws {ShoalError} INVALID_REQUEST for a datatype that cannot be carried. */
  readDatatype(name: string): void {
    if (name === '') return;
    if (!isDatatype(name)) {
      if (name === 'BF16') throw invalid(`${this.what} is BF16, which ONNX Runtime for Node cannot carry`);
      throw this.#wrong('datatype', quoteName(name), `one of ${DATATYPE_NAMES.join(', ')}`);
    }
    this.datatype = name;
  }

  /** Reads dimensions, packed or one. @throws {ShoalError} INVALID_REQUEST for what is no dimension, and for too many. */
  readShape(wire: WireReader): void {
    if (wire.type !== DELIMITED) {
      wire.readVarintField();
      this.#addDimension(wire);
      return;
    }
    const outer = wire.end;
    const end = wire.readDelimited();
    wire.end = end;
    while (wire.pos < end) {
      wire.readVarint();
      this.#addDimension(wire);
    }
    wire.end = outer;
  }

  /** Checks that nothing is missing. @throws {ShoalError} INVALID_REQUEST that names what is. */
  complete(): void {
    if (this.name === '') throw invalid(`${this.what} has no name`);
    if (this.datatype === undefined) throw invalid(`${this.what} has no datatype`);
    this.count = countElements(this);
  }

  #addDimension(wire: WireReader): void {
    const dim = wire.unsigned();
    if (dim > Number.MAX_SAFE_INTEGER) {
      const exact = (BigInt(wire.high) << 32n) | BigInt(wire.low >>> 0);
      throw this.#wrong('shape', `an array with ${exact}`, 'integers from 0, below 2^53');
    }
    if (this.shape.push(dim) > MAX_RANK)
      throw invalid(`the shape of ${this.what} has more than ${MAX_RANK} dimensions`);
  }

  #wrong(key: string, got: string, expected: string): ShoalError {
    return invalid(`the ${key} of ${this.what} is ${got}, expected ${expected}`);
  }
}

/** A requested output while it is read. */
class OutputDraft implements OutputParameters, RequestedOutput {
  readonly #index: number;
  name = '';
  binary: boolean | undefined;
  classes = 0;

  constructor(index: number) {
    this.#index = index;
  }

  /** What messages call the output. */
  get what(): string {
    return this.name === '' ? `outputs[${this.#index}]` : `output ${quoteName(this.name)}`;
  }
}

/** The number of entries, where one more is allowed. @throws {ShoalError} INVALID_REQUEST. */
function limited({ length }: readonly unknown[], what: string): number {
  if (length >= MAX_TENSORS) throw invalid(`the request has more than ${MAX_TENSORS} ${what}`);
  return length;
}
