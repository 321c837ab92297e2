import { invalid } from '../errors.ts';
import { MAX_JSON_DEPTH } from '../tensor/json-text.ts';
import type { JsonCursor } from './json-cursor.ts';

const ARRAY = 0;
const OBJECT = 1;

/** Reads over a JSON value of any form that nobody needs, checking its grammar; resumable between tokens. */
export class JsonValueSkip {
  readonly #json: JsonCursor;
  readonly #outer: number;
  readonly #kinds: number[] = [];
  #expectsValue = true;
  #first = true;

  /** @param outer how many arrays and objects are open around the value. */
  constructor(json: JsonCursor, outer: number) {
    this.#json = json;
    this.#outer = outer;
  }

  /**
   * Goes on until the value ends (true) or the cursor reaches `stop` (false).
   *
   * @throws {ShoalError} INVALID_REQUEST for broken JSON and for nesting of 100 levels.
   */
  skip(stop: number): boolean {
    while (this.#json.pos < stop) {
      if (this.#expectsValue) this.#readValue();
      else this.#readNext();
      if (this.#kinds.length === 0) return true;
    }
    return false;
  }

  #readValue(): void {
    const json = this.#json;
    this.#expectsValue = false;
    switch (json.peek('a value')) {
      case 0x7b:
        this.#open(OBJECT);
        return;
      case 0x5b:
        this.#open(ARRAY);
        return;
      case 0x22:
        json.scanString();
        break;
      default:
        skipScalar(json);
    }
    this.#first = false;
  }

  #open(kind: number): void {
    if (this.#outer + this.#kinds.length >= MAX_JSON_DEPTH) {
      throw invalid(`the JSON text is nested more than ${MAX_JSON_DEPTH} deep at byte ${this.#json.pos}`);
    }
    this.#kinds.push(kind);
    this.#first = true;
    this.#json.pos++;
  }

  #readNext(): void {
    const json = this.#json;
    const isObject = this.#kinds.at(-1) === OBJECT;
    this.#expectsValue = isObject ? json.nextMember(this.#first) : json.nextElement(this.#first);
    if (!this.#expectsValue) {
      this.#kinds.pop();
      this.#first = false;
    }
  }
}

/**
 * Reads over a string, a number, true, false or null.
 *
 * @throws {ShoalError} INVALID_REQUEST for anything else.
 */
export function skipScalar(json: JsonCursor): void {
  const c = json.peek('a value');
  if (c === 0x22) json.scanString();
  else if (c === 0x74) json.word('true');
  else if (c === 0x66) json.word('false');
  else if (c === 0x6e) json.word('null');
  else if (c === 0x2d || (c >= 0x30 && c <= 0x39)) json.skipNumber();
  else throw json.unexpected('a value');
}
