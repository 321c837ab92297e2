import multipart from '@fastify/multipart';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { invalid, ShoalError } from '../../errors.ts';
import type { Values } from '../../pipeline/field-tensors.ts';
import { PipelineVersion } from '../../pipeline/pipeline-version.ts';
import { JsonCursor } from '../json-cursor.ts';
import { type HttpParts, notedOf } from '../parts.ts';
import { errorFrom, sendJson } from '../replies.ts';
import type { Routes } from '../routes.ts';
import { CallExchange, type PlainRequest } from './call-exchange.ts';
import { describePipeline } from './describe.ts';
import { contentTypeOf, MULTIPART, mediaTypeOf, rawFieldFor, unsupported } from './media-type.ts';
import { readForm, tooLarge } from './multipart.ts';
import { readText } from './text-value.ts';
import { ValueReader } from './value-reader.ts';
import { ValueWriter } from './value-writer.ts';

const PATH = '/pipelines/:pipeline';

/**
 * The pipelines' own doors: `GET /pipelines`, `GET` and `POST /pipelines/{name}`, where inputs and outputs are as they
 * are: plain JSON, a form, or one body of bytes.
 */
export function addPipelineRoutes(app: FastifyInstance, routes: Routes, parts: HttpParts): void {
  const { registry } = parts;
  // They are all there from the start.
  if (registry.pipelines.length === 0) return;
  const find = (request: FastifyRequest): PipelineVersion => {
    const { pipeline: name } = request.params as { readonly pipeline: string };
    if (registry.kindOf(name) !== 'pipeline') {
      throw new ShoalError('MODEL_NOT_FOUND', `there is no pipeline '${name}'`);
    }
    return asPipeline(registry.servable(name, undefined));
  };
  routes.add('GET', '/pipelines', (_request, reply) =>
    sendJson(reply, 200, { pipelines: registry.pipelines.map((one) => describePipeline(asPipeline(one))) }),
  );
  routes.add('GET', PATH, (request, reply) => sendJson(reply, 200, describePipeline(find(request))));
  routes.addApart('POST', PATH, (add) => {
    app.register((scope, _options, done) => {
      scope.register(multipart);
      scope.after(() => addCallRoute(scope, add, parts, find));
      done();
    });
  });
}

/** The route in a scope of its own, where forms are not read before they are asked for. */
function addCallRoute(
  scope: FastifyInstance,
  add: Parameters<Parameters<Routes['addApart']>[2]>[0],
  parts: HttpParts,
  find: (request: FastifyRequest) => PipelineVersion,
): void {
  const { config, clock } = parts;
  add(
    scope,
    async (request, reply) => {
      const exchange = new CallExchange('plain', parts, request, reply, find(request));
      await exchange.run((_, pipeline) => read(request, pipeline, config.bodyLimitBytes));
      return reply;
    },
    {
      bodyLimit: config.bodyLimitBytes,
      onRequest: (request, _reply, done) => {
        try {
          const pipeline = find(request);
          notedOf(request).model = pipeline;
          const { headers } = request.raw;
          const contentType = contentTypeOf(request);
          const type = mediaTypeOf(contentType);
          if (type === MULTIPART) {
            if (headers['content-encoding'] !== undefined) throw unsupported('a form is not taken compressed');
            if (Number(headers['content-length'] ?? 0) > config.bodyLimitBytes) throw tooLarge();
            // For the plugin, which reads the body itself.
            headers['content-type'] = contentType;
          } else rawFieldFor(pipeline, type);
          done();
        } catch (error) {
          done(error as ShoalError);
        }
      },
      onError: (request, reply, error, done) => {
        const { model, receivedMs } = notedOf(request);
        if (model instanceof PipelineVersion && !reply.hasHeader('server-timing')) {
          model.events.finished('plain', receivedMs, clock.now(), errorFrom(error).code, undefined);
        }
        done();
      },
    },
  );
}

function read(
  request: FastifyRequest,
  pipeline: PipelineVersion,
  limitBytes: number,
): Generator<void, PlainRequest, void> | Promise<PlainRequest> {
  const answer = (values: Values): PlainRequest => ({ calls: [values], encode: (all) => encode(pipeline, all) });
  const type = mediaTypeOf(contentTypeOf(request));
  if (type === MULTIPART) return readForm(request, pipeline, limitBytes).then(answer);
  return readBody(request, pipeline, type, answer);
}

function* readBody(
  request: FastifyRequest,
  pipeline: PipelineVersion,
  type: string,
  answer: (values: Values) => PlainRequest,
): Generator<void, PlainRequest, void> {
  const { body } = request;
  const what = `pipeline '${pipeline.name}'`;
  const field = rawFieldFor(pipeline, type);
  if (!Buffer.isBuffer(body)) throw invalid(`the request to ${what} has no body, expected its inputs`);
  if (field !== undefined) return answer({ ...(yield* readQuery(request, pipeline)), [field.name]: body });
  const json = new JsonCursor({ bytes: body, end: body.length });
  const values = yield* new ValueReader(json, pipeline.inputs, what).readObject();
  json.endOfText();
  return answer(values);
}

/** Beside a body of bytes, the other inputs stand in the query. */
function* readQuery(request: FastifyRequest, pipeline: PipelineVersion): Generator<void, Values, void> {
  const what = `pipeline '${pipeline.name}'`;
  const values: Record<string, unknown> = {};
  for (const [name, text] of Object.entries(request.query as Readonly<Record<string, string | string[]>>)) {
    const field = pipeline.inputs.find((one) => one.name === name && one.kind !== 'bytes');
    if (field === undefined) throw invalid(`${what} takes no input '${name.slice(0, 80)}' from the query`);
    if (typeof text !== 'string') throw invalid(`the query has input '${name}' more than once`);
    values[name] = yield* readText(field, text, what);
  }
  return values;
}

function* encode(pipeline: PipelineVersion, all: readonly Values[]): Generator<void, Buffer, void> {
  const values = new ValueWriter(pipeline.outputs, all, 'string');
  yield* values.object(all[0]!);
  return values.writer.finish();
}

/** What the registry has beside models is nothing else. */
function asPipeline(servable: unknown): PipelineVersion {
  if (servable instanceof PipelineVersion) return servable;
  throw new ShoalError('INTERNAL', 'the registry has something that is neither a model nor a pipeline');
}
