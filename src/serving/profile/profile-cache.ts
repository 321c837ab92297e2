import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Config } from '../../config.ts';
import { messageOf } from '../../errors.ts';
import type { ModelSource } from '../repository.ts';
import { PROFILE_FORMAT, type Profile, type ProfileKey } from './profile.ts';
import { keyOf } from './profile-key.ts';

/** The cache that the configuration names; undefined when it is off. */
export function openProfileCache(
  { profileCache }: Pick<Config, 'profileCache'>,
  warn: (message: string) => void,
): ProfileCache | undefined {
  if (profileCache === 'off') return undefined;
  return new ProfileCache(profileCache === 'auto' ? defaultProfileFolder() : path.resolve(profileCache), warn);
}

/** Where profiles lie unless told otherwise, by the XDG Base Directory Specification. */
export function defaultProfileFolder(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const { XDG_CACHE_HOME: cache } = env;
  // The specification has relative paths ignored.
  const base = cache !== undefined && path.isAbsolute(cache) ? cache : path.join(os.homedir(), '.cache');
  return path.join(base, 'shoal', 'profiles');
}

/**
 * A folder of profiles, one file for each model and machine. What cannot be read, or holds for something else, is passed
 * over with a line to the log: it can always be measured again.
 */
export class ProfileCache {
  readonly folder: string;
  readonly #warn: (message: string) => void;

  constructor(folder: string, warn: (message: string) => void) {
    this.folder = folder;
    this.#warn = warn;
  }

  /** The profile of a model on this machine; undefined when there is none. Never rejects. */
  async find(source: ModelSource, cores: number, provider: string): Promise<Profile | undefined> {
    try {
      const entries = await readdir(this.folder).catch(() => []);
      // Reading a large model costs time at the start, which only a file of its size can be worth.
      if (!entries.some((entry) => entry.startsWith(prefixOf(source)))) return undefined;
      const key = await keyOf(source, cores, provider);
      return await this.#read(path.join(this.folder, nameOf(source, key)), key);
    } catch (thrown) {
      this.#warn(`no profile of model '${source.name}' could be looked for: ${messageOf(thrown)}`);
      return undefined;
    }
  }

  /**
   * Stores a profile; a reader finds the old one or the new one, whole.
   *
   * @returns the file.
   * @throws {Error} when it cannot be written.
   */
  async write(source: ModelSource, profile: Profile): Promise<string> {
    const file = path.join(this.folder, nameOf(source, profile.key));
    const draft = `${file}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
    await mkdir(this.folder, { recursive: true });
    try {
      await writeFile(draft, `${JSON.stringify({ format: PROFILE_FORMAT, ...profile }, null, 1)}\n`, { flag: 'wx' });
      await rename(draft, file);
    } catch (thrown) {
      await rm(draft, { force: true });
      throw thrown;
    }
    return file;
  }

  async #read(file: string, key: ProfileKey): Promise<Profile | undefined> {
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') this.#pass(file, messageOf(thrown));
      return undefined;
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      this.#pass(file, 'it is not JSON');
      return undefined;
    }
    // Loaded only where there is something to check.
    const { readStored } = await import('./stored-profile.ts');
    const profile = readStored(value);
    if (profile === undefined) this.#pass(file, 'it is no profile of this version of Shoal');
    else if (isDeepStrictEqual(profile.key, key)) return profile;
    else this.#pass(file, 'it holds for another model or machine');
    return undefined;
  }

  #pass(file: string, why: string): void {
    this.#warn(`the profile ${file} is not used: ${why}`);
  }
}

function prefixOf({ bytes }: ModelSource): string {
  return `${bytes}-`;
}

function nameOf(source: ModelSource, key: ProfileKey): string {
  const hash = createHash('sha256').update(JSON.stringify(key)).digest('hex');
  return `${prefixOf(source)}${hash.slice(0, 32)}.json`;
}
