import type { FastifyRequest } from 'fastify';
import { ShoalError } from '../errors.ts';
import { EXTENSIONS } from '../protocol/extensions.ts';
import { modelConfig } from '../protocol/model-config.ts';
import { modelMetadata } from '../protocol/model-metadata.ts';
import { modelProfile } from '../protocol/model-profile.ts';
import { versionStatistics } from '../protocol/statistics.ts';
import type { Servable } from '../serving/servable.ts';
import type { Signature } from '../tensor/signature.ts';
import { addInferRoute } from './infer-route.ts';
import type { HttpParts } from './parts.ts';
import { sendError, sendJson } from './replies.ts';
import type { Routes } from './routes.ts';
import { V2_DIALECT } from './v2-dialect.ts';

interface ModelParams {
  readonly model: string;
  readonly version?: string;
}

/** The routes of the Open Inference Protocol, version 2. */
export function addV2Routes(routes: Routes, parts: HttpParts): void {
  const { registry } = parts;
  const find = (request: FastifyRequest): Servable => {
    const { model, version } = request.params as ModelParams;
    return registry.servable(model, version);
  };

  routes.add('GET', '/v2/health/live', (_request, reply) => sendJson(reply, 200, { live: true }));
  routes.add('GET', '/v2/health/ready', (_request, reply) => {
    const why = parts.notReady();
    if (why === undefined) return sendJson(reply, 200, { live: true, ready: true });
    return sendError(reply, new ShoalError('MODEL_NOT_READY', why), { live: true, ready: false });
  });
  routes.add('GET', '/v2', (_request, reply) =>
    sendJson(reply, 200, { name: 'shoal', version: parts.build.version, extensions: EXTENSIONS }),
  );
  routes.add('GET', '/v2/models', (_request, reply) => sendJson(reply, 200, { models: registry.names }));
  routes.add('GET', '/v2/models/stats', (_request, reply) =>
    sendJson(reply, 200, { model_stats: statistics(parts, [...registry.all(), ...registry.pipelines]) }),
  );

  for (const base of ['/v2/models/:model', '/v2/models/:model/versions/:version']) {
    routes.add('GET', `${base}/ready`, (request, reply) => {
      const model = find(request);
      if (model.isReady) return sendJson(reply, 200, { name: model.name, ready: true });
      return sendError(reply, model.notReady(), { name: model.name, ready: false });
    });
    routes.add('GET', base, (request, reply) => {
      const model = find(request);
      const { version } = request.params as ModelParams;
      const ready = registry.servables(model.name).filter((one) => one.isReady);
      const versions = version === undefined ? ready.map((one) => one.version) : [version];
      return sendJson(reply, 200, modelMetadata(model, signatureOf(model), versions));
    });
    routes.add('GET', `${base}/config`, (request, reply) => {
      const model = find(request);
      return sendJson(reply, 200, modelConfig(model, signatureOf(model)));
    });
    routes.add('GET', `${base}/stats`, (request, reply) => {
      const model = find(request);
      const { version } = request.params as ModelParams;
      const versions = version === undefined ? registry.servables(model.name) : [model];
      return sendJson(reply, 200, { model_stats: statistics(parts, versions) });
    });
    routes.add('GET', `${base}/profile`, (request, reply) => {
      const { model, version } = request.params as ModelParams;
      if (registry.kindOf(model) === 'pipeline') {
        throw new ShoalError('NOT_FOUND', `pipeline '${model}' has no profile; the models it asks have theirs`);
      }
      return sendJson(reply, 200, modelProfile(registry.get(model, version)));
    });
    addInferRoute(routes, `${base}/infer`, V2_DIALECT, parts, find);
  }
}

function signatureOf(model: Servable): Signature {
  const { signature } = model;
  if (signature === undefined || model.state === 'unloaded') throw model.notReady();
  return signature;
}

function statistics({ metrics }: HttpParts, versions: readonly Servable[]): object[] {
  return versions.filter((one) => one.isReady).map((one) => versionStatistics(metrics.tallyOf(one)));
}
