import { existsSync } from 'node:fs';
import path from 'node:path';

/** The repository's folder, wherever the compiled tests lie inside it. */
export const REPOSITORY_ROOT: string = findRoot(import.meta.dirname);

function findRoot(folder: string): string {
  if (existsSync(path.join(folder, 'package-lock.json'))) return folder;
  const parent = path.dirname(folder);
  if (parent === folder) throw new Error(`no package-lock.json in any folder above ${import.meta.dirname}`);
  return findRoot(parent);
}
