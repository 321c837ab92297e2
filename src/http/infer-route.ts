import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ShoalError } from '../errors.ts';
import type { Servable } from '../serving/servable.ts';
import { countEarlyError, type Dialect, type FindModel, InferExchange } from './exchange.ts';
import { type HttpParts, notedOf } from './parts.ts';
import type { Routes } from './routes.ts';

/**
 * Adds a route for inference: an unknown model is refused before the body is read, and every request to a known one is
 * counted once, however it ends.
 *
 * @param find the model version that a request is for.
 * @param begin what is done with a request whose body is there; left out: an {@link InferExchange}.
 */
export function addInferRoute<Call>(
  routes: Routes,
  path: string,
  dialect: Dialect<Call>,
  parts: HttpParts,
  find: FindModel,
  begin: (request: FastifyRequest, reply: FastifyReply) => unknown = (request, reply) =>
    new InferExchange(dialect, parts, request, reply, find).run(),
): void {
  const findKnown = (request: FastifyRequest, reply: FastifyReply): Servable | undefined => {
    try {
      return find(request, reply);
    } catch {
      return undefined;
    }
  };
  routes.add('POST', path, begin, {
    bodyLimit: parts.config.bodyLimitBytes,
    onRequest: (request, reply, done) => {
      try {
        notedOf(request).model = find(request, reply);
        done();
      } catch (error) {
        done(error as ShoalError);
      }
    },
    onError: (request, reply, error, done) => {
      // A request may be refused by its headers before its model is looked up.
      notedOf(request).model ??= findKnown(request, reply);
      countEarlyError(dialect, parts, request, reply, error);
      done();
    },
  });
}
