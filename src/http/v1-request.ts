import { invalid } from '../errors.ts';
import { type RemoteInput, remoteElements, remoteRows, remoteTensor } from '../protocol/remote-inputs.ts';
import { isBase64Object } from '../tensor/json-base64.ts';
import { JsonPiecesDecoder } from '../tensor/json-pieces.ts';
import { JsonShapeReader } from '../tensor/json-shape.ts';
import type { RemoteElement } from '../tensor/json-strings.ts';
import { quoteName, SLICE_BYTES } from '../tensor/json-text.ts';
import { isUrlObject, readUrlObject } from '../tensor/json-url.ts';
import type { Signature, TensorSpec } from '../tensor/signature.ts';
import { elementCount, type Tensor } from '../tensor/tensor.ts';
import { JsonCursor } from './json-cursor.ts';
import { JsonValueSkip } from './json-skip-value.ts';

/** What a predict request says. */
export interface PredictCall {
  /** By name, in the order of the signature. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** Inputs that are to be fetched, as a whole or in part; undefined when there are none. */
  readonly remote: readonly RemoteInput[] | undefined;
  /** How many instances the row form has, each of which is answered for itself; undefined in the column form. */
  readonly rows: number | undefined;
}

/** The one signature that a model has here, as TensorFlow Serving calls the one that answers without a name. */
export const SIGNATURE_NAME = 'serving_default';

/**
 * Reads the body of a predict request (KServe V1, TensorFlow Serving, `api_rest.md`): `instances`
 * or `inputs`, whose datatypes are those of the signature and whose shapes come from the nesting. The text is read
 * twice, for the shapes and then for the values, and nothing is made of it but the tensors.
 *
 * A generator that pauses about once per {@link SLICE_BYTES} of work; drive it with `runSliced`.
 *
 * @throws {ShoalError} INVALID_REQUEST that names the field, what came and what was expected.
 */
export function* decodePredictRequest(body: Buffer, signature: Signature): Generator<void, PredictCall, void> {
  return yield* new PredictReader(body, signature).read();
}

/** An input while it is read: the places in the text where its values stand. */
class InputDraft {
  readonly spec: TensorSpec;
  readonly #shape: JsonShapeReader;
  /** Start and end of each value. */
  readonly pieces: number[] = [];
  /** In place of values: where they are to be fetched. */
  readonly #urls: string[] = [];
  /** Elements among the values that are to be fetched. */
  #remote: readonly RemoteElement[] = [];

  constructor(json: JsonCursor, spec: TensorSpec) {
    this.spec = spec;
    this.#shape = new JsonShapeReader(json.text, this, spec.datatype === 'BYTES');
  }

  /** What messages call the input. */
  get what(): string {
    return `the data of input ${quoteName(this.spec.name)}`;
  }

  /** How many values it has. */
  get values(): number {
    return this.pieces.length / 2 + this.#urls.length;
  }

  /** Reads over the value at the cursor and notes where it stands. */
  *readValue(json: JsonCursor): Generator<void, void, void> {
    const before = json.pos;
    json.peek('a value');
    const start = json.pos;
    let end: number;
    if (this.spec.datatype !== 'BYTES' && isUrlObject(json.text, start)) end = this.#readUrl(json);
    else {
      this.#shape.start(start);
      while (!this.#shape.advance()) yield;
      end = this.#shape.pos;
      this.pieces.push(start, end);
    }
    if (this.#urls.length > 0 && this.pieces.length > 0) {
      throw invalid(`${this.what} is in part given by addresses, expected all of it or nothing`);
    }
    json.pos = end;
    json.exempt(end - before);
  }

  #readUrl(json: JsonCursor): number {
    const { url, end } = readUrlObject(json.text, json.pos, this.what);
    this.#urls.push(url);
    return end;
  }

  /** What is to be fetched for the input; undefined when nothing is. @param tensor what {@link decode} has made. */
  remote(tensor: Tensor | undefined, isStack: boolean): RemoteInput | undefined {
    const { name, datatype, shape } = this.spec;
    if (tensor !== undefined) return this.#remote.length > 0 ? remoteElements(name, tensor, this.#remote) : undefined;
    const what = `input ${quoteName(name)}`;
    if (isStack) return remoteRows(name, this.#urls, { what, datatype, shape: shape.slice(1) });
    return remoteTensor(name, this.#urls[0]!, { what, datatype, shape });
  }

  /** Makes the tensor, unless it is to be fetched; its shape is that of a value, behind `rows` where several are stacked. */
  *decode(json: JsonCursor, isStack: boolean): Generator<void, Tensor | undefined, void> {
    if (this.#urls.length > 0) return undefined;
    const shape = isStack ? [this.values, ...this.#shape.shape] : this.#shape.shape;
    const target = { what: `input ${quoteName(this.spec.name)}`, shape, count: elementCount(shape) };
    const decoder = new JsonPiecesDecoder(json.text, this.pieces, this.spec.datatype, target);
    while (!decoder.advance()) yield;
    this.#remote = decoder.remote;
    return decoder.finish();
  }
}

class PredictReader {
  readonly #json: JsonCursor;
  readonly #drafts: Map<string, InputDraft> = new Map();
  /** The only input, where there is but one: its values may stand without its name. */
  readonly #only: InputDraft | undefined;
  #form: 'instances' | 'inputs' | undefined;
  /** Instances that are objects by input; 0 otherwise. */
  #objects = 0;
  #pauseAt = SLICE_BYTES;

  constructor(body: Buffer, { inputs }: Signature) {
    this.#json = new JsonCursor({ bytes: body, end: body.length });
    for (const spec of inputs) this.#drafts.set(spec.name, new InputDraft(this.#json, spec));
    this.#only = inputs.length === 1 ? this.#drafts.get(inputs[0]!.name) : undefined;
  }

  *read(): Generator<void, PredictCall, void> {
    const json = this.#json;
    const { bytes } = json.text;
    if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
      throw invalid('the JSON text begins with a byte order mark, expected a JSON object');
    }
    if (json.peek('a JSON object') !== 0x7b) throw invalid(`the request is ${json.excerpt()}, expected a JSON object`);
    json.pos++;
    for (let first = true; json.nextMember(first); first = false) {
      if (json.stringIs('instances')) {
        if (this.#takes('instances')) yield* this.#readInstances();
      } else if (json.stringIs('inputs')) {
        if (this.#takes('inputs')) yield* this.#readInputs();
      } else if (json.stringIs('signature_name')) readSignatureName(json);
      else {
        const ignored = new JsonValueSkip(json, 1);
        while (!ignored.skip(json.pos + SLICE_BYTES)) yield;
      }
    }
    json.endOfText();
    if (this.#form === undefined) throw invalid("the request has neither 'instances' nor 'inputs'");
    return yield* this.#finish();
  }

  /** Whether a value follows for this form, of which there may be one; null stands for none. */
  #takes(form: 'instances' | 'inputs'): boolean {
    if (this.#json.peek('a value') === 0x6e) {
      this.#json.word('null');
      return false;
    }
    if (this.#form === form) throw invalid(`the request has '${form}' twice`);
    if (this.#form !== undefined) throw invalid("the request has both 'instances' and 'inputs', expected one of them");
    this.#form = form;
    return true;
  }

  *#readInstances(): Generator<void, void, void> {
    const json = this.#json;
    if (json.peek('an array') !== 0x5b) throw invalid(`'instances' is ${json.excerpt()}, expected an array`);
    const start = json.pos++;
    const c = json.peek("a value or ']'");
    if (c === 0x5d) throw invalid("'instances' is empty, expected at least one");
    if (this.#only !== undefined && (c !== 0x7b || this.#isElement())) {
      json.pos = start;
      yield* this.#only.readValue(json);
      return;
    }
    const areAddresses = this.#isAddress();
    let from = json.pos;
    for (let i = 0; json.nextElement(i === 0); i++) {
      // The text between the values is no part of the envelope either: there is as much as there are rows.
      json.exempt(json.pos - from);
      if (json.peek('an object') !== 0x7b) {
        throw invalid(`instances[${i}] is ${json.excerpt()}, expected an object with ${this.#names()}`);
      }
      if (areAddresses && this.#isAddress()) yield* this.#only!.readValue(json);
      else yield* this.#readObject(`instances[${i}]`, i);
      this.#objects++;
      from = json.pos;
    }
  }

  *#readInputs(): Generator<void, void, void> {
    const c = this.#json.peek('a value');
    if (c === 0x5b) this.#refuseVersion2();
    if (c === 0x7b && !this.#isElement() && !this.#isAddress()) yield* this.#readObject("'inputs'", 0);
    else if (this.#only !== undefined) yield* this.#only.readValue(this.#json);
    else throw invalid(`'inputs' is ${this.#json.excerpt()}, expected an object with ${this.#names()}`);
  }

  /** An array of objects that name their tensors is a common mistake, and better told than as one of form. */
  #refuseVersion2(): void {
    const { bytes } = this.#json.text;
    if (
      /^\[\s*\{\s*"(name|datatype|shape|data)"/.test(bytes.toString('latin1', this.#json.pos, this.#json.pos + 100))
    ) {
      throw invalid("'inputs' is an array of tensors as in version 2, which is asked at /v2/models/<model>/infer");
    }
  }

  /** Reads an object with a value for each input, which has as many values as there were objects before. */
  *#readObject(what: string, before: number): Generator<void, void, void> {
    const json = this.#json;
    let from = json.pos++;
    let members = 0;
    for (; json.nextMember(members === 0); members++) {
      const draft = this.#drafts.get(json.name());
      if (draft === undefined) {
        throw invalid(`${what} has the key ${quoteName(json.string())}, expected ${this.#names()}`);
      }
      if (draft.values !== before) throw invalid(`${what} has the key ${quoteName(draft.spec.name)} twice`);
      json.exempt(json.pos - from);
      yield* draft.readValue(json);
      from = json.pos;
      if (json.pos < this.#pauseAt) continue;
      this.#pauseAt = json.pos + SLICE_BYTES;
      yield;
    }
    json.exempt(json.pos - from);
    if (members === this.#drafts.size) return;
    const missing = [...this.#drafts.values()].find(({ values }) => values === before)!;
    throw invalid(`${what} has no key ${quoteName(missing.spec.name)}, expected ${this.#names()}`);
  }

  *#finish(): Generator<void, PredictCall, void> {
    const inputs = new Map<string, Tensor>();
    let remote: RemoteInput[] | undefined;
    let rows = this.#objects;
    const isStack = rows > 0;
    for (const [name, draft] of this.#drafts) {
      const tensor = yield* draft.decode(this.#json, isStack);
      if (!isStack) rows = tensor?.shape[0] ?? 0;
      const fetched = draft.remote(tensor, isStack);
      if (fetched === undefined) inputs.set(name, tensor!);
      else {
        remote ??= [];
        remote.push(fetched);
      }
    }
    return { inputs, remote, rows: this.#form === 'inputs' ? undefined : rows };
  }

  /** Whether an object that is an element of the only input begins at the cursor. */
  #isElement(): boolean {
    const { text, pos } = this.#json;
    if (this.#only?.spec.datatype !== 'BYTES') return false;
    return isBase64Object(text, pos) || (this.#only.spec.name !== 'url' && isUrlObject(text, pos));
  }

  /** Whether the address of a value of the only input begins at the cursor; an input may itself be called `url`. */
  #isAddress(): boolean {
    const only = this.#only?.spec;
    if (only === undefined || only.datatype === 'BYTES' || only.name === 'url') return false;
    return isUrlObject(this.#json.text, this.#json.pos);
  }

  #names(): string {
    const names = [...this.#drafts.keys()].map(quoteName);
    return `${names.length === 1 ? 'the key' : 'the keys'} ${names.join(', ')}`;
  }
}

function readSignatureName(json: JsonCursor): void {
  const c = json.peek('a string');
  if (c === 0x6e) {
    json.word('null');
    return;
  }
  if (c !== 0x22) throw invalid(`'signature_name' is ${json.excerpt()}, expected a string`);
  json.scanString();
  const name = json.string();
  if (name === '' || name === SIGNATURE_NAME) return;
  throw invalid(`'signature_name' is ${quoteName(name)}, expected '${SIGNATURE_NAME}', the only one`);
}
