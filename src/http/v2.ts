import type { FastifyReply, FastifyRequest } from 'fastify';
import type { PendingRequest } from '../batching/request.ts';
import { invalid, ShoalError } from '../errors.ts';
import type { ModelVersion } from '../serving/model-version.ts';
import type { Signature } from '../tensor/signature.ts';
import { modelConfig, modelMetadata } from './model-info.ts';
import type { HttpParts } from './parts.ts';
import { errorFrom, sendError, sendJson } from './replies.ts';
import type { Routes } from './routes.ts';
import { errorTiming, serverTiming } from './server-timing.ts';
import { runSliced } from './sliced.ts';
import { versionStatistics } from './statistics.ts';
import { decodeInferRequest, encodeInferReply, type InferCall } from './v2-codec.ts';

/** Extensions of the protocol that work; clients choose what they call by this list. */
const EXTENSIONS = ['binary_tensor_data', 'model_configuration', 'parameters', 'statistics'] as const;

const HEADER_LENGTH = 'inference-header-content-length';

interface ModelParams {
  readonly model: string;
  readonly version?: string;
}

/** The routes of the Open Inference Protocol, version 2. */
export function addV2Routes(routes: Routes, parts: HttpParts): void {
  const { registry, config } = parts;
  const find = (request: FastifyRequest): ModelVersion => {
    const { model, version } = request.params as ModelParams;
    return registry.get(model, version);
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
    sendJson(reply, 200, { model_stats: statistics(parts, registry.all()) }),
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
      const ready = registry.versions(model.name).filter((one) => one.isReady);
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
      const versions = version === undefined ? registry.versions(model.name) : [model];
      return sendJson(reply, 200, { model_stats: statistics(parts, versions) });
    });
    routes.add('POST', `${base}/infer`, (request, reply) => infer(parts, find(request), request, reply), {
      bodyLimit: config.bodyLimitBytes,
      // An unknown model is refused before the body is read.
      onRequest: async (request) => {
        find(request);
      },
    });
  }
}

function signatureOf(model: ModelVersion): Signature {
  const { signature } = model;
  if (signature === undefined) throw model.notReady();
  return signature;
}

function statistics({ metrics }: HttpParts, versions: readonly ModelVersion[]): object[] {
  return versions.filter((one) => one.isReady).map((one) => versionStatistics(metrics.metersOf(one)));
}

async function infer(
  parts: HttpParts,
  model: ModelVersion,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { clock } = parts;
  const receivedMs = parts.receivedMs(request);
  let pending: PendingRequest | undefined;
  try {
    const call = await decode(request);
    pending = model.submit(call.inputs, {
      receivedMs,
      outputs: call.outputs?.map((output) => output.name),
      queueTimeoutMs: call.timeoutMs,
    });
    const submitted = pending;
    // Also comes after every complete answer; there is nothing to give up then.
    reply.raw.once('close', () => model.cancel(submitted));
    const answer = await pending.promise;

    const specs = model.signature!.outputs;
    const names = call.outputs?.map((output) => output.name) ?? specs.map((spec) => spec.name);
    const outputs = answer.outputs.map((tensor, i) => ({
      name: names[i]!,
      tensor,
      binary: call.outputs?.[i]?.binary ?? call.binaryByDefault,
    }));
    const encoding = runSliced(
      encodeInferReply({ modelName: model.name, modelVersion: model.version, id: call.id, outputs }),
    );
    const encoded = encoding instanceof Promise ? await encoding : encoding;
    const endMs = clock.now();
    reply.header('content-type', encoded.contentType);
    if (encoded.headerLength !== undefined) reply.header(HEADER_LENGTH, String(encoded.headerLength));
    reply.header('server-timing', serverTiming(answer, endMs, clock.now() - parts.receivedMs(request)));
    model.events.finished('v2', receivedMs, endMs, undefined, answer.stamps);
    return reply.send(encoded.body);
  } catch (thrown) {
    const endMs = clock.now();
    reply.header('server-timing', errorTiming(receivedMs, pending?.stamps, endMs));
    model.events.finished('v2', receivedMs, endMs, errorFrom(thrown).code, undefined);
    throw thrown;
  }
}

function decode(request: FastifyRequest): InferCall | Promise<InferCall> {
  const headerLength = request.headers[HEADER_LENGTH];
  if (Array.isArray(headerLength)) throw invalid(`header ${HEADER_LENGTH} is there more than once`);
  const { body } = request;
  if (!Buffer.isBuffer(body)) throw invalid('the request has no body; an inference request in JSON is expected');
  return runSliced(decodeInferRequest(body, headerLength));
}
