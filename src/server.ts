import { Server as NetServer, type Socket } from 'node:net';
import { type FastifyInstance, fastify } from 'fastify';
import { monotonicMs } from './clock.ts';
import type { Config, ConfigInput } from './config.ts';
import type { GrpcDoor } from './grpc/door.ts';
import { addMetricsOnly } from './http/app.ts';
import { answerClientError, answerConnect } from './http/client-error.ts';
import { keepTicksFast } from './http/next-tick.ts';
import { handleError } from './http/replies.ts';
import { requestIds } from './http/request-id.ts';
import { type InferResult, Service, type ServiceDeps } from './service.ts';
import type { ControlParameters } from './serving/model-control.ts';
import type { InferOptions, ModelSummary } from './serving/model-version.ts';
import type { IndexEntry } from './serving/served-model.ts';
import type { Tensor } from './tensor/tensor.ts';

export type { ModelSummary };

/** Limits that protect connections; tests shorten them. */
export interface ConnectionLimits {
  /** How long a client may take to send a request's headers; default 20 s. */
  readonly headersTimeoutMs: number;
  /** How long it may take for headers and body together; default 120 s. */
  readonly requestTimeoutMs: number;
  /** How long a connection may idle between requests; default 75 s. */
  readonly keepAliveTimeoutMs: number;
  /** How often the first two are looked at; default 1 s. */
  readonly checkMs: number;
}

const LIMITS: ConnectionLimits = {
  headersTimeoutMs: 20_000,
  requestTimeoutMs: 120_000,
  // Above the pools' own limits, so that it is they who close.
  keepAliveTimeoutMs: 75_000,
  checkMs: 1000,
};

/** How long an idle connection is kept while draining, for a request that may be on its way. */
const IDLE_GRACE_MS = 500;
const DRAIN_CHECK_MS = 20;

/** Longest model name in a path. */
const MAX_NAME_LENGTH = 512;

/** A server: models, HTTP, and an orderly end. */
export interface ShoalServer {
  /** Models, metrics and everything that needs no socket. */
  readonly service: Service;
  /** The Fastify instance, for further routes and hooks before `listen`. */
  readonly app: FastifyInstance;
  /** Starts to listen; models go on loading. Resolves with the base URL. */
  listen(): Promise<string>;
  /** Where `GET /metrics` is; the base URL unless it has a port of its own. Known after `listen`. */
  readonly metricsUrl: string | undefined;
  /** Where gRPC is, as its clients take it: `127.0.0.1:8001`; undefined when it is off. Known after `listen`. */
  readonly grpcAddress: string | undefined;
  /** Resolves when every model is ready or failed. */
  loaded(): Promise<void>;
  summary(): ModelSummary[];
  /** See {@link ModelControl.load}. */
  load(model: string, parameters?: ControlParameters): Promise<void>;
  /** See {@link ModelControl.unload}. */
  unload(model: string): Promise<void>;
  /** See {@link ModelRegistry.index}. */
  index(readyOnly?: boolean): Promise<IndexEntry[]>;
  /** See {@link Service.infer}. */
  infer(
    model: string,
    inputs: Readonly<Record<string, Tensor>>,
    options?: InferOptions & { readonly version?: string | undefined },
  ): Promise<InferResult>;
  /**
   * Ends in order: not ready; after the drain delay no new connections; every request whose head has been read is
   * answered, on kept-alive connections too; executors are let go. Repeated calls join the first.
   */
  close(): Promise<void>;
}

/**
 * Builds a server from options as in `shoal.config.json`.
 *
 * @throws {ConfigError} for a wrong option.
 * @throws {ServeError} when the models folder cannot be served.
 */
export async function createServer(
  options: ConfigInput | Config = {},
  deps: ServiceDeps & { readonly limits?: Partial<ConnectionLimits> } = {},
): Promise<ShoalServer> {
  keepTicksFast();
  const service = await Service.create(options, deps);
  const { config } = service;
  const limits = { ...LIMITS, ...deps.limits };
  const app = createApp(service, limits);
  app.register(service.plugin, { ownsUnknownPaths: true });
  const sockets = trackSockets(app);
  const metricsApp = config.metricsPort === undefined ? undefined : createApp(service, limits);
  if (metricsApp !== undefined) addMetricsOnly(metricsApp, service);

  // A process may also end without closing, by a second signal or a fault; an executor in the middle of a run would
  // outlive it, a hung one for ever.
  const killExecutors = (): void => service.registry.kill();
  process.once('exit', killExecutors);

  // Loaded only where it is asked for.
  const grpc: GrpcDoor | undefined =
    config.grpcPort === undefined ? undefined : new (await import('./grpc/door.ts')).GrpcDoor(service.httpParts());

  let metricsUrl: string | undefined;
  let grpcAddress: string | undefined;
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    service.startDraining();
    let leftMs = config.drainTimeoutMs;
    if (app.server.listening) {
      if (config.drainDelayMs > 0) await sleep(config.drainDelayMs);
      service.closeConnections();
      const start = monotonicMs();
      await Promise.all([drainConnections(app, sockets, leftMs), grpc?.drain(leftMs)]);
      leftMs -= monotonicMs() - start;
    }
    await service.drain(Math.max(0, leftMs));
    app.server.closeAllConnections();
    await app.close();
    grpc?.close();
    metricsApp?.server.closeAllConnections();
    await metricsApp?.close();
    process.off('exit', killExecutors);
  };

  return {
    service,
    app,
    get metricsUrl() {
      return metricsUrl;
    },
    get grpcAddress() {
      return grpcAddress;
    },
    async listen() {
      const url = await listen(app, config.host, config.port);
      metricsUrl = metricsApp === undefined ? url : await listen(metricsApp, config.host, config.metricsPort!);
      grpcAddress = await grpc?.listen(config.host, config.grpcPort!);
      return url;
    },
    loaded: () => service.loaded(),
    summary: () => service.summary(),
    load: (model, parameters) => service.load(model, parameters),
    unload: (model) => service.unload(model),
    index: (readyOnly) => service.index(readyOnly),
    infer: (model, inputs, inferOptions) => service.infer(model, inputs, inferOptions),
    close() {
      closed ??= close();
      return closed;
    },
  };
}

function createApp(service: Service, limits: ConnectionLimits): FastifyInstance {
  const app = fastify({
    // Fastify's logging costs each request two listeners and a child logger; what Shoal logs names its request itself.
    logger: false,
    genReqId: requestIds(),
    return503OnClosing: false,
    forceCloseConnections: false,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    routerOptions: { maxParamLength: MAX_NAME_LENGTH },
    http: {
      headersTimeout: limits.headersTimeoutMs,
      connectionsCheckingInterval: limits.checkMs,
      // Node would refuse such a request without a word; the routes' own check says why, as for every error.
      requireHostHeader: false,
    },
    clientErrorHandler: answerClientError,
    frameworkErrors: (error, request, reply) => handleError(error, request, reply, service.logger),
  });
  // For the same reason.
  app.server.on('connect', answerConnect);
  app.server.on('checkContinue', (request, response) => {
    // Behind an unanswered request Node would put it between the head and the body of the final response.
    if (response.socket !== null) response.writeContinue();
    app.server.emit('request', request, response);
  });
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response));
  return app;
}

async function listen(app: FastifyInstance, host: string, port: number): Promise<string> {
  await app.listen({ host, port });
  const address = app.server.address();
  const bound = typeof address === 'object' && address !== null ? address.port : port;
  return `http://${host.includes(':') ? `[${host}]` : host}:${bound}`;
}

/** The open connections of an app, kept up to date. */
function trackSockets(app: FastifyInstance): ReadonlySet<Socket> {
  const sockets: Set<Socket> = new Set();
  app.server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return sockets;
}

/**
 * Stops accepting and waits until all connections are gone. `http.Server.close` would cut idle ones at once, with
 * requests that are on their way; so only the listening socket is closed, answers close their connections, and who
 * stays idle is closed after a moment.
 */
async function drainConnections(app: FastifyInstance, sockets: Iterable<Socket>, timeoutMs: number): Promise<void> {
  const { server } = app;
  const start = monotonicMs();
  const allClosed = new Promise<void>((resolve) => {
    NetServer.prototype.close.call(server, () => resolve());
  });
  const tick = setInterval(() => {
    const elapsedMs = monotonicMs() - start;
    if (elapsedMs > Math.min(IDLE_GRACE_MS, timeoutMs)) {
      server.closeIdleConnections();
      // Node counts a connection that was never used as busy.
      for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
    }
    // Not only those that Node still takes for its own.
    if (elapsedMs > timeoutMs) for (const socket of sockets) socket.destroy();
  }, DRAIN_CHECK_MS);
  await allClosed;
  clearInterval(tick);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
