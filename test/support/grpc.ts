import assert from 'node:assert/strict';
import {
  type CallOptions,
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  Metadata,
  makeGenericClientConstructor,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { loadDefinitions } from '../../src/grpc/definitions.ts';
import { GRPC_STATUS } from '../../src/grpc/status.ts';
import type { ErrorCode } from '../../src/index.ts';

/** A gRPC client as others are made: grpc-js with protobufjs' own codec, over a real socket. */

export type Message = Readonly<Record<string, unknown>>;

/** How a call with one reply ended. */
export interface Outcome {
  /** Undefined when it succeeded. */
  readonly error: ServiceError | undefined;
  readonly reply: Message | undefined;
  /** Trailing metadata of a success. */
  readonly trailers: Metadata;
}

/** A tensor of a reply. */
export interface GrpcTensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly string[];
  readonly contents: Readonly<Record<string, readonly unknown[]>> | null;
}

/** A `ModelInferResponse`. */
export interface GrpcReply {
  readonly model_name: string;
  readonly model_version: string;
  readonly id: string;
  readonly parameters: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly outputs: readonly GrpcTensor[];
  readonly raw_output_contents: readonly Buffer[];
}

const definitions = loadDefinitions();
const Inference = makeGenericClientConstructor(definitions.inference, 'GRPCInferenceService');
const HealthService = makeGenericClientConstructor(definitions.health, 'Health');

/** The methods of both services. */
export class GrpcClient {
  readonly address: string;
  readonly #inference: Client;
  readonly #health: Client;

  constructor(address: string, options: Readonly<Record<string, string | number>> = {}) {
    this.address = address;
    // A pool of its own: clients of one process would share their connections, and with them their limits.
    const own = { 'grpc.use_local_subchannel_pool': 1, 'grpc.max_receive_message_length': -1, ...options };
    this.#inference = new Inference(address, credentials.createInsecure(), own);
    this.#health = new HealthService(address, credentials.createInsecure(), own);
  }

  close(): void {
    this.#inference.close();
    this.#health.close();
  }

  /** A call with one request and one reply. */
  call(
    method: string,
    request: Message,
    options: CallOptions = {},
    metadata: Metadata = new Metadata(),
  ): Promise<Outcome> {
    return this.start(method, request, options, metadata).outcome;
  }

  /** {@link call} that can be cancelled. */
  start(
    method: string,
    request: Message,
    options: CallOptions = {},
    metadata: Metadata = new Metadata(),
  ): { readonly outcome: Promise<Outcome>; readonly cancel: () => void } {
    const isHealth = definitions.health[method] !== undefined;
    const { path, requestSerialize, responseDeserialize } = definitions[isHealth ? 'health' : 'inference'][method]!;
    const client = isHealth ? this.#health : this.#inference;
    let cancel = (): void => {};
    const outcome = new Promise<Outcome>((resolve) => {
      let result: Omit<Outcome, 'trailers'> = { error: undefined, reply: undefined };
      const call = client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        options,
        (error, reply) => {
          result = { error: error ?? undefined, reply };
        },
      );
      call.on('status', ({ metadata: trailers }) => setImmediate(() => resolve({ ...result, trailers })));
      cancel = () => call.cancel();
    });
    return { outcome, cancel };
  }

  /** The reply of a call that must succeed. */
  async ok(method: string, request: Message = {}, options: CallOptions = {}): Promise<Message> {
    const { error, reply } = await this.call(method, request, options);
    assert.equal(error, undefined);
    return reply!;
  }

  /** The reply of an inference that must succeed. */
  async infer(request: Message, options: CallOptions = {}): Promise<GrpcReply> {
    return (await this.ok('ModelInfer', request, options)) as unknown as GrpcReply;
  }

  /** Sends bytes as the message of a method, whatever they are. */
  sendBytes(method: string, bytes: Buffer): Promise<Outcome> {
    const { path } = definitions.inference[method] ?? definitions.health[method]!;
    return new Promise((resolve) => {
      const identity = (value: Buffer): Buffer => value;
      this.#inference.makeUnaryRequest(path, identity, identity, bytes, (error) =>
        resolve({ error: error ?? undefined, reply: undefined, trailers: new Metadata() }),
      );
    });
  }

  streamInfer(options: CallOptions = {}): ClientDuplexStream<Message, Message> {
    const { path, requestSerialize, responseDeserialize } = definitions.inference['ModelStreamInfer']!;
    return this.#inference.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata(), options);
  }

  watch(service: string): ClientReadableStream<Message> {
    const { path, requestSerialize, responseDeserialize } = definitions.health['Watch']!;
    return this.#health.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { service });
  }
}

/** Checks that a call failed with this code, its status and our text. @returns the text. */
export function expectRefusal({ error }: Outcome, code: ErrorCode, text: RegExp = /./): string {
  assert.ok(error !== undefined, 'the call succeeded');
  assert.equal(status[error.code], status[GRPC_STATUS[code]], error.details);
  assert.deepEqual(error.metadata.get('shoal-error-code'), [code], error.details);
  assert.match(error.details, text);
  return error.details;
}
