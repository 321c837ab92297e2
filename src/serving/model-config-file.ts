import { open, stat } from 'node:fs/promises';
import path from 'node:path';
import { messageOf } from '../errors.ts';
import { isPlainName, settingsOf } from './model-config-mapping.ts';
import { type ModelConfigMessage, parseConfigJson, parseConfigText } from './model-config-message.ts';
import { DEFAULT_SETTINGS, type ModelSettings } from './model-settings.ts';
import { parseSamples, type Sample } from './samples.ts';

/** A model's configuration as found, or why it cannot be used. */
export interface ReadSettings {
  readonly settings: ModelSettings;
  /** Why the model cannot be served; undefined when all is well. */
  readonly problem: string | undefined;
}

const PARSERS = { 'config.pbtxt': parseConfigText, 'config.json': parseConfigJson } as const;

/** Largest configuration, list of labels and file of samples that are read. */
const MOST_CONFIG_BYTES = 1 << 20;
const MOST_LABEL_BYTES = 16 << 20;
const MOST_SAMPLE_BYTES = 16 << 20;

/**
 * Reads the configuration in a model's folder, `config.pbtxt` or `config.json`, and the labels it names. Never rejects.
 *
 * @param name of the model, which is the folder's.
 * @param override a configuration in JSON to use in place of the folder's.
 */
export async function readSettings(folder: string, name: string, override?: string): Promise<ReadSettings> {
  const found: (keyof typeof PARSERS)[] = [];
  for (const file of ['config.pbtxt', 'config.json'] as const)
    if (await exists(path.join(folder, file))) found.push(file);
  const file = override === undefined ? found[0] : 'config.json';
  if (file === undefined) return { settings: DEFAULT_SETTINGS, problem: undefined };
  const shown = override === undefined ? file : 'the configuration given';
  const failed = (thrown: unknown): ReadSettings => ({
    // It is not known which versions it is about, so that all of them say what is wrong.
    settings: { ...DEFAULT_SETTINGS, file },
    problem: `${shown}: ${messageOf(thrown)}`,
  });
  if (override === undefined && found.length > 1) {
    return failed(new Error(`there is ${found.join(' and ')} in ${name}/, expected one of them`));
  }
  try {
    const text = override ?? (await readText(path.join(folder, file), MOST_CONFIG_BYTES));
    const message = await PARSERS[file](text);
    const labels = await readLabels(folder, message);
    const samples = await readSamples(folder, message);
    return { settings: settingsOf(message, name, file, labels, samples), problem: undefined };
  } catch (thrown) {
    return failed(thrown);
  }
}

/** One label per line; the last line may end the file. */
async function readLabels(folder: string, message: ModelConfigMessage): Promise<Map<string, readonly string[]>> {
  const labels = new Map<string, readonly string[]>();
  for (const { name = '', label_filename: file } of message.output ?? []) {
    if (!file) continue;
    const field = `label_filename of output '${name}'`;
    if (!isPlainName(file)) throw new Error(`${field} is '${file}', expected the name of a file in the model's folder`);
    try {
      const text = await readText(path.join(folder, file), MOST_LABEL_BYTES);
      labels.set(name, text.replace(/\r?\n$/, '').split(/\r?\n/));
    } catch (thrown) {
      throw new Error(`${field}: ${messageOf(thrown)}`, { cause: thrown });
    }
  }
  return labels;
}

/** The requests in the file that `shoal.samples` names. */
async function readSamples(folder: string, { parameters }: ModelConfigMessage): Promise<readonly Sample[]> {
  const file = parameters?.['shoal.samples']?.string_value;
  if (file === undefined) return [];
  const field = 'parameter shoal.samples';
  if (!isPlainName(file)) throw new Error(`${field} is '${file}', expected the name of a file in the model's folder`);
  try {
    return parseSamples(await readText(path.join(folder, file), MOST_SAMPLE_BYTES));
  } catch (thrown) {
    throw new Error(`${field}: ${file}: ${messageOf(thrown)}`, { cause: thrown });
  }
}

/** @throws {Error} when it is no regular file, larger than `mostBytes`, or not UTF-8. */
async function readText(file: string, mostBytes: number): Promise<string> {
  const name = path.basename(file);
  const info = await stat(file).catch(() => undefined);
  if (info === undefined) throw new Error(`there is no file ${name}`);
  // Opening a pipe or a device would block for ever.
  if (!info.isFile()) throw new Error(`${name} is not a regular file`);
  if (info.size > mostBytes) throw new Error(`${name} has ${info.size} bytes, expected at most ${mostBytes}`);
  const handle = await open(file);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await handle.readFile());
  } catch (thrown) {
    if (thrown instanceof TypeError) throw new Error(`${name} is not UTF-8`, { cause: thrown });
    throw thrown;
  } finally {
    await handle.close();
  }
}

async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined)) !== undefined;
}
