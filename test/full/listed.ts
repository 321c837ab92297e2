import { readFileSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY_ROOT } from '../support/root.ts';
import type { Case } from './cases.ts';
import type { Plain } from './plain.ts';

/** The cases that plain onnxruntime-node does not pass, each with what keeps it from doing so. */

/**
 * - `load`: the model does not load.
 * - `locale`: the same, unless the machine has the locale that it asks for.
 * - `types`: it has inputs or outputs that are no tensors.
 * - `differs`: the answer is another than the expected one, and always the same.
 * - `random`: the answer is another one in each run.
 */
type Kind = 'load' | 'locale' | 'types' | 'differs' | 'random';

/** Why a case is listed. */
export interface Listed {
  readonly kind: Kind;
  /** Part of what onnxruntime-node says, or of the difference. */
  readonly message: string;
  /** The same for people. */
  readonly why: string;
}

interface Group extends Listed {
  readonly cases: readonly string[];
}

/** What is listed, by the id of the case. */
export function readListed(): ReadonlyMap<string, Listed> {
  const file = path.join(REPOSITORY_ROOT, 'test/full/expected-failures.json');
  const groups = JSON.parse(readFileSync(file, 'utf8')) as readonly Group[];
  return new Map(groups.flatMap((group) => group.cases.map((id) => [id, group] as const)));
}

/** What the list says of cases that are not there. */
export function unknownIn(listed: ReadonlyMap<string, Listed>, cases: readonly Case[]): string[] {
  const known = new Set(cases.map(({ id }) => id));
  return [...listed.keys()].filter((id) => !known.has(id)).map((id) => `${id} is listed, but there is no such case`);
}

/**
 * What is wrong about the list, after plain onnxruntime-node ran the case; undefined when nothing is.
 *
 * @param difference between its answer and the expected one.
 */
export function checkListed(
  listed: Listed | undefined,
  plain: Plain,
  difference: string | undefined,
): string | undefined {
  const kind = listed?.kind;
  const failure = plain.kind === 'failed' ? `${plain.step}: ${plain.reason}` : difference;
  if (failure === undefined) {
    // Random numbers may hit the expected ones, and a machine may have the locale.
    if (listed === undefined || kind === 'random' || kind === 'locale') return undefined;
    return `passes with plain onnxruntime-node, but is listed: ${listed.why}`;
  }
  if (listed === undefined) return `fails with plain onnxruntime-node, but is not listed: ${failure}`;
  const step = plain.kind === 'failed' ? plain.step : kind === 'random' ? 'random' : 'differs';
  const isAsListed = (kind === 'locale' ? 'load' : kind) === step && failure.includes(listed.message);
  return isAsListed ? undefined : `listed as '${listed.message}', but with plain onnxruntime-node ${step}: ${failure}`;
}
