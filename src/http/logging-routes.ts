import { readObject } from './json-body.ts';
import type { HttpParts } from './parts.ts';
import { sendJson } from './replies.ts';
import type { Routes } from './routes.ts';

/** The routes of Triton's logging extension. */
export function addLoggingRoutes(routes: Routes, { logSettings }: HttpParts): void {
  routes.add('GET', '/v2/logging', (_request, reply) => sendJson(reply, 200, logSettings.read()));
  routes.add('POST', '/v2/logging', (request, reply) => {
    logSettings.change(readObject(request));
    return sendJson(reply, 200, logSettings.read());
  });
}
