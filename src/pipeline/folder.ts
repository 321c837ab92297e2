import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { messageOf, ServeError } from '../errors.ts';
import { isPipeline, type Pipeline } from './define.ts';
import { provideSelf } from './self-import.ts';

/** A pipeline and where it comes from. */
export interface PipelineSource {
  readonly name: string;
  readonly pipeline: Pipeline;
  /** Empty where a program registered it. */
  readonly file: string;
}

/** The value of `--pipelines` for the folder beside the models, where there is one. */
export const BESIDE_MODELS = 'auto';

/** The value for none. */
export const NO_FOLDER = 'off';

const SCRIPT = /\.(js|mjs|ts)$/;

/**
 * Loads the pipelines of a folder: `*.js`, `*.mjs`, and `*.ts` where Node.js itself strips types. Declarations, tests
 * and what begins with a dot or an underscore are passed over, so that modules they share can lie beside them.
 *
 * @param folder as the option gives it; {@link BESIDE_MODELS}: `pipelines` beside the models folder, if it is there.
 * @throws {ServeError} PIPELINE_INVALID when the folder is not there, or a file of it is no pipeline.
 */
export async function loadFolder(folder: string, models: string): Promise<PipelineSource[]> {
  if (folder === NO_FOLDER) return [];
  const isAuto = folder === BESIDE_MODELS;
  const place = path.resolve(isAuto ? path.join(models, '..', 'pipelines') : folder);
  let entries: string[];
  try {
    entries = await readdir(place);
  } catch (cause) {
    if (isAuto) return [];
    throw new ServeError('PIPELINE_INVALID', `the pipelines folder ${place} cannot be read: ${messageOf(cause)}`, {
      cause,
    });
  }
  const sources: PipelineSource[] = [];
  for (const entry of chooseFiles(entries)) sources.push(await loadFile(path.join(place, entry)));
  return sources;
}

/** The files that are pipelines; of one that lies there compiled too, the script. */
function chooseFiles(entries: readonly string[]): string[] {
  return entries
    .filter((entry) => SCRIPT.test(entry) && !/^[._]|\.(d|test)\.[a-z]+$/.test(entry))
    .filter((entry) => !entry.endsWith('.ts') || !entries.includes(`${entry.slice(0, -3)}.js`))
    .sort();
}

async function loadFile(file: string): Promise<PipelineSource> {
  if (file.endsWith('.ts') && !stripsTypes()) {
    const text = `the pipeline ${file} is TypeScript, which Node.js ${process.version} does not run; 22.18 and later do, or compile it to JavaScript`;
    throw new ServeError('PIPELINE_INVALID', text);
  }
  provideSelf(file);
  let module: { readonly default?: unknown };
  try {
    module = await import(pathToFileURL(file).href);
  } catch (cause) {
    throw new ServeError('PIPELINE_INVALID', `the pipeline ${file} cannot be loaded: ${messageOf(cause)}`, {
      cause,
    });
  }
  const pipeline = module.default;
  if (!isPipeline(pipeline)) {
    const text = `${file} has no pipeline as its default export; a module that pipelines share begins with an underscore`;
    throw new ServeError('PIPELINE_INVALID', text);
  }
  const name = pipeline.name ?? path.basename(file).replace(SCRIPT, '');
  return { name, pipeline, file };
}

/** Whether Node.js itself runs TypeScript; older ones do not know the feature at all. */
function stripsTypes(): boolean {
  return Boolean((process.features as { readonly typescript?: unknown }).typescript);
}
