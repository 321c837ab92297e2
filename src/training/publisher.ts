import { copyFile, link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { messageOf, ShoalError } from '../errors.ts';
import type { ModelControl } from '../serving/model-control.ts';
import type { Log, ModelVersion } from '../serving/model-version.ts';
import type { ModelRegistry } from '../serving/registry.ts';
import type { ModelSource } from '../serving/repository.ts';
import { storageFailed, syncFolder } from './append-log.ts';
import { describeScore, isBetter, type ScoreOptions, scoreVersion } from './score.ts';
import { writeWhole } from './training-folder.ts';
import type { Publication } from './training-record.ts';

/** What a {@link Publisher} works with. */
export interface PublisherContext {
  /** The models folder. */
  readonly models: string;
  /** Where it is noted which versions trainings have made: `<model>.json`. */
  readonly notes: string;
  readonly registry: ModelRegistry;
  readonly control: ModelControl;
  readonly log: Log;
  /** @internal For tests: what a version's folder is made by. */
  readonly makeFolder?: ((folder: string) => Promise<unknown>) | undefined;
}

/** A version that a training made. */
interface Published {
  readonly version: string;
  readonly training: string;
}

/** What is noted of a model. */
interface Notes {
  /** The highest number that was ever given; none is given twice. */
  readonly highest: number;
  /** In rising order. */
  readonly versions: readonly Published[];
}

/** Versions of trainings that stay loaded: the one that serves, and one to go back to. Older ones are put aside. */
const KEPT_VERSIONS = 2;

/** Publishes what trainings made as new versions of models, and takes them back. */
export class Publisher {
  readonly #context: PublisherContext;

  constructor(context: PublisherContext) {
    this.#context = context;
  }

  /**
   * Checks, before anything is computed, that a new version of a model could be served.
   *
   * @throws {ShoalError} CONFLICT with what stands against it.
   */
  check(version: ModelVersion, output: string): void {
    const { name, source, settings } = version;
    const expected = path.join(path.resolve(this.#context.models), name, version.version, settings.modelFile);
    if (path.resolve(source.file) !== expected) {
      throw conflict(`model '${name}' is a single file; versions are published beside ${name}/1/${settings.modelFile}`);
    }
    if (settings.versions.kind === 'specific') {
      throw conflict(`the version policy of model '${name}' names its versions, so that a new one would not serve`);
    }
    if (settings.outputs.length > 0 && !settings.outputs.some((one) => one.name === output)) {
      throw conflict(`the configuration of model '${name}' lists its outputs, and '${output}' is none of them`);
    }
  }

  /**
   * Tries a new model out beside the version that serves, and puts it in its place if it is better on the examples
   * that were held back. Requests go on meanwhile; those that the old version has accepted are answered by it.
   *
   * @param base the version that the new one was made from.
   * @param model the new model, in pieces.
   * @param noted called with the new version's number before it appears in the models folder.
   */
  async publish(
    base: ModelVersion,
    model: readonly Uint8Array[],
    training: string,
    output: string,
    options: Omit<ScoreOptions, 'examples'> & { readonly examples: () => AsyncIterable<ScoredExample> },
    noted: (version: string) => Promise<void>,
  ): Promise<Publication> {
    const { registry } = this.#context;
    const { name, source } = base;
    const home = path.join(this.#context.models, name);
    const number = await this.#nextNumber(name);
    const made = this.#workPlace(name, training);
    try {
      const file = path.join(made, base.settings.modelFile);
      await this.#write(made, file, model, path.dirname(source.file));
      const trial = await registry.tryOut(await sourceAt(source, file, number));
      try {
        const { version } = trial;
        if (version.state !== 'ready') throw version.notReady();
        const candidate = await scoreVersion(version, output, { ...options, examples: options.examples() });
        if (candidate === undefined) throw conflict(`the new model has no output '${output}' that can be judged`);
        const before = registry.get(name, undefined);
        const serving = await scoreVersion(before, output, { ...options, examples: options.examples() });
        const compared = serving === undefined ? null : { ...serving, version: before.version };
        if (serving !== undefined && !isBetter(candidate, serving)) {
          const reason = `version ${before.version} has ${describeScore(serving)}, the new model ${describeScore(candidate)}`;
          return { outcome: 'not better', version: null, reason, candidate, serving: compared };
        }
        await trial.end();
        await noted(number);
        await this.#place(name, home, made, number, training);
        const than =
          serving === undefined
            ? `version ${before.version} has no such output to compare with`
            : `version ${before.version} has ${describeScore(serving)}`;
        const reason = `version ${number} has ${describeScore(candidate)}; ${than}`;
        return { outcome: 'published', version: number, reason, candidate, serving: compared };
      } finally {
        await trial.end();
      }
    } finally {
      await rm(made, { recursive: true, force: true }).catch(() => {});
    }
  }

  /** Removes what a training that was interrupted has left in the models folder. */
  async clean(name: string, training: string): Promise<void> {
    await rm(this.#workPlace(name, training), { recursive: true, force: true }).catch(() => {});
  }

  /** Where the version of a training lies until it is published; a folder that is never read as a version. */
  #workPlace(name: string, training: string): string {
    return path.join(this.#context.models, name, `.training-${training}`);
  }

  /** Whether a version is in the models folder. */
  async isThere(name: string, version: string): Promise<boolean> {
    return (await stat(path.join(this.#context.models, name, version)).catch(() => undefined)) !== undefined;
  }

  /**
   * Takes the version that serves back, if a training made it: the one before it serves again.
   *
   * @throws {ShoalError} MODEL_NOT_FOUND; CONFLICT when a training did not make it, or there is none before it.
   */
  async rollBack(name: string): Promise<{ readonly removed: string; readonly version: string }> {
    const { registry, control, models, log } = this.#context;
    const serving = registry.get(name, undefined).version;
    const notes = await this.#readNotes(name);
    if (!notes.versions.some(({ version }) => version === serving)) {
      throw conflict(`version ${serving} of model '${name}', which serves, was not published by a training`);
    }
    const others = registry.versions(name).filter((one) => one.isReady && one.version !== serving);
    if (others.length === 0) throw conflict(`model '${name}' has no other version to go back to`);
    const place = path.join(models, name, serving);
    const aside = path.join(models, name, `.rolled-back-${serving}`);
    await control.change(
      name,
      async () => moveFolder(place, aside),
      async () => moveFolder(aside, place),
    );
    await this.#writeNotes(name, {
      ...notes,
      versions: notes.versions.filter(({ version }) => version !== serving),
    });
    const { version } = registry.get(name, undefined);
    log.info({ model: name, version }, `model '${name}' was rolled back from version ${serving} to ${version}`);
    return { removed: serving, version };
  }

  async #nextNumber(name: string): Promise<string> {
    const folders = await readdir(path.join(this.#context.models, name));
    const numbers = folders.filter((entry) => /^\d{1,15}$/.test(entry)).map(Number);
    return String(Math.max((await this.#readNotes(name)).highest, ...numbers) + 1);
  }

  async #write(folder: string, file: string, model: readonly Uint8Array[], before: string): Promise<void> {
    const { makeFolder = mkdir } = this.#context;
    try {
      await rm(folder, { recursive: true, force: true });
      await makeFolder(folder);
      const handle = await open(file, 'wx');
      try {
        for (const piece of model) await handle.writeFile(piece);
        await handle.sync();
      } finally {
        await handle.close();
      }
      // Weights may lie in files of their own.
      for (const entry of await readdir(before, { withFileTypes: true })) {
        if (entry.name === path.basename(file) || entry.isDirectory()) continue;
        const [from, to] = [path.join(before, entry.name), path.join(folder, entry.name)];
        await link(from, to).catch(() => copyFile(from, to));
      }
      await syncFolder(folder);
    } catch (thrown) {
      throw storageFailed('the new version cannot be written into the models folder', thrown);
    }
  }

  async #place(name: string, home: string, made: string, number: string, training: string): Promise<void> {
    const { control, registry, log } = this.#context;
    const notes = await this.#readNotes(name);
    const versions = [...notes.versions, { version: number, training }];
    await this.#writeNotes(name, { highest: Number(number), versions });
    const place = path.join(home, number);
    const old = versions.slice(0, -KEPT_VERSIONS);
    const asideOf = (version: string): string => path.join(home, `.superseded-${version}`);
    try {
      await control.change(
        name,
        async () => {
          await moveFolder(made, place);
          for (const { version } of old) await moveFolder(path.join(home, version), asideOf(version)).catch(() => {});
        },
        async () => {
          await moveFolder(place, made);
          for (const { version } of old) await moveFolder(asideOf(version), path.join(home, version)).catch(() => {});
        },
      );
    } catch (thrown) {
      await this.#writeNotes(name, { ...notes, highest: Number(number) });
      throw thrown;
    }
    await this.#writeNotes(name, { highest: Number(number), versions: versions.slice(-KEPT_VERSIONS) });
    const serving = registry.get(name, undefined).version;
    log.info({ model: name, version: serving }, `training ${training} published version ${number} of model '${name}'`);
  }

  async #readNotes(name: string): Promise<Notes> {
    try {
      return JSON.parse(await readFile(this.#notesOf(name), 'utf8')) as Notes;
    } catch (thrown) {
      if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return { highest: 0, versions: [] };
      throw storageFailed(`what was published of model '${name}' cannot be read`, thrown);
    }
  }

  async #writeNotes(name: string, notes: Notes): Promise<void> {
    try {
      await writeWhole(this.#notesOf(name), [Buffer.from(`${JSON.stringify(notes)}\n`)]);
    } catch (thrown) {
      throw storageFailed(`what is published of model '${name}' cannot be noted`, thrown);
    }
  }

  #notesOf(name: string): string {
    return path.join(this.#context.notes, `${name}.json`);
  }
}

type ScoredExample = ScoreOptions['examples'] extends AsyncIterable<infer E> ? E : never;

/** A publication that failed. */
export function failedPublication(thrown: unknown): Publication {
  return { outcome: 'failed', version: null, reason: messageOf(thrown), candidate: null, serving: null };
}

async function sourceAt(base: ModelSource, file: string, version: string): Promise<ModelSource> {
  let bytes = 0;
  for (const entry of await readdir(path.dirname(file))) {
    bytes += (await stat(path.join(path.dirname(file), entry))).size;
  }
  return { ...base, version, file, bytes, problem: undefined, fingerprint: '' };
}

async function moveFolder(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
    await syncFolder(path.dirname(to));
  } catch (thrown) {
    throw storageFailed('a version cannot be moved in the models folder', thrown);
  }
}

function conflict(message: string): ShoalError {
  return new ShoalError('CONFLICT', message);
}
