import type { FastifyRequest } from 'fastify';
import type { ModelVersion } from '../serving/model-version.ts';
import type { HttpParts } from './parts.ts';
import { sendError, sendJson } from './replies.ts';
import type { Routes } from './routes.ts';

/** States as TensorFlow Serving names them. */
const STATES: Readonly<Record<ModelVersion['state'], string>> = {
  loading: 'LOADING',
  ready: 'AVAILABLE',
  draining: 'UNLOADING',
  unloaded: 'END',
  failed: 'END',
};

/** The status routes of KServe's version 1 and TensorFlow Serving; one reply serves both. */
export function addV1Routes(routes: Routes, { registry }: HttpParts): void {
  routes.add('GET', '/v1/models', (_request, reply) => sendJson(reply, 200, { models: registry.names }));
  for (const path of ['/v1/models/:model', '/v1/models/:model/versions/:version']) {
    routes.add('GET', path, (request: FastifyRequest, reply) => {
      const { model, version } = request.params as { model: string; version?: string };
      const one = registry.get(model, version);
      const versions = version === undefined ? registry.versions(model) : [one];
      const body = { name: model, ready: one.isReady, model_version_status: versions.map(versionStatus) };
      return one.isReady ? sendJson(reply, 200, body) : sendError(reply, one.notReady(), body);
    });
  }
}

function versionStatus(version: ModelVersion): object {
  const { state, reason } = version.summary();
  return {
    version: version.version,
    state: STATES[state],
    status: { error_code: state === 'failed' ? 'UNKNOWN' : 'OK', error_message: reason ?? '' },
  };
}
