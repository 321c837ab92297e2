import type { Signature, TensorSpec } from './signature.ts';

/** A model whose types are written. */
export interface TypedModel {
  readonly name: string;
  readonly version: string;
  readonly signature: Signature;
}

/**
 * Signatures as a TypeScript interface for `ShoalClient<Models>`; see `signature-types.ts`. The text is a module without
 * imports, and the same for the same models.
 *
 * @param models one version of each.
 * @param made what made it, for the first line.
 * @param forPipelines whether pipelines are to be checked by them, too.
 */
export function writeTypes(models: readonly TypedModel[], made: string, forPipelines = false): string {
  const sorted = models.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const members = sorted.map(({ name, version, signature }) =>
    [
      `  /** version ${version} */`,
      `  readonly ${quote(name)}: {`,
      ...tensorLines('inputs', signature.inputs),
      ...tensorLines('outputs', signature.outputs),
      '  };',
    ].join('\n'),
  );
  return `// Made by \`${made}\`. Do not edit: make it again when the models change.

/** What each model takes and gives. A dimension that is \`number\` may be any, the others are fixed. */
export interface Models {
${members.join('\n\n')}
}
${forPipelines ? PIPELINE_MODELS : ''}`;
}

/** Completes the interface by which `shoal` knows the models of pipelines. */
const PIPELINE_MODELS = `
declare module 'shoal' {
  interface PipelineModels extends Models {}
}
`;

function tensorLines(key: string, specs: readonly TensorSpec[]): string[] {
  const lines = specs.map(
    (spec) =>
      `      readonly ${quote(spec.name)}: { readonly datatype: '${spec.datatype}'; readonly shape: readonly [${dimensions(spec).join(', ')}] };`,
  );
  return [`    readonly ${key}: {`, ...lines, '    };'];
}

/** The rows of a request are its own affair, whatever the file says of that dimension. */
function dimensions({ shape, batchAxis }: TensorSpec): string[] {
  return shape.map((dim, axis) => (dim < 0 || axis === batchAxis ? 'number' : String(dim)));
}

/** A property name; names are anything that a file says. */
function quote(name: string): string {
  if (/^[A-Za-z_$][\w$]*$/.test(name)) return name;
  const escaped = JSON.stringify(name).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'");
  return `'${escaped.replace(/[\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16)}`)}'`;
}
