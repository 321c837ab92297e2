import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { ServeError } from '../errors.ts';

/** A model version as found on disk. */
export interface ModelSource {
  readonly name: string;
  /** A decimal number as text. */
  readonly version: string;
  readonly file: string;
  /** Bytes of the model file and of the files beside it, which may hold its weights. */
  readonly bytes: number;
  /** Why it cannot even be tried. */
  readonly problem: string | undefined;
}

/** `stats` would be shadowed by a route of the protocol. */
const RESERVED_NAMES: ReadonlySet<string> = new Set(['stats']);

const MODEL_FILE = 'model.onnx';
const EXTENSION = '.onnx';

/**
 * Finds the models of a folder: `<name>.onnx` (version 1) and `<name>/<version>/model.onnx`. Links are followed;
 * entries that start with a dot are not looked at, for Kubernetes keeps its own there.
 *
 * @returns versions in order of name and number.
 * @throws {ServeError} MODELS_MISSING, NAME_TWICE or NAME_INVALID.
 */
export async function scanRepository(folder: string): Promise<ModelSource[]> {
  const entries = await readFolder(folder);
  const found = new Map<string, ModelSource[]>();
  for (const entry of entries.sort()) {
    if (entry.startsWith('.')) continue;
    const full = path.join(folder, entry);
    const info = await stat(full).catch(() => undefined);
    const name = info?.isDirectory()
      ? entry
      : entry.endsWith(EXTENSION)
        ? entry.slice(0, -EXTENSION.length)
        : undefined;
    if (name === undefined) continue;
    const sources = info?.isDirectory() ? await scanFolder(name, full) : [await describe(name, '1', full, [])];
    if (sources.length === 0) continue;
    checkName(name, full);
    if (found.has(name)) {
      throw new ServeError(
        'NAME_TWICE',
        `model '${name}' is there twice in ${folder}: as '${name}${EXTENSION}' and as folder '${name}'`,
      );
    }
    found.set(name, sources);
  }
  return [...found.values()].flat();
}

/**
 * What lies at `place`: a model file, a model's own folder of versions, or a folder of models.
 *
 * @throws {ServeError} as {@link scanRepository}.
 */
export async function findModels(place: string): Promise<ModelSource[]> {
  const full = path.resolve(place);
  const info = await stat(full).catch(() => undefined);
  if (info === undefined) throw new ServeError('MODELS_MISSING', `there is nothing at ${full}`);
  if (!info.isDirectory()) return [await describeFile(full)];
  const versions = await scanVersions(path.basename(full), full);
  return versions.length > 0 ? versions : scanRepository(place);
}

/** The source of a single file, named as the repository it lies in would name it. */
function describeFile(file: string): Promise<ModelSource> {
  const inRepository = /([^/]+)\/(\d+)\/model\.onnx$/.exec(file);
  if (inRepository !== null) return describe(inRepository[1]!, inRepository[2]!, file, []);
  return describe(path.basename(file, EXTENSION), '1', file, []);
}

/** The versions in a model's folder; a folder that holds a model, but no version, is a version that cannot be loaded. */
async function scanFolder(name: string, folder: string): Promise<ModelSource[]> {
  const versions = await scanVersions(name, folder);
  if (versions.length > 0) return versions;
  const misplaced = (await readFolder(folder)).find((entry) => entry.endsWith(EXTENSION));
  if (misplaced === undefined) return [];
  const file = path.join(folder, misplaced);
  return [
    {
      name,
      version: '1',
      file,
      bytes: 0,
      problem: `${name}/${misplaced} lies in no version's folder, expected ${name}/1/${MODEL_FILE}`,
    },
  ];
}

async function scanVersions(name: string, folder: string): Promise<ModelSource[]> {
  const versions = (await readdir(folder)).filter((entry) => /^(0|[1-9]\d{0,17})$/.test(entry));
  versions.sort((a, b) => Number(a) - Number(b));
  const sources: ModelSource[] = [];
  for (const version of versions) {
    const inside = path.join(folder, version);
    if (!(await stat(inside).catch(() => undefined))?.isDirectory()) continue;
    const beside = (await readdir(inside)).filter((entry) => entry !== MODEL_FILE);
    sources.push(await describe(name, version, path.join(inside, MODEL_FILE), beside));
  }
  return sources;
}

async function describe(name: string, version: string, file: string, beside: readonly string[]): Promise<ModelSource> {
  let bytes = 0;
  let problem: string | undefined;
  try {
    const info = await stat(file);
    // Opening a pipe or a device would block for ever.
    if (!info.isFile()) problem = `${path.basename(file)} is not a regular file`;
    bytes = info.size;
    for (const other of beside)
      bytes += (await stat(path.join(path.dirname(file), other)).catch(() => undefined))?.size ?? 0;
  } catch {
    problem = `there is no file ${path.basename(file)}`;
  }
  return { name, version, file, bytes, problem };
}

async function readFolder(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const what =
      code === 'ENOENT' ? 'does not exist' : code === 'ENOTDIR' ? 'is not a folder' : `cannot be read (${code})`;
    throw new ServeError('MODELS_MISSING', `the models folder ${path.resolve(folder)} ${what}`, { cause });
  }
}

function checkName(name: string, full: string): void {
  const wrong =
    name === '' || name.startsWith('.')
      ? 'is empty or starts with a dot'
      : // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
        /[\u0000-\u001f\u007f/\\]/.test(name)
        ? 'has a control character or a slash'
        : RESERVED_NAMES.has(name)
          ? 'is used by the protocol itself'
          : undefined;
  if (wrong !== undefined)
    throw new ServeError('NAME_INVALID', `the model name of ${JSON.stringify(full)} ${wrong}; rename it`);
}
