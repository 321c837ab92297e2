/** An object of the OpenAPI document: a schema, a response, an operation. */
export type Json = Readonly<Record<string, unknown>>;

/** A reference to a part of the document's components. */
export function ref(kind: 'schemas' | 'responses' | 'parameters' | 'examples' | 'headers', name: string): Json {
  return { $ref: `#/components/${kind}/${name}` };
}

/** An object with exactly these required properties; further keys only when `open`. */
export function object(properties: Json, extra: Json = {}): Json {
  return { type: 'object', required: Object.keys(properties), properties, ...extra };
}

/** An array of anything that fits `items`. */
export function arrayOf(items: Json, extra: Json = {}): Json {
  return { type: 'array', items, ...extra };
}

/** One of several forms, or the only one there is. */
export function anyOf(forms: readonly Json[]): Json {
  return forms.length === 1 ? forms[0]! : { anyOf: forms };
}

export const STRING: Json = { type: 'string' };
export const BOOLEAN: Json = { type: 'boolean' };
/** An integer from 0; what counts and durations are. */
export const COUNT: Json = { type: 'integer', minimum: 0 };

/** Names for components: letters, digits, `.`, `_` and `-` only, and each name once. */
export class ComponentNames {
  readonly #taken: Set<string> = new Set();

  /** A name not given out before that resembles `wanted`. */
  take(wanted: string): string {
    const base = wanted.replace(/[^A-Za-z0-9._-]+/g, '_');
    let name = base;
    for (let i = 2; this.#taken.has(name); i++) name = `${base}_${i}`;
    this.#taken.add(name);
    return name;
  }
}
