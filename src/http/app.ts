import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ShoalError } from '../errors.ts';
import { refuseCrossOrigin } from './cross-origin.ts';
import { renderPage } from './page.ts';
import type { HttpParts } from './parts.ts';
import { handleError, sendJson } from './replies.ts';
import { Routes } from './routes.ts';
import { addV1Routes } from './v1.ts';
import { addV2Routes } from './v2.ts';

/** Property of a request: the instant at which its headers had been read. */
const RECEIVED = 'shoalReceivedMs';

type StampedRequest = FastifyRequest & { [RECEIVED]: number };

/**
 * Adds all routes to `app`, which should be an encapsulated context: its body parser, hooks and error handler are
 * replaced, and nothing outside of it is touched.
 */
export function addRoutes(app: FastifyInstance, given: Omit<HttpParts, 'receivedMs'>): void {
  const parts: HttpParts = { ...given, receivedMs: (request) => (request as StampedRequest)[RECEIVED] };
  const { config, clock } = parts;

  // No decision hangs on the request's media type: real clients send anything there, or nothing.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: config.bodyLimitBytes }, (_request, body, done) => {
    done(null, body);
  });
  app.decorateRequest(RECEIVED, 0);
  app.addHook('onRequest', (request, reply, done) => {
    (request as StampedRequest)[RECEIVED] = clock.now();
    const { headers } = request.raw;
    // Fastify refuses what it cannot parse, even with a parser for everything.
    headers['content-type'] = undefined;
    if (headers['x-request-id'] !== undefined) reply.header('x-request-id', request.id);
    if (parts.isDraining()) reply.header('connection', 'close');
    const encoding = headers['content-encoding'];
    if (encoding !== undefined && encoding !== '' && encoding !== 'identity') {
      done(
        new ShoalError(
          'UNSUPPORTED_ENCODING',
          `request bodies must not be compressed; this one has Content-Encoding ${encoding}`,
        ),
      );
      return;
    }
    try {
      refuseCrossOrigin(headers.origin, headers.host);
      done();
    } catch (error) {
      done(error as ShoalError);
    }
  });
  app.setErrorHandler(handleError);
  app.setNotFoundHandler((request) => {
    throw new ShoalError('NOT_FOUND', `there is nothing at ${request.method} ${request.url.split('?')[0]}`);
  });

  const routes = new Routes(app);
  addV2Routes(routes, parts);
  addV1Routes(routes, parts);
  routes.add('GET', '/', (request, reply) => {
    if (!request.headers.accept?.includes('text/html')) return sendJson(reply, 200, { status: 'alive' });
    const page = renderPage(parts.build.version, parts.registry.summary(), parts.notReady());
    return reply
      .header('content-type', 'text/html; charset=utf-8')
      .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
      .send(Buffer.from(page));
  });
  if (config.metricsPort === undefined) addMetricsRoute(routes, parts);
  routes.finish();
}

/** `GET /metrics` in Prometheus' text format. */
export function addMetricsRoute(routes: Routes, { metrics }: Pick<HttpParts, 'metrics'>): void {
  routes.add('GET', '/metrics', async (_request, reply) => {
    const text = await metrics.registry.metrics();
    return reply.header('content-type', metrics.registry.contentType).send(Buffer.from(text));
  });
}
