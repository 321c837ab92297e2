import { invalid, type ShoalError } from '../errors.ts';
import { type RemoteInput, remoteTensor } from '../protocol/remote-inputs.ts';
import { SeenNames } from '../protocol/seen-names.ts';
import { fromBase64Texts } from '../tensor/base64-texts.ts';
import { JsonTensorDecoder } from '../tensor/json-decode.ts';
import { JsonArraySkip } from '../tensor/json-skip.ts';
import { quoteName, SLICE_BYTES } from '../tensor/json-text.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { JsonCursor } from './json-cursor.ts';
import { JsonValueSkip } from './json-skip-value.ts';
import {
  type RequestParameters,
  readInputParameter,
  readOutputParameter,
  readRequestParameter,
} from './v2-parameters.ts';
import { BinarySections } from './v2-sections.ts';
import { OutputDraft, TensorDraft } from './v2-tensor-draft.ts';

/** An output that the caller asked for. */
export interface RequestedOutput {
  readonly name: string;
  /** The output's own `binary_data`; undefined leaves the choice to {@link InferCall.binaryByDefault}. */
  readonly binary: boolean | undefined;
  /** The output's `classification`: how many classes are wanted instead of it; 0 for the output itself. */
  readonly classes: number;
}

/** What an infer request says, before anything is compared with the model. */
export interface InferCall {
  /** To be echoed; undefined when absent or empty. */
  readonly id: string | undefined;
  /** In the order of the request. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** Inputs that are to be fetched and are not among the others; undefined when there are none. */
  readonly remote: readonly RemoteInput[] | undefined;
  /** In the order of the request, without repetition; undefined stands for all. */
  readonly outputs: readonly RequestedOutput[] | undefined;
  /** The parameter `binary_data_output`. */
  readonly binaryByDefault: boolean;
  /** The parameter `timeout`; undefined when absent or 0. */
  readonly timeoutMs: number | undefined;
  /** The parameter `priority`, 0 and 1 upwards; undefined when absent. */
  readonly priority: number | undefined;
}

// Where the parser stands.
const START = 0;
const REQUEST = 1;
const INPUTS = 2;
const INPUT = 3;
const OUTPUTS = 4;
const OUTPUT = 5;
const REQUEST_PARAMETERS = 6;
const INPUT_PARAMETERS = 7;
const OUTPUT_PARAMETERS = 8;
const DATA = 9;
const LATE_DATA = 10;
const SKIPPED_DATA = 11;
const IGNORED = 12;
const SECTIONS = 13;
const DONE = 14;

// How many arrays and objects are open around a value that is ignored there.
const DEPTH: Readonly<Record<number, number>> = {
  [REQUEST]: 1,
  [INPUT]: 3,
  [OUTPUT]: 3,
  [REQUEST_PARAMETERS]: 2,
  [INPUT_PARAMETERS]: 4,
  [OUTPUT_PARAMETERS]: 4,
};

// Keys that may stand in an object once: one bit each.
const ID = 1;
const PARAMETERS = 2;
const INPUTS_KEY = 4;
const OUTPUTS_KEY = 8;
const NAME = 16;
const SHAPE = 32;
const DATATYPE = 64;
const DATA_KEY = 128;

/**
 * Reads the body of an infer request: a machine with a state per kind of place in the text, so that it can pause
 * anywhere. Inside data, {@link JsonTensorDecoder} and its like do the same.
 */
export class InferRequestParser {
  readonly #body: Buffer;
  readonly #json: JsonCursor;
  #state = START;
  /** Whether the next member or element is the first of its object or array. */
  #first = true;
  #seen = 0;
  #id: string | undefined;
  readonly #parameters: RequestParameters = {
    seen: 0,
    binaryByDefault: undefined,
    timeoutMs: undefined,
    priority: undefined,
  };
  readonly #drafts: TensorDraft[] = [];
  #draft: TensorDraft | undefined;
  readonly #outputs: RequestedOutput[] = [];
  #output: OutputDraft | undefined;
  #decoder: JsonTensorDecoder | undefined;
  #skippedData: JsonArraySkip | undefined;
  #ignored: JsonValueSkip | undefined;
  #afterIgnored = REQUEST;
  readonly #inputNames = new SeenNames();
  readonly #outputNames = new SeenNames();
  readonly #sections: BinarySections;
  readonly #opaque: ReadonlySet<string> | undefined;

  /**
   * @param textLength the bytes of the body that are JSON.
   * @param hasHeader whether a header said so, and binary sections may follow.
   * @param opaque names of inputs of BYTES whose elements are any bytes; in JSON they are base64.
   */
  constructor(body: Buffer, textLength: number, hasHeader: boolean, opaque?: ReadonlySet<string>) {
    this.#opaque = opaque;
    this.#body = body;
    this.#json = new JsonCursor({ bytes: body, end: textLength });
    this.#sections = new BinarySections(body, textLength, hasHeader, this.#drafts, opaque);
  }

  /**
   * Reads on for about {@link SLICE_BYTES}; true when the request is complete.
   *
   * @throws {ShoalError} INVALID_REQUEST for whatever is wrong with the request.
   */
  advance(): boolean {
    const stop = this.#json.pos + SLICE_BYTES;
    while (this.#state !== DONE) {
      if (this.#json.pos >= stop || !this.#step(stop)) return false;
    }
    return true;
  }

  /** The request, once {@link advance} has said true. */
  finish(): InferCall {
    const { binaryByDefault, timeoutMs, priority } = this.#parameters;
    const inputs = new Map<string, Tensor>();
    let remote: RemoteInput[] | undefined;
    for (const draft of this.#drafts) {
      if (draft.url === undefined) inputs.set(draft.name!, draft.tensor!);
      else {
        remote ??= [];
        remote.push(remoteInput(draft, draft.url));
      }
    }
    if (this.#opaque !== undefined) this.#decodeOpaque(inputs, this.#opaque);
    return {
      id: this.#id === '' ? undefined : this.#id,
      inputs,
      remote,
      outputs: this.#outputs.length === 0 ? undefined : this.#outputs,
      binaryByDefault: binaryByDefault ?? false,
      timeoutMs,
      priority,
    };
  }

  /** In JSON, bytes are base64. */
  #decodeOpaque(inputs: Map<string, Tensor>, opaque: ReadonlySet<string>): void {
    for (const { name, datatype, dataStart, tensor, what } of this.#drafts) {
      if (dataStart < 0 || datatype !== 'BYTES' || !opaque.has(name!)) continue;
      inputs.set(name!, fromBase64Texts(tensor!, what));
    }
  }

  /** One member, element, value or slice of data; false when there is more of the latter two. */
  #step(stop: number): boolean {
    switch (this.#state) {
      case START:
        this.#start();
        return true;
      case REQUEST:
        this.#readRequestMember();
        return true;
      case INPUTS:
        this.#readInputsElement();
        return true;
      case INPUT:
        this.#readInputMember(this.#draft!);
        return true;
      case OUTPUTS:
        this.#readOutputsElement();
        return true;
      case OUTPUT:
        this.#readOutputMember(this.#output!);
        return true;
      case REQUEST_PARAMETERS:
      case INPUT_PARAMETERS:
      case OUTPUT_PARAMETERS:
        this.#readParameter(this.#state);
        return true;
      case DATA:
      case LATE_DATA:
        return this.#decodeData(this.#draft!);
      case SKIPPED_DATA:
        return this.#skipData(this.#draft!, stop);
      case IGNORED:
        if (!this.#ignored!.skip(stop)) return false;
        this.#goOn(this.#afterIgnored);
        return true;
      default:
        if (!this.#sections.advance()) return false;
        this.#state = DONE;
        return true;
    }
  }

  /** Enters an object or array. */
  #enter(state: number): void {
    this.#state = state;
    this.#first = true;
  }

  /** Returns to an object or array after one of its members or elements. */
  #goOn(state: number): void {
    this.#state = state;
    this.#first = false;
  }

  #ignore(state: number): void {
    this.#ignored = new JsonValueSkip(this.#json, DEPTH[state]!);
    this.#afterIgnored = state;
    this.#state = IGNORED;
  }

  #start(): void {
    const json = this.#json;
    const { bytes, end } = json.text;
    if (end >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
      throw invalid('the JSON text begins with a byte order mark, expected a JSON object');
    }
    if (json.peek('a JSON object') !== 0x7b) throw invalid(`the request is ${json.excerpt()}, expected a JSON object`);
    json.pos++;
    this.#enter(REQUEST);
  }

  #readRequestMember(): void {
    const json = this.#json;
    if (!json.nextMember(this.#first)) {
      this.#endText();
      return;
    }
    this.#first = false;
    if (json.stringIs('inputs')) {
      this.#seen = once(this.#seen, INPUTS_KEY, 'inputs', REQUEST_NAME);
      if (json.peek('an array') !== 0x5b) throw wrong("'inputs'", json, 'an array');
      json.pos++;
      this.#enter(INPUTS);
    } else if (json.stringIs('outputs')) {
      this.#seen = once(this.#seen, OUTPUTS_KEY, 'outputs', REQUEST_NAME);
      if (this.#isNull()) return;
      if (json.peek('an array') !== 0x5b) throw wrong("'outputs'", json, 'an array');
      json.pos++;
      this.#enter(OUTPUTS);
    } else if (json.stringIs('parameters')) {
      this.#seen = once(this.#seen, PARAMETERS, 'parameters', REQUEST_NAME);
      this.#enterParameters(REQUEST_PARAMETERS, REQUEST_NAME);
    } else if (json.stringIs('id')) {
      this.#seen = once(this.#seen, ID, 'id', REQUEST_NAME);
      if (this.#isNull()) return;
      if (json.peek('a string') !== 0x22) throw wrong("'id'", json, 'a string');
      json.scanString();
      this.#id = json.string();
    } else this.#ignore(REQUEST);
  }

  #readInputsElement(): void {
    const json = this.#json;
    if (!json.nextElement(this.#first)) {
      this.#goOn(REQUEST);
      return;
    }
    const index = this.#drafts.length;
    if (json.peek('an object') !== 0x7b) throw wrong(`inputs[${index}]`, json, 'an object');
    json.pos++;
    this.#draft = new TensorDraft(index);
    this.#drafts.push(this.#draft);
    this.#enter(INPUT);
  }

  #readInputMember(draft: TensorDraft): void {
    const json = this.#json;
    if (!json.nextMember(this.#first)) {
      this.#endInput(draft);
      return;
    }
    this.#first = false;
    if (json.stringIs('name')) {
      draft.seen = once(draft.seen, NAME, 'name', draft);
      if (json.peek('a string') !== 0x22) throw wrong(`the name of ${draft.what}`, json, 'a string');
      json.scanString();
      draft.name = json.name();
      if (!this.#inputNames.add(draft.name)) throw invalid(`${draft.what} stands in the request twice`);
    } else if (json.stringIs('shape')) {
      draft.seen = once(draft.seen, SHAPE, 'shape', draft);
      draft.readShape(json);
    } else if (json.stringIs('datatype')) {
      draft.seen = once(draft.seen, DATATYPE, 'datatype', draft);
      draft.readDatatype(json);
    } else if (json.stringIs('data')) {
      draft.seen = once(draft.seen, DATA_KEY, 'data', draft);
      this.#startData(draft);
    } else if (json.stringIs('parameters')) {
      draft.seen = once(draft.seen, PARAMETERS, 'parameters', draft);
      this.#enterParameters(INPUT_PARAMETERS, draft);
    } else this.#ignore(INPUT);
  }

  #startData(draft: TensorDraft): void {
    const json = this.#json;
    if (this.#isNull()) return;
    if (json.peek('an array') !== 0x5b) throw wrong(`the data of ${draft.what}`, json, 'an array');
    draft.dataStart = json.pos;
    if (draft.datatype !== undefined && draft.hasShape) {
      draft.measure();
      this.#decoder = new JsonTensorDecoder(json.text, json.pos, draft.jsonDatatype(), draft);
      this.#state = DATA;
    } else {
      this.#skippedData = new JsonArraySkip(json.text, json.pos, draft.what);
      this.#state = SKIPPED_DATA;
    }
  }

  #decodeData(draft: TensorDraft): boolean {
    const decoder = this.#decoder!;
    if (!decoder.advance()) return false;
    draft.tensor = decoder.finish();
    this.#decoder = undefined;
    if (this.#state === LATE_DATA) this.#goOn(INPUTS);
    else {
      this.#passData(draft, decoder.end);
      this.#goOn(INPUT);
    }
    return true;
  }

  #skipData(draft: TensorDraft, stop: number): boolean {
    const skip = this.#skippedData!;
    if (!skip.skip(Math.max(stop, skip.pos + SLICE_BYTES))) return false;
    this.#passData(draft, skip.pos);
    this.#skippedData = undefined;
    this.#goOn(INPUT);
    return true;
  }

  #passData(draft: TensorDraft, end: number): void {
    this.#json.exempt(end - draft.dataStart);
    this.#json.pos = end;
    draft.dataEnd = end;
  }

  #endInput(draft: TensorDraft): void {
    draft.complete();
    if (draft.tensor === undefined && draft.dataStart >= 0) {
      const text = { bytes: this.#body, end: draft.dataEnd };
      draft.measure();
      this.#decoder = new JsonTensorDecoder(text, draft.dataStart, draft.jsonDatatype(), draft);
      this.#state = LATE_DATA;
    } else this.#goOn(INPUTS);
  }

  #readOutputsElement(): void {
    const json = this.#json;
    if (!json.nextElement(this.#first)) {
      this.#goOn(REQUEST);
      return;
    }
    if (json.peek('an object') !== 0x7b) throw wrong(`outputs[${this.#outputs.length}]`, json, 'an object');
    json.pos++;
    this.#output = new OutputDraft(this.#outputs.length);
    this.#enter(OUTPUT);
  }

  #readOutputMember(draft: OutputDraft): void {
    const json = this.#json;
    if (!json.nextMember(this.#first)) {
      if (draft.name === undefined) throw invalid(`${draft.what} has no name`);
      this.#outputs.push({ name: draft.name, binary: draft.binary, classes: draft.classes });
      this.#goOn(OUTPUTS);
      return;
    }
    this.#first = false;
    if (json.stringIs('name')) {
      draft.seen = once(draft.seen, NAME, 'name', draft);
      if (json.peek('a string') !== 0x22) throw wrong(`the name of ${draft.what}`, json, 'a string');
      json.scanString();
      const name = json.name();
      if (!this.#outputNames.add(name)) throw invalid(`output ${quoteName(name)} is asked for twice`);
      draft.name = name;
    } else if (json.stringIs('parameters')) {
      draft.seen = once(draft.seen, PARAMETERS, 'parameters', draft);
      this.#enterParameters(OUTPUT_PARAMETERS, draft);
    } else this.#ignore(OUTPUT);
  }

  #enterParameters(state: number, where: Named): void {
    if (this.#isNull()) return;
    if (this.#json.peek('an object') !== 0x7b) throw wrong(`'parameters' of ${where.what}`, this.#json, 'an object');
    this.#json.pos++;
    this.#enter(state);
  }

  #readParameter(state: number): void {
    const json = this.#json;
    if (!json.nextMember(this.#first)) {
      this.#goOn(state === REQUEST_PARAMETERS ? REQUEST : state === INPUT_PARAMETERS ? INPUT : OUTPUT);
      return;
    }
    this.#first = false;
    const understood =
      state === REQUEST_PARAMETERS
        ? readRequestParameter(json, this.#parameters)
        : state === INPUT_PARAMETERS
          ? readInputParameter(json, this.#draft!)
          : readOutputParameter(json, this.#output!);
    if (!understood) this.#ignore(state);
  }

  /** Reads `null`, which stands for an absent value. */
  #isNull(): boolean {
    if (this.#json.peek('a value') !== 0x6e) return false;
    this.#json.word('null');
    return true;
  }

  /** Behind the request's closing brace: nothing but white space may follow in the text, and binary sections behind it. */
  #endText(): void {
    this.#json.endOfText();
    if ((this.#seen & INPUTS_KEY) === 0) throw invalid("the request has no 'inputs'");
    this.#state = SECTIONS;
  }
}

function remoteInput(draft: TensorDraft, url: string): RemoteInput {
  const { what, shape, datatype } = draft;
  draft.measure();
  return remoteTensor(draft.name!, url, { what, shape, datatype: datatype! });
}

/** What messages call something; not made before one is needed. */
interface Named {
  readonly what: string;
}

const REQUEST_NAME: Named = { what: 'the request' };

function once(seen: number, bit: number, key: string, where: Named): number {
  if ((seen & bit) !== 0) throw invalid(`${where.what} has '${key}' twice`);
  return seen | bit;
}

function wrong(what: string, json: JsonCursor, expected: string): ShoalError {
  return invalid(`${what} is ${json.excerpt()}, expected ${expected}`);
}
