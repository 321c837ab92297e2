import type {
  AnyModels,
  BytesForm,
  InputsOf,
  InputTensor,
  ModelMap,
  ModelName,
  OutputName,
  OutputsOf,
} from '../tensor/signature-types.ts';
import type { Answer, ReplyHeaders } from './answer.ts';
import { badReply } from './answer.ts';
import { decodeReply, parse, parseAny } from './decode.ts';
import { encodeRequest } from './encode.ts';
import { badArgument } from './errors.ts';
import type { CallOptions, ClientOptions, InferOptions, ModelOptions, ParameterValue } from './options.ts';
import type { ModelMetadata, ModelStatistics, RepositoryEntry, ServerMetadata } from './replies.ts';
import { type Exchange, Transport } from './transport.ts';

/** The answer to an inference. */
export interface InferReply<Outputs> {
  /** As given with the request. */
  readonly id: string | undefined;
  readonly modelName: string;
  /** The version that ran. */
  readonly modelVersion: string;
  /**
   * By name. Arrays are views of the reply's memory where their bytes are aligned, otherwise copies. The memory is the
   * caller's: nothing else writes to it, and it lives as long as any output of the reply does.
   */
  readonly outputs: Outputs;
  /** The HTTP headers, such as `server-timing`. */
  readonly headers: ReplyHeaders;
}

/** What is loaded beside the model's name. */
export interface LoadOptions extends CallOptions {
  /** A model configuration to load it with (Triton's `config` parameter). */
  readonly config?: object | undefined;
}

/**
 * A client of a server that speaks the Open Inference Protocol over HTTP: Shoal, Triton, KServe and others.
 *
 * `Models` is an interface as `shoal types` writes it; with it, calls that do not fit the models do not compile. Without
 * it every name and shape is taken.
 *
 * All methods reject with a {@link ShoalClientError}. Failures that may pass are tried again (see `RetryOptions`) within
 * the call's time. Connections are kept; {@link ShoalClient.close} closes them.
 */
export class ShoalClient<Models extends ModelMap<Models> = AnyModels> implements AsyncDisposable {
  readonly #transport: Transport;
  readonly #options: ClientOptions;

  /**
   * @param address of the server, such as `http://127.0.0.1:8000`; a path in it comes before the protocol's.
   * @throws {ShoalClientError} BAD_ARGUMENT for an address that is none.
   */
  constructor(address: string | URL, options: ClientOptions = {}) {
    this.#transport = new Transport(address, options);
    this.#options = options;
  }

  /**
   * Runs a model.
   *
   * @param inputs by name, each with its elements and shape. The arrays are sent in place: they must not change before
   * the promise has settled.
   */
  async infer<
    M extends ModelName<Models>,
    O extends OutputName<Models[M]> = OutputName<Models[M]>,
    B extends BytesForm = 'text',
  >(
    model: M,
    inputs: InputsOf<Models[M]>,
    options: InferOptions<O, B> = {},
  ): Promise<InferReply<OutputsOf<Models[M], O, B>>> {
    const { id, bytes = 'text', format = this.#options.format ?? 'binary' } = options;
    // An empty list stands for all, as it does in the protocol.
    const outputs = options.outputs?.length ? options.outputs : undefined;
    const parameters = parametersOf(options);
    const { headers, pieces } = encodeRequest(
      inputs as Record<string, InputTensor>,
      { id, outputs, parameters },
      format,
    );
    const { compressRequests, compressReplies } = this.#options;
    const answer = await this.#transport.send({
      method: 'POST',
      path: `${modelPath(model, options.version)}/infer`,
      headers: compressReplies === undefined ? headers : { ...headers, 'accept-encoding': compressReplies },
      pieces,
      compress: compressRequests,
      repeatable: 'always',
      options,
    });
    const reply = decodeReply(answer, bytes);
    for (const name of outputs ?? []) {
      if (!Object.hasOwn(reply.outputs, name)) throw badReply(answer, `it lacks the output '${name}'`);
    }
    // That the server runs the models whose types were given is the caller's word.
    return { ...reply, outputs: reply.outputs as OutputsOf<Models[M], O, B> };
  }

  /** Whether the server runs. Rejects when it cannot be reached. */
  isLive(options: CallOptions = {}): Promise<boolean> {
    return this.#ask('/v2/health/live', options);
  }

  /** Whether the server takes requests for all its models. Rejects when it cannot be reached. */
  isReady(options: CallOptions = {}): Promise<boolean> {
    return this.#ask('/v2/health/ready', options);
  }

  /** Whether a model takes requests; false for an unknown one, too. Rejects when the server cannot be reached. */
  isModelReady(model: ModelName<Models>, options: ModelOptions = {}): Promise<boolean> {
    return this.#ask(`${modelPath(model, options.version)}/ready`, options);
  }

  /** What the server is, and which extensions it has. */
  async serverMetadata(options: CallOptions = {}): Promise<ServerMetadata> {
    return fields<ServerMetadata>(await this.#get('/v2', options), { name: 'string', extensions: 'array' });
  }

  /** What a model takes and gives. */
  async modelMetadata(model: ModelName<Models>, options: ModelOptions = {}): Promise<ModelMetadata> {
    const answer = await this.#get(modelPath(model, options.version), options);
    return fields<ModelMetadata>(answer, { name: 'string', inputs: 'array', outputs: 'array' });
  }

  /** A model's configuration, the JSON form of Triton's `ModelConfig`. */
  async modelConfig(model: ModelName<Models>, options: ModelOptions = {}): Promise<Readonly<Record<string, unknown>>> {
    return parse(await this.#get(`${modelPath(model, options.version)}/config`, options));
  }

  /** What has been counted, one entry for each version of a model, or of all models when none is named. */
  async statistics(model?: ModelName<Models>, options: ModelOptions = {}): Promise<readonly ModelStatistics[]> {
    const path = model === undefined ? '/v2/models' : modelPath(model, options.version);
    const answer = await this.#get(`${path}/stats`, options);
    return fields<{ model_stats: readonly ModelStatistics[] }>(answer, { model_stats: 'array' }).model_stats;
  }

  /** All model versions that the server knows; `ready`: only those that answer. */
  async repositoryIndex(
    options: CallOptions & { readonly ready?: boolean | undefined } = {},
  ): Promise<readonly RepositoryEntry[]> {
    const body = options.ready === undefined ? {} : { ready: options.ready };
    const answer = await this.#post('/v2/repository/index', body, 'always', options);
    const index = parseAny(answer);
    if (Array.isArray(index)) return index as readonly RepositoryEntry[];
    throw badReply(answer, 'it is no array');
  }

  /** Loads a model, or loads it anew; resolves when it answers. Tried again only where nothing reached the server. */
  async loadModel(model: ModelName<Models>, options: LoadOptions = {}): Promise<void> {
    const body = options.config === undefined ? {} : { parameters: { config: JSON.stringify(options.config) } };
    await this.#post(`/v2/repository/models/${encodeURIComponent(model)}/load`, body, 'unsent', options);
  }

  /** Unloads a model; requests under way are still answered. Tried again only where nothing reached the server. */
  async unloadModel(model: ModelName<Models>, options: CallOptions = {}): Promise<void> {
    await this.#post(`/v2/repository/models/${encodeURIComponent(model)}/unload`, {}, 'unsent', options);
  }

  /** Takes no more calls, waits for those under way, and closes every connection. A pause before a further try ends. */
  close(): Promise<void> {
    return this.#transport.close();
  }

  /** {@link ShoalClient.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #get(path: string, options: CallOptions): Promise<Answer> {
    return this.#transport.send({ method: 'GET', path, repeatable: 'always', options });
  }

  #post(path: string, body: object, repeatable: Exchange['repeatable'], options: CallOptions): Promise<Answer> {
    const pieces = [Buffer.from(JSON.stringify(body))];
    const headers = { 'content-type': 'application/json' };
    return this.#transport.send({ method: 'POST', path, headers, pieces, repeatable, options });
  }

  async #ask(path: string, options: CallOptions): Promise<boolean> {
    const accepts = (): boolean => true;
    const { status } = await this.#transport.send({ method: 'GET', path, repeatable: 'always', options, accepts });
    return status === 200;
  }
}

function modelPath(model: string, version: string | undefined): string {
  if (model === '') throw badArgument('the name of the model is empty');
  const path = `/v2/models/${encodeURIComponent(model)}`;
  return version === undefined ? path : `${path}/versions/${encodeURIComponent(version)}`;
}

function parametersOf({ parameters, priority, queueTimeoutMs }: InferOptions): Record<string, ParameterValue> {
  const all: Record<string, ParameterValue> = { ...parameters };
  if (priority !== undefined) all['priority'] = wholeNumber('priority', priority);
  // The protocol counts microseconds.
  if (queueTimeoutMs !== undefined) all['timeout'] = Math.ceil(wholeNumber('queueTimeoutMs', queueTimeoutMs) * 1000);
  return all;
}

function wholeNumber(name: string, value: number): number {
  if (value >= 0 && (name !== 'priority' || Number.isSafeInteger(value))) return value;
  throw badArgument(`${name} is ${value}, expected ${name === 'priority' ? 'a whole number' : 'milliseconds'} from 0`);
}

/** The JSON of an answer, looked at as far as callers would stumble over it. */
function fields<T>(answer: Answer, wanted: Readonly<Record<string, 'string' | 'array'>>): T {
  const parsed = parse(answer);
  for (const [key, kind] of Object.entries(wanted)) {
    const value = parsed[key];
    if (kind === 'array' ? !Array.isArray(value) : typeof value !== kind) {
      throw badReply(answer, `its ${key} is ${JSON.stringify(value)}, expected ${kind}`);
    }
  }
  return parsed as T;
}
