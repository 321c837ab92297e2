import { createServer, type Server as NetServer, type Socket } from 'node:net';
import {
  type ConnectionInjector,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { ShoalError } from '../errors.ts';
import { loadDefinitions, withRawRequests } from './definitions.ts';
import { Health } from './health.ts';
import { InferStream } from './infer-stream.ts';
import { inferUnary } from './infer-unary.ts';
import { inferenceMethods } from './inference.ts';
import { implement } from './methods.ts';
import type { GrpcParts } from './parts.ts';

/** Streams that one connection may have open; more wait at the client. */
const MAX_STREAMS = 1024;

/** After this long without a sign a connection is asked whether its client is still there, and how long it may take. */
const KEEPALIVE_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

/** The gRPC server: it listens on a socket of its own and serves what HTTP serves. */
export class GrpcDoor {
  readonly #parts: GrpcParts;
  readonly #server: Server;
  readonly #injector: ConnectionInjector;
  readonly #listener: NetServer;
  readonly #sockets: Set<Socket> = new Set();
  readonly #streams: Set<InferStream> = new Set();
  readonly #health: Health;
  /** Called when no connection is left. */
  #whenEmpty: (() => void) | undefined;

  constructor(parts: GrpcParts) {
    this.#parts = parts;
    const { bodyLimitBytes } = parts.config;
    this.#server = new Server({
      // Its books would cost each call more than decoding a small request.
      'grpc.enable_channelz': 0,
      'grpc.max_receive_message_length': bodyLimitBytes,
      // Replies are measured where they are made, so that their callers are told in our words.
      'grpc.max_send_message_length': -1,
      'grpc.max_concurrent_streams': MAX_STREAMS,
      'grpc.keepalive_time_ms': KEEPALIVE_MS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    });
    const { inference, health, all } = loadDefinitions();
    this.#health = new Health(parts, health['Check']!.requestDeserialize);
    this.#server.addService(withRawRequests(inference, ['ModelInfer', 'ModelStreamInfer']), {
      ...implement(inference, inferenceMethods(parts), parts.logger),
      ModelInfer: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) =>
        inferUnary(parts, call, callback),
      ModelStreamInfer: (call: ServerDuplexStream<Buffer, Buffer>) => {
        const stream = new InferStream(parts, call, () => this.#streams.delete(stream));
        this.#streams.add(stream);
      },
    });
    this.#server.addService(withRawRequests(health), {
      ...implement(health, this.#health.methods, parts.logger),
      Watch: (call: ServerWritableStream<Buffer, object>) => this.#health.watch(call),
    });
    new ReflectionService(all).addToServer(this.#server);
    this.#injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#listener = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  }

  /** Listens; resolves with the address as gRPC's clients take it: `127.0.0.1:8001`. Rejects with Node's error. */
  listen(host: string, port: number): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen({ host, port }, () => {
        this.#listener.off('error', reject);
        const address = this.#listener.address();
        const bound = typeof address === 'object' && address !== null ? address.port : port;
        resolve(`${host.includes(':') ? `[${host}]` : host}:${bound}`);
      });
    });
  }

  /** Accepts no more calls; resolves when those under way have been answered, or when the time is over. */
  async drain(timeoutMs: number): Promise<void> {
    const { clock } = this.#parts;
    const error = new ShoalError('SHUTTING_DOWN', 'the server is shutting down');
    this.#listener.close();
    this.#health.close(error);
    for (const stream of [...this.#streams]) stream.drain(error);
    let timer: { cancel(): void } | undefined;
    await new Promise<void>((resolve) => {
      timer = clock.setTimer(timeoutMs, resolve);
      // Has clients know that no call beyond those seen so far will be answered, and ends each connection after its last
      // one. `tryShutdown` would do the same, and on Node.js 24 not wait: closing a server closes its sessions there,
      // which it then takes for ended ones.
      this.#injector.drain(timeoutMs);
      this.#whenEmpty = resolve;
      this.#checkEmpty();
    });
    timer!.cancel();
    this.close();
  }

  /** Ends all connections at once. */
  close(): void {
    if (this.#listener.listening) this.#listener.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#server.forceShutdown();
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#checkEmpty();
    });
    this.#injector.injectConnection(socket);
  }

  #checkEmpty(): void {
    if (this.#sockets.size === 0) this.#whenEmpty?.();
  }
}
