import type { FastifyReply, FastifyRequest } from 'fastify';
import { invalid, ShoalError } from '../errors.ts';
import { PipelineVersion } from '../pipeline/pipeline-version.ts';
import { signatureDef } from '../protocol/signature-def.ts';
import type { Servable } from '../serving/servable.ts';
import { InferExchange } from './exchange.ts';
import { addInferRoute } from './infer-route.ts';
import { type HttpParts, notedOf } from './parts.ts';
import { CallExchange } from './pipelines/call-exchange.ts';
import { readPredict } from './pipelines/predict.ts';
import { sendError, sendJson } from './replies.ts';
import type { Routes } from './routes.ts';
import { V1_DIALECT } from './v1-dialect.ts';
import { SIGNATURE_NAME } from './v1-request.ts';

/** States as TensorFlow Serving names them. */
const STATES: Readonly<Record<Servable['state'], string>> = {
  loading: 'LOADING',
  ready: 'AVAILABLE',
  draining: 'UNLOADING',
  unloaded: 'END',
  failed: 'END',
};

/** What may stand behind the colon of a path, and whether it is done. */
const VERBS: Readonly<Record<string, boolean>> = { predict: true, classify: false, regress: false, explain: false };

interface Params {
  readonly model: string;
  readonly version?: string;
}

/** The routes of KServe's version 1 and TensorFlow Serving; one reply serves both. */
export function addV1Routes(routes: Routes, parts: HttpParts): void {
  const { registry } = parts;
  routes.add('GET', '/v1/models', (_request, reply) => sendJson(reply, 200, { models: registry.names }));
  for (const path of ['/v1/models/:model', '/v1/models/:model/versions/:version']) {
    routes.allowBy(path, (whole) =>
      /(:|%3A)(predict|classify|regress|explain)\/?$/i.test(whole) ? 'POST' : 'GET, HEAD',
    );
    routes.add('GET', path, (request, reply) => {
      const { model, version } = request.params as Params;
      refuseGetOfVerb(request, reply, parts);
      const one = registry.servable(model, version);
      const versions = version === undefined ? registry.servables(model) : [one];
      const body = { name: model, ready: one.isReady, model_version_status: versions.map(versionStatus) };
      return one.isReady ? sendJson(reply, 200, body) : sendError(reply, one.notReady(), body);
    });
    routes.add('GET', `${path}/metadata`, (request, reply) => {
      const { model, version } = request.params as Params;
      const one = registry.servable(model, version);
      if (one.signature === undefined) throw one.notReady();
      return sendJson(reply, 200, signatureDef(one, one.signature, SIGNATURE_NAME));
    });
    const find = (request: FastifyRequest, reply: FastifyReply): Servable => {
      const { last, verb } = splitVerb(request);
      if (verb === undefined) {
        reply.header('allow', 'GET, HEAD');
        throw new ShoalError('METHOD_NOT_ALLOWED', 'POST is not allowed here, only GET, HEAD; inference is :predict');
      }
      if (!VERBS[verb])
        throw new ShoalError('UNIMPLEMENTED', `:${verb} is not implemented by this server, only :predict`);
      const { model, version } = request.params as Params;
      return version === undefined ? registry.servable(last, undefined) : registry.servable(model, last);
    };
    addInferRoute(routes, path, V1_DIALECT, parts, find, (request, reply) => {
      const { model } = notedOf(request);
      // The instances of a pipeline are calls, and no rows of one tensor.
      if (model instanceof PipelineVersion) return predictWithPipeline(parts, request, reply, model);
      return new InferExchange(V1_DIALECT, parts, request, reply, find).run();
    });
  }
}

async function predictWithPipeline(
  parts: HttpParts,
  request: FastifyRequest,
  reply: FastifyReply,
  pipeline: PipelineVersion,
): Promise<FastifyReply> {
  await new CallExchange('v1', parts, request, reply, pipeline).run(({ body }) => {
    if (!Buffer.isBuffer(body)) throw invalid('the request has no body; a predict request in JSON is expected');
    return readPredict(body, pipeline);
  });
  return reply;
}

/** The last segment of a path `…:verb` without its verb, which the router takes for a part of the segment. */
function splitVerb(request: FastifyRequest): { readonly last: string; readonly verb: string | undefined } {
  const { model, version } = request.params as Params;
  const segment = version ?? model;
  const colon = segment.lastIndexOf(':');
  const verb = segment.slice(colon + 1);
  if (colon < 0 || !Object.hasOwn(VERBS, verb)) return { last: segment, verb: undefined };
  return { last: segment.slice(0, colon), verb };
}

/** @throws {ShoalError} METHOD_NOT_ALLOWED for `GET …:predict`, unless a model is called so. */
function refuseGetOfVerb(request: FastifyRequest, reply: FastifyReply, { registry }: HttpParts): void {
  const { verb } = splitVerb(request);
  const { model, version } = request.params as Params;
  if (verb === undefined || (version === undefined && registry.names.includes(model))) return;
  reply.header('allow', 'POST');
  throw new ShoalError('METHOD_NOT_ALLOWED', `${request.method} is not allowed here, only POST`);
}

function versionStatus(version: Servable): object {
  const { state, reason } = version.summary();
  return {
    version: version.version,
    state: STATES[state],
    status: { error_code: state === 'failed' ? 'UNKNOWN' : 'OK', error_message: reason ?? '' },
  };
}
