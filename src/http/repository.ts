import type { FastifyRequest } from 'fastify';
import { invalid } from '../errors.ts';
import { repositoryIndex } from '../protocol/repository-index.ts';
import { excerpt, isObject, type JsonObject, readObject } from './json-body.ts';
import type { HttpParts } from './parts.ts';
import { sendJson } from './replies.ts';
import type { Routes } from './routes.ts';

/** The routes of Triton's model repository extension: the index, and loading and unloading. */
export function addRepositoryRoutes(routes: Routes, { registry, control }: HttpParts): void {
  routes.add('POST', '/v2/repository/index', async (request, reply) => {
    const { ready } = readObject(request);
    if (ready !== undefined && ready !== null && typeof ready !== 'boolean') {
      throw invalid(`ready is ${JSON.stringify(ready)}, expected true or false`);
    }
    return sendJson(reply, 200, repositoryIndex(await registry.index(ready === true)));
  });
  routes.add('POST', '/v2/repository/models/:model/load', async (request, reply) => {
    const { model } = request.params as { model: string };
    await control.load(model, readParameters(request));
    return sendJson(reply, 200, { name: model, load: true });
  });
  routes.add('POST', '/v2/repository/models/:model/unload', async (request, reply) => {
    const { model } = request.params as { model: string };
    await control.unload(model, readParameters(request));
    return sendJson(reply, 200, { name: model, unload: true });
  });
}

function readParameters(request: FastifyRequest): JsonObject {
  const { parameters } = readObject(request);
  if (parameters === undefined || parameters === null) return {};
  if (!isObject(parameters)) throw invalid(`parameters are ${excerpt(parameters)}, expected an object`);
  return parameters;
}
