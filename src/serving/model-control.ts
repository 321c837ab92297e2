import { type Config, ConfigError } from '../config.ts';
import { invalid, messageOf, ServeError, ShoalError } from '../errors.ts';
import type { ModelRegistry } from './registry.ts';
import { type ModelSource, scanModel, scanRepository } from './repository.ts';

/** Parameters of a load or unload request by name, as a protocol brought them. */
export type ControlParameters = Readonly<Record<string, unknown>>;

/** Which models a configuration wants, and where they lie. */
type ControlConfig = Pick<Config, 'models' | 'modelControlMode' | 'loadModel'>;

/** An operation on a model that has not ended. */
interface Operation {
  /** What a later operation of the same kind may join as long as this one has not begun; undefined: nothing. */
  readonly kind: 'load' | 'unload' | undefined;
  begun: boolean;
  readonly done: Promise<void>;
}

/** Every model, as a value of `--load-model`. */
const ALL = '*';

/**
 * What is to be served from the start: all models, or those that explicit model control names.
 *
 * @throws {ServeError} MODELS_MISSING, NAME_TWICE or NAME_INVALID. @throws {ConfigError} for a model that is not there.
 */
export async function findStartSources(config: ControlConfig): Promise<ModelSource[]> {
  const { models, modelControlMode, loadModel } = config;
  if (modelControlMode === 'none' || loadModel.includes(ALL)) return scanRepository(models);
  const sources: ModelSource[] = [];
  for (const name of loadModel) {
    const found = await scanModel(models, name);
    if (found.length === 0) throw new ConfigError('--load-model', name, `a model of the folder ${models}`);
    sources.push(...found);
  }
  return sources;
}

/**
 * Loads and unloads models while the server runs. Operations on one model come one after the other, on different models
 * at the same time.
 */
export class ModelControl {
  readonly #registry: ModelRegistry;
  readonly #config: ControlConfig;
  /** The last operation of each model that has any. */
  readonly #last: Map<string, Operation> = new Map();
  #stopped = false;

  constructor(registry: ModelRegistry, config: ControlConfig) {
    this.#registry = registry;
    this.#config = config;
  }

  /**
   * Reads a model's folder again and loads what is new or has changed; resolves when that is ready.
   *
   * What the model served before is served until then, and goes on being served if anything fails. A version that has
   * not changed is kept; one that is no longer in the folder is let go.
   *
   * @param parameters `config`: a configuration as JSON text that stands for the model's own until the next load.
   * @throws {ShoalError} CONTROL_DISABLED, MODEL_NOT_FOUND, LOAD_FAILED with the cause, INVALID_REQUEST or UNIMPLEMENTED
   * for parameters, SHUTTING_DOWN.
   */
  async load(name: string, parameters: ControlParameters = {}): Promise<void> {
    this.#check();
    const config = configOf(parameters);
    await this.#queue(name, config === undefined ? 'load' : undefined, () => this.#load(name, config));
  }

  /**
   * Has a model take no more requests; resolves when it does not, while those it has accepted are still answered and its
   * executors end after that. Unloading what is not loaded does nothing.
   *
   * @param parameters `unload_dependents`, which changes nothing: no model depends on another here.
   * @throws {ShoalError} CONTROL_DISABLED, MODEL_NOT_FOUND, INVALID_REQUEST for parameters, SHUTTING_DOWN.
   */
  async unload(name: string, parameters: ControlParameters = {}): Promise<void> {
    this.#check();
    checkUnloadParameters(parameters);
    await this.#queue(name, 'unload', () => this.#unload(name));
  }

  /**
   * Changes what lies in a served model's folder and loads that, whichever models are loaded by requests: for versions
   * that the server itself makes. If they cannot be loaded, the change is undone; what serves goes on meanwhile.
   *
   * @throws {ShoalError} CONFLICT when the model is not served, LOAD_FAILED, SHUTTING_DOWN; what `change` throws.
   */
  async change(name: string, change: () => Promise<void>, undo: () => Promise<void>): Promise<void> {
    if (this.#stopped) throw stopped();
    await this.#queue(name, undefined, async () => {
      if (this.#registry.find(name)?.isWanted !== true) {
        throw new ShoalError('CONFLICT', `model '${name}' is not served any more`);
      }
      await change();
      try {
        await this.#load(name, undefined);
      } catch (thrown) {
        await undo();
        await this.#load(name, undefined).catch(() => {});
        throw thrown;
      }
    });
  }

  /** Refuses further operations and ends loads that are under way; what is served is not touched. */
  stop(): void {
    this.#stopped = true;
    this.#registry.abandonLoads();
  }

  #check(): void {
    if (this.#config.modelControlMode === 'none') {
      throw new ShoalError(
        'CONTROL_DISABLED',
        'models are not loaded and unloaded by requests: the server was started without --model-control-mode explicit',
      );
    }
    if (this.#stopped) throw stopped();
  }

  /** Runs `task` after all earlier operations on the model, or joins the last one that does the same and has not begun. */
  #queue(name: string, kind: Operation['kind'], task: () => Promise<void>): Promise<void> {
    const last = this.#last.get(name);
    if (last !== undefined && !last.begun && kind !== undefined && last.kind === kind) return last.done;
    const run = async (): Promise<void> => {
      await last?.done.catch(() => {});
      operation.begun = true;
      if (this.#stopped) throw stopped();
      await task();
    };
    const operation: Operation = { kind, begun: false, done: Promise.resolve().then(run) };
    this.#last.set(name, operation);
    const forget = (): void => {
      if (this.#last.get(name) === operation) this.#last.delete(name);
    };
    operation.done.then(forget, forget);
    return operation.done;
  }

  async #load(name: string, config: string | undefined): Promise<void> {
    if (this.#registry.kindOf(name) === 'pipeline') {
      throw new ShoalError('LOAD_FAILED', `model '${name}' was not loaded: a pipeline has this name`);
    }
    const sources = await this.#read(name, config);
    if (sources.length === 0) {
      this.#registry.forget(name);
      throw notFound(name);
    }
    if (this.#stopped) throw stopped();
    await this.#registry.add(name).reload(sources, config !== undefined);
  }

  async #unload(name: string): Promise<void> {
    if (this.#registry.kindOf(name) === 'pipeline') {
      throw invalid(`'${name}' is a pipeline, which is served as long as the server runs`);
    }
    const model = this.#registry.find(name);
    if (model === undefined) {
      if ((await this.#read(name)).length === 0) throw notFound(name);
      return;
    }
    await model.settle();
    // What it has accepted is still to be answered; nobody waits for that here.
    void model.unload();
  }

  /** What lies in the folder for a model now. */
  async #read(name: string, config?: string): Promise<ModelSource[]> {
    try {
      return await scanModel(this.#config.models, name, config);
    } catch (thrown) {
      // Where the folder lies is not the caller's matter.
      const isTwice = thrown instanceof ServeError && thrown.code === 'NAME_TWICE';
      const reason = isTwice ? 'it is in the folder twice, as a file and as a folder' : withoutPath(messageOf(thrown));
      throw new ShoalError('LOAD_FAILED', `model '${name}' was not loaded: ${reason}`, { cause: thrown });
    }
  }
}

/**
 * The configuration that a load request brings; undefined when it brings none.
 *
 * @throws {ShoalError} INVALID_REQUEST for what is not known, UNIMPLEMENTED for what the protocol has and this server has not.
 */
function configOf(parameters: ControlParameters): string | undefined {
  let config: string | undefined;
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith('file:')) {
      throw new ShoalError(
        'UNIMPLEMENTED',
        `files of models are not taken from requests; '${name}' is not implemented`,
      );
    }
    if (name !== 'config') throw invalid(`the load parameter '${name}' is not known`);
    if (typeof value !== 'string') throw invalid(`config is ${JSON.stringify(value)}, expected a text that is JSON`);
    config = value;
  }
  return config;
}

/** @throws {ShoalError} INVALID_REQUEST for what is not known or not a boolean. */
function checkUnloadParameters(parameters: ControlParameters): void {
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null || value === undefined) continue;
    if (name !== 'unload_dependents') throw invalid(`the unload parameter '${name}' is not known`);
    if (typeof value !== 'boolean')
      throw invalid(`unload_dependents is ${JSON.stringify(value)}, expected true or false`);
  }
}

/** A message of the file system without the path at its end. */
function withoutPath(message: string): string {
  return message.replace(/,? '[^']*'/g, '');
}

function notFound(name: string): ShoalError {
  return new ShoalError('MODEL_NOT_FOUND', `there is no model '${name}' in the models folder`);
}

function stopped(): ShoalError {
  return new ShoalError('SHUTTING_DOWN', 'the server is shutting down; models are not loaded and unloaded any more');
}
