import { invalid } from '../errors.ts';
import { refuseReserved, refuseSharedMemory } from '../protocol/parameters.ts';
import { quoteName } from '../tensor/json-text.ts';
import type { JsonCursor } from './json-cursor.ts';
import { skipScalar } from './json-skip-value.ts';

/** Keeps which keys have been met, one bit each. */
interface Seen {
  seen: number;
}

/** What the parameters of a request say; undefined where they say nothing. */
export interface RequestParameters extends Seen {
  binaryByDefault: boolean | undefined;
  timeoutMs: number | undefined;
  priority: number | undefined;
}

/** What the parameters of an input say. */
export interface InputParameters extends Seen {
  /** What messages call the input. */
  readonly what: string;
  binarySize: number | undefined;
  /** Where the data is to be fetched. */
  url: string | undefined;
}

/** What the parameters of a requested output say. */
export interface OutputParameters extends Seen {
  /** What messages call the output. */
  readonly what: string;
  binary: boolean | undefined;
  /** How many classes are asked for; 0 for the output itself. */
  classes: number;
}

/** What messages call something; not made before one is needed. */
interface Named {
  readonly what: string;
}

const REQUEST: Named = { what: 'the request' };

/** Bits for the keys of parameters, which the drafts of tensors and outputs have beside those of their own keys. */
const SEEN = {
  binary_data_output: 2 ** 16,
  timeout: 2 ** 17,
  priority: 2 ** 18,
  sequence_start: 2 ** 19,
  sequence_end: 2 ** 20,
  sequence_id: 2 ** 21,
  binary_data_size: 2 ** 22,
  binary_data: 2 ** 23,
  classification: 2 ** 24,
  url: 2 ** 25,
} as const;

/**
 * Reads the value of the request parameter whose key the cursor read last (Triton's `docs/protocol/extension_parameters.md`).
 * False when the value means nothing and is still to be skipped; it may have any form.
 *
 * @throws {ShoalError} INVALID_REQUEST for a value of the wrong type and for reserved names.
 */
export function readRequestParameter(json: JsonCursor, into: RequestParameters): boolean {
  if (isKey(json, 'binary_data_output', into, REQUEST)) {
    into.binaryByDefault = readFlag(json, 'binary_data_output', REQUEST);
  } else if (isKey(json, 'timeout', into, REQUEST)) {
    // Microseconds; 0 stands for none.
    const timeout = readCount(json, 'timeout', REQUEST);
    into.timeoutMs = timeout === undefined || timeout === 0 ? undefined : timeout / 1000;
  } else if (isKey(json, 'priority', into, REQUEST)) into.priority = readCount(json, 'priority', REQUEST);
  else if (isKey(json, 'sequence_start', into, REQUEST)) readFlag(json, 'sequence_start', REQUEST);
  else if (isKey(json, 'sequence_end', into, REQUEST)) readFlag(json, 'sequence_end', REQUEST);
  else if (isKey(json, 'sequence_id', into, REQUEST)) {
    if (json.peek('a value') === 0x22) json.scanString();
    else readCount(json, 'sequence_id', REQUEST);
  } else if (json.stringIs('headers') || json.stringIs('triton_enable_empty_final_response')) return false;
  else {
    const name = json.string();
    refuseReserved(name);
    const c = json.peek('a value');
    if (c === 0x7b || c === 0x5b) {
      throw invalid(
        `parameter ${quoteName(name)} is an ${c === 0x7b ? 'object' : 'array'}, expected a string, number or boolean`,
      );
    }
    skipScalar(json);
  }
  return true;
}

/** As {@link readRequestParameter}, for a parameter of an input. */
export function readInputParameter(json: JsonCursor, into: InputParameters): boolean {
  if (isKey(json, 'binary_data_size', into, into)) {
    into.binarySize = readCount(json, 'binary_data_size', into);
    return true;
  }
  if (isKey(json, 'url', into, into)) {
    into.url = readText(json, 'url', into);
    return true;
  }
  refuseSharedMemory(json.string(), into);
  return false;
}

/** As {@link readRequestParameter}, for a parameter of a requested output. */
export function readOutputParameter(json: JsonCursor, into: OutputParameters): boolean {
  if (isKey(json, 'binary_data', into, into)) {
    into.binary = readFlag(json, 'binary_data', into);
    return true;
  }
  if (isKey(json, 'classification', into, into)) {
    into.classes = readCount(json, 'classification', into) ?? 0;
    return true;
  }
  refuseSharedMemory(json.string(), into);
  return false;
}

/** Whether the key read last is this one; a key that means something may stand there once. */
function isKey(json: JsonCursor, key: keyof typeof SEEN, into: Seen, where: Named): boolean {
  if (!json.stringIs(key)) return false;
  if ((into.seen & SEEN[key]) !== 0) throw invalid(`${where.what} has ${key} twice`);
  into.seen |= SEEN[key];
  return true;
}

function readFlag(json: JsonCursor, key: string, where: Named): boolean | undefined {
  const c = json.peek('a value');
  if (c === 0x74) json.word('true');
  else if (c === 0x66) json.word('false');
  else if (c === 0x6e) json.word('null');
  else throw invalid(`${key} of ${where.what} is ${json.excerpt()}, expected true or false`);
  return c === 0x6e ? undefined : c === 0x74;
}

function readText(json: JsonCursor, key: string, where: Named): string | undefined {
  const c = json.peek('a value');
  if (c === 0x6e) {
    json.word('null');
    return undefined;
  }
  if (c !== 0x22) throw invalid(`${key} of ${where.what} is ${json.excerpt()}, expected a string`);
  json.scanString();
  return json.string();
}

function readCount(json: JsonCursor, key: string, where: Named): number | undefined {
  const c = json.peek('a value');
  if (c === 0x6e) {
    json.word('null');
    return undefined;
  }
  const start = json.pos;
  const value = c === 0x2d || (c >= 0x30 && c <= 0x39) ? json.integer() : undefined;
  if (value === undefined || value < 0 || value === Number.POSITIVE_INFINITY) {
    json.pos = start;
    throw invalid(`${key} of ${where.what} is ${json.excerpt()}, expected an integer of 0 or more`);
  }
  return value;
}
