import { createRequire } from 'node:module';

/** Reading an OpenAPI document, in tests. */

/** The part of a document that tests look at. */
export interface OpenApiDocument {
  readonly openapi: string;
  readonly servers: readonly { readonly url: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, OpenApiOperation>>>>;
  readonly components: Readonly<Record<'schemas' | 'examples' | 'parameters' | 'responses', Record<string, object>>>;
}

export interface OpenApiOperation {
  readonly operationId: string;
  readonly description?: string;
  readonly parameters?: readonly object[];
  readonly requestBody?: { readonly content: Readonly<Record<string, MediaType>> };
  readonly responses: Readonly<Record<string, object>>;
}

export interface MediaType {
  readonly schema?: object;
  readonly examples?: Readonly<Record<string, object>>;
}

/** What `value` refers to, or `value`. */
export function follow<T>(document: OpenApiDocument, value: object): T {
  if (!('$ref' in value)) return value as T;
  let found: unknown = document;
  for (const key of String(value.$ref).slice(2).split('/')) found = (found as Record<string, unknown>)[key];
  return found as T;
}

/** What Ajv has that is used here. */
interface Ajv {
  addSchema(schema: object, key: string): void;
  compile(schema: object): ((value: unknown) => boolean) & { readonly errors?: unknown };
}

/** Checks values against schemas of a document: what does not fit, or undefined. */
export function schemaChecker(document: OpenApiDocument): (schema: object, value: unknown) => string | undefined {
  // The validator of documents has a validator of schemas beneath it.
  const require = createRequire(createRequire(import.meta.url).resolve('@seriousme/openapi-schema-validator'));
  const { default: Ajv2020 } = require('ajv/dist/2020.js') as { default: new (options: object) => Ajv };
  const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
  ajv.addSchema({ components: document.components }, 'document');
  return (schema, value) => {
    const text = JSON.stringify(schema).replaceAll('"#/components/', '"document#/components/');
    const check = ajv.compile(JSON.parse(text));
    return check(value) ? undefined : JSON.stringify(check.errors);
  };
}
