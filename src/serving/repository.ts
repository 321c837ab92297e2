import type { Stats } from 'node:fs';
import { lstat, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { ServeError } from '../errors.ts';
import { readSettings } from './model-config-file.ts';
import { DEFAULT_SETTINGS, type ModelSettings, type VersionPolicy } from './model-settings.ts';

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
  /** The same as long as none of the files counted in `bytes` has been changed or replaced. */
  readonly fingerprint: string;
  /** What its configuration asks for; the defaults where there is none, or where it is the problem. */
  readonly settings: ModelSettings;
}

/** `stats` would be shadowed by a route of the protocol. */
const RESERVED_NAMES: ReadonlySet<string> = new Set(['stats']);

const EXTENSION = '.onnx';

/** What only a version with one's model file needs to know. */
type Described = Pick<ModelSource, 'name' | 'version' | 'file' | 'settings'>;

/**
 * Finds the models of a folder: `<name>.onnx` (version 1) and `<name>/<version>/model.onnx`, beside which may lie a
 * configuration (see {@link readSettings}), which also says which versions are served. Links are followed;
 * entries that start with a dot are not looked at, for Kubernetes keeps its own there.
 *
 * @returns versions in order of name and number.
 * @throws {ServeError} MODELS_MISSING, NAME_TWICE or NAME_INVALID.
 */
export async function scanRepository(folder: string): Promise<ModelSource[]> {
  const sources: ModelSource[] = [];
  for (const name of await listModels(folder)) sources.push(...(await scanEntries(folder, name)));
  return sources;
}

/**
 * The names that the entries of a models folder would give to models; whether there is one, {@link scanModel} says.
 *
 * @throws {ServeError} MODELS_MISSING.
 */
export async function listModels(folder: string): Promise<string[]> {
  const names = new Set<string>();
  for (const entry of await readFolder(folder)) {
    if (entry.startsWith('.')) continue;
    const info = await stat(path.join(folder, entry)).catch(() => undefined);
    if (info?.isDirectory()) names.add(entry);
    else if (entry.endsWith(EXTENSION)) names.add(entry.slice(0, -EXTENSION.length));
  }
  return [...names].sort();
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
  if ((await readVersions(full)).length === 0) return scanRepository(place);
  return scanFolder(path.basename(full), full);
}

/**
 * Reads one model of a repository anew, configuration included.
 *
 * @param folder the repository.
 * @param override a configuration in JSON to use in place of the one in the model's folder.
 * @returns its versions in order of number; empty when there is no such model, or when no model may have that name.
 * @throws {ServeError} NAME_TWICE.
 */
export async function scanModel(folder: string, name: string, override?: string): Promise<ModelSource[]> {
  // The name becomes part of a path, and must not lead out of the folder.
  return nameProblem(name) === undefined ? scanEntries(folder, name, override) : [];
}

/** The versions of the model that the entries `<name>` and `<name>.onnx` of a repository make. */
async function scanEntries(folder: string, name: string, override?: string): Promise<ModelSource[]> {
  const full = path.join(folder, name);
  const file = `${full}${EXTENSION}`;
  const isFolder = (await stat(full).catch(() => undefined))?.isDirectory() === true;
  const sources = isFolder ? await scanFolder(name, full, override) : [];
  const isFile = await isThere(file);
  if (isFile && sources.length > 0) {
    throw new ServeError(
      'NAME_TWICE',
      `model '${name}' is there twice in ${folder}: as '${name}${EXTENSION}' and as folder '${name}'`,
    );
  }
  if (!isFile && sources.length === 0) return [];
  checkName(name, isFile ? file : full);
  if (!isFile) return sources;
  if (override === undefined) return [await describeShort(name, file)];
  const { settings, problem } = await readSettings(folder, name, override);
  const source = await describe({ name, version: '1', file, settings }, []);
  return [{ ...source, problem: problem ?? source.problem }];
}

/** Whether there is a file, or a link, even a broken one; a folder is none. */
async function isThere(file: string): Promise<boolean> {
  if ((await lstat(file).catch(() => undefined)) === undefined) return false;
  return (await stat(file).catch(() => undefined))?.isDirectory() !== true;
}

/** The short form, which has no configuration. */
function describeShort(name: string, file: string): Promise<ModelSource> {
  return describe({ name, version: '1', file, settings: DEFAULT_SETTINGS }, []);
}

/** The source of a single file, named and configured as the repository it lies in would have it. */
async function describeFile(file: string): Promise<ModelSource> {
  const [, name, version, base] = /([^/]+)\/(\d+)\/([^/]+\.onnx)$/.exec(file) ?? [];
  const { settings, problem } =
    name === undefined
      ? { settings: DEFAULT_SETTINGS, problem: undefined }
      : await readSettings(path.resolve(file, '..', '..'), name);
  if (base !== settings.modelFile) return describeShort(path.basename(file, EXTENSION), file);
  const source = await describe({ name: name!, version: version!, file, settings }, []);
  return { ...source, problem: problem ?? source.problem };
}

/** The versions of a model's folder that are to be served; what cannot be is a version with a problem. */
async function scanFolder(name: string, folder: string, override?: string): Promise<ModelSource[]> {
  const [versions, { settings, problem }] = await Promise.all([
    readVersions(folder),
    readSettings(folder, name, override),
  ]);
  const failed = (version: string, file: string, why: string): ModelSource[] => [
    { name, version, file, bytes: 0, problem: why, fingerprint: '', settings },
  ];
  if (versions.length === 0) {
    const entries = await readFolder(folder);
    const misplaced = entries.find((entry) => entry.endsWith(EXTENSION));
    const found = misplaced ?? settings.file;
    if (found === undefined) return [];
    const what =
      misplaced === undefined
        ? `${name}/ has a ${found} and no version`
        : `${name}/${found} lies in no version's folder`;
    return failed('1', path.join(folder, found), `${what}, expected ${name}/1/${settings.modelFile}`);
  }
  const served = servedVersions(versions, settings.versions);
  const sources = await Promise.all(
    served.map(async (version): Promise<ModelSource[]> => {
      const file = path.join(folder, version, settings.modelFile);
      if (!versions.includes(version)) return failed(version, file, `there is no folder ${name}/${version}`);
      const inside = await readdir(path.join(folder, version));
      const source = await describe(
        { name, version, file, settings },
        inside.filter((entry) => entry !== settings.modelFile),
      );
      return [{ ...source, problem: problem ?? source.problem }];
    }),
  );
  return sources.flat();
}

/** Those of the versions in a folder, in rising order, that are served; a policy may also name some that are missing. */
function servedVersions(versions: readonly string[], policy: VersionPolicy): readonly string[] {
  if (policy.kind === 'all') return versions;
  if (policy.kind === 'latest') return versions.slice(-policy.count);
  return [...new Set(policy.versions)].sort((a, b) => Number(a) - Number(b));
}

/** The numbered folders in a model's folder, in rising order. */
async function readVersions(folder: string): Promise<string[]> {
  const versions: string[] = [];
  for (const entry of await readdir(folder)) {
    if (!/^(0|[1-9]\d{0,17})$/.test(entry)) continue;
    if ((await stat(path.join(folder, entry)).catch(() => undefined))?.isDirectory()) versions.push(entry);
  }
  return versions.sort((a, b) => Number(a) - Number(b));
}

async function describe(described: Described, beside: readonly string[]): Promise<ModelSource> {
  const { file } = described;
  let bytes = 0;
  let problem: string | undefined;
  const marks: string[] = [];
  const count = (entry: string, info: Stats): void => {
    bytes += info.size;
    marks.push([entry, info.dev, info.ino, info.size, info.mtimeMs].join(':'));
  };
  try {
    const info = await stat(file);
    // Opening a pipe or a device would block for ever.
    if (!info.isFile()) problem = `${path.basename(file)} is not a regular file`;
    count('', info);
    for (const other of beside) {
      const otherInfo = await stat(path.join(path.dirname(file), other)).catch(() => undefined);
      if (otherInfo !== undefined) count(other, otherInfo);
    }
  } catch {
    problem = `there is no file ${path.basename(file)}`;
  }
  return { ...described, bytes, problem, fingerprint: marks.join('/') };
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
  const wrong = nameProblem(name);
  if (wrong !== undefined)
    throw new ServeError('NAME_INVALID', `the model name of ${JSON.stringify(full)} ${wrong}; rename it`);
}

/** Why a name cannot be a model's; undefined when it can. */
export function nameProblem(name: string): string | undefined {
  if (name === '' || name.startsWith('.')) return 'is empty or starts with a dot';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  if (/[\u0000-\u001f\u007f/\\]/.test(name)) return 'has a control character or a slash';
  return RESERVED_NAMES.has(name) ? 'is used by the protocol itself' : undefined;
}
