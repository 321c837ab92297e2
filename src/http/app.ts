import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ShoalError } from '../errors.ts';
import { PipelineVersion } from '../pipeline/pipeline-version.ts';
import { errorTiming } from '../protocol/server-timing.ts';
import { AnswerLog } from './answer-log.ts';
import { BodyInflater } from './body-inflater.ts';
import { readContentEncoding } from './content-coding.ts';
import { addDocsRoutes } from './docs.ts';
import { addLoggingRoutes } from './logging-routes.ts';
import { addOpenApiRoutes } from './openapi/routes.ts';
import { renderPage } from './page.ts';
import { type HttpParts, NOTED, type Noted, notedOf } from './parts.ts';
import { addPipelineRoutes } from './pipelines/routes.ts';
import { handleError, sendJson } from './replies.ts';
import { addRepositoryRoutes } from './repository.ts';
import { refuseHead } from './request-head.ts';
import { notAllowed, Routes } from './routes.ts';
import { addTrainingRoutes } from './training-routes.ts';
import { addUnimplementedRoutes } from './unimplemented.ts';
import { addV1Routes } from './v1.ts';
import { addV2Routes } from './v2.ts';

/**
 * Adds all routes to `app`, which should be an encapsulated context: its body parser, hooks and error handler are
 * replaced, and nothing outside of it is touched.
 */
export function addRoutes(app: FastifyInstance, parts: HttpParts): void {
  const { config, clock } = parts;
  const routes = new Routes(app);
  const answers = new AnswerLog(parts);
  app.addHook('onClose', async () => answers.close());

  // No decision hangs on the request's media type: real clients send anything there, or nothing.
  app.removeAllContentTypeParsers();
  const inflater = new BodyInflater(config.bodyLimitBytes, config.maxQueueBytes);
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: config.bodyLimitBytes }, (request, body, done) => {
    if (readContentEncoding(request.headers['content-encoding']) === undefined) done(null, body);
    else inflateBody(inflater, parts, request, body as Buffer).then((plain) => done(null, plain), done);
  });
  app.decorateRequest(NOTED);
  app.addHook('onRequest', (request, reply, done) => {
    const noted: Noted = { receivedMs: clock.now(), model: undefined, reply, release: undefined };
    (request as FastifyRequest & { [NOTED]: Noted })[NOTED] = noted;
    const { headers } = request.raw;
    // Fastify refuses what it cannot parse, even with a parser for everything.
    headers['content-type'] = undefined;
    if (headers['x-request-id'] !== undefined) reply.header('x-request-id', request.id);
    if (parts.isDraining()) reply.header('connection', 'close');
    if (answers.isOn) answers.watch(request, reply, noted.receivedMs);
    try {
      if (request.is404) {
        const allow = routes.allowAt(pathOf(request));
        if (allow === undefined) throw nothingAt(request);
        reply.header('allow', allow);
        throw notAllowed(request.method, allow);
      }
      refuseHead(request.raw);
      done();
    } catch (error) {
      done(error as ShoalError);
    }
  });
  app.setErrorHandler((thrown, request, reply) => {
    // The hook has not seen requests of methods that Fastify has no routes for, such as DESCRIBE.
    const noted: Noted | undefined = notedOf(request);
    if (noted !== undefined && !reply.hasHeader('server-timing')) {
      reply.header('server-timing', errorTiming(noted.receivedMs, undefined, clock.now()));
    }
    handleError(thrown, request, reply, parts.logger);
  });

  addV2Routes(routes, parts);
  addRepositoryRoutes(routes, parts);
  addV1Routes(routes, parts);
  addPipelineRoutes(app, routes, parts);
  addLoggingRoutes(routes, parts);
  addTrainingRoutes(routes, parts);
  addUnimplementedRoutes(routes);
  addOpenApiRoutes(routes, parts, app.prefix);
  addDocsRoutes(routes);
  routes.add('GET', '/', (request, reply) => {
    if (!request.headers.accept?.includes('text/html')) return sendJson(reply, 200, { status: 'alive' });
    const { build, registry } = parts;
    const page = renderPage(
      build.version,
      registry.summary(),
      parts.notReady(),
      pathOf(request),
      registry.pipelines.filter((one): one is PipelineVersion => one instanceof PipelineVersion),
    );
    return reply
      .header('content-type', 'text/html; charset=utf-8')
      .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'; img-src data:")
      .send(Buffer.from(page));
  });
  if (config.metricsPort === undefined) addMetricsRoute(routes, parts);
  routes.finish();
}

/** Expands the body of a request that is still wanted when it is its turn. */
async function inflateBody(
  inflater: BodyInflater,
  { clock, config }: HttpParts,
  request: FastifyRequest,
  body: Buffer,
): Promise<Buffer> {
  const noted = notedOf(request);
  const { socket } = request.raw;
  const { bytes, release } = await inflater.inflate(body, () => {
    if (socket.destroyed) throw new ShoalError('CANCELLED', 'the caller left');
    if (clock.now() - noted.receivedMs < config.requestTimeoutMs) return;
    throw new ShoalError('DEADLINE_EXCEEDED', 'the time of the request passed before its body could be expanded');
  });
  noted.release = release;
  const { raw } = noted.reply;
  raw.once('finish', release);
  raw.once('close', release);
  return bytes;
}

/** Answers for every path that has no route. */
export function addUnknownPaths(app: FastifyInstance): void {
  // Behind the routes' hook, which refuses such a request before its body is read.
  app.setNotFoundHandler((request) => {
    throw nothingAt(request);
  });
}

function nothingAt(request: FastifyRequest): ShoalError {
  return new ShoalError('NOT_FOUND', `there is nothing at ${request.method} ${pathOf(request)}`);
}

function pathOf({ url }: FastifyRequest): string {
  return url.split('?', 1)[0]!;
}

/** Adds `GET /metrics` alone to an app of its own. */
export function addMetricsOnly(app: FastifyInstance, parts: Pick<HttpParts, 'metrics' | 'logger' | 'clock'>): void {
  const answers = new AnswerLog(parts);
  app.addHook('onClose', async () => answers.close());
  app.addHook('onRequest', (request, reply, done) => {
    if (answers.isOn) answers.watch(request, reply, parts.clock.now());
    done();
  });
  app.setErrorHandler((thrown, request, reply) => handleError(thrown, request, reply, parts.logger));
  addUnknownPaths(app);
  const routes = new Routes(app);
  addMetricsRoute(routes, parts);
  routes.finish();
}

/** `GET /metrics` in Prometheus' text format. */
function addMetricsRoute(routes: Routes, { metrics }: Pick<HttpParts, 'metrics'>): void {
  routes.add('GET', '/metrics', async (_request, reply) => {
    const text = await metrics.registry.metrics();
    return reply.header('content-type', metrics.registry.contentType).send(Buffer.from(text));
  });
}
