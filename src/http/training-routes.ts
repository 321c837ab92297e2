import { readFile } from 'node:fs/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { invalid, ShoalError } from '../errors.ts';
import { runSliced } from '../protocol/sliced.ts';
import { readTrainingRequest } from '../training/training-request.ts';
import type { TrainingService } from '../training/training-service.ts';
import { readObject } from './json-body.ts';
import type { HttpParts } from './parts.ts';
import { sendJson } from './replies.ts';
import type { Routes } from './routes.ts';
import { describeTraining, eventStream } from './training-replies.ts';
import { decodeInferRequest } from './v2-codec.ts';
import { isRawBody } from './v2-raw-body.ts';

const HEADER_LENGTH = 'inference-header-content-length';

/** The routes of examples and trainings; without `--training-dir` they answer 501. */
export function addTrainingRoutes(routes: Routes, parts: HttpParts): void {
  const { trainings } = parts;
  const add = (
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    handler: (service: TrainingService, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>,
  ): void => {
    if (trainings !== undefined) routes.add(method, path, (request, reply) => handler(trainings, request, reply));
    else {
      // Before the body is read.
      const onRequest = (_request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void =>
        done(switchedOff());
      routes.add(method, path, () => {}, { onRequest });
    }
  };

  add('POST', '/v2/models/:model/examples', async (service, request, reply) => {
    const { body } = request;
    if (!Buffer.isBuffer(body)) throw invalid('the request has no body; rows with labels are expected');
    const headerLength = request.headers[HEADER_LENGTH];
    if (Array.isArray(headerLength)) throw invalid(`header ${HEADER_LENGTH} is there more than once`);
    if (headerLength !== undefined && isRawBody(headerLength)) {
      throw invalid(`${HEADER_LENGTH} is 0, expected JSON that names the tensors before their bytes`);
    }
    const model = modelOf(request);
    // Before the body is decoded.
    service.signatureOf(model);
    const { inputs, id } = await runSliced(decodeInferRequest(body, headerLength));
    return sendJson(reply, 200, await service.addExamples(model, inputs, id));
  });
  add('GET', '/v2/models/:model/examples', async (service, request, reply) =>
    sendJson(reply, 200, await service.countExamples(modelOf(request))),
  );
  add('DELETE', '/v2/models/:model/examples', async (service, request, reply) =>
    sendJson(reply, 200, await service.deleteExamples(modelOf(request))),
  );

  add('POST', '/v2/trainings', async (service, request, reply) => {
    const record = await service.start(readTrainingRequest(readObject(request)));
    return sendJson(reply, 200, describeTraining(record));
  });
  add('GET', '/v2/trainings', async (service, _request, reply) =>
    sendJson(reply, 200, { trainings: service.list().map(describeTraining) }),
  );
  add('GET', '/v2/trainings/:training', async (service, request, reply) => {
    const id = trainingOf(request);
    const record = service.get(id);
    if (!request.headers.accept?.includes(EVENTS_TYPE)) return sendJson(reply, 200, describeTraining(record));
    const last = Number(request.headers['last-event-id'] ?? 0);
    const events = eventStream(service.eventsOf(id), Number.isSafeInteger(last) && last > 0 ? last : 0);
    return reply.header('content-type', EVENTS_TYPE).header('cache-control', 'no-store').send(events);
  });
  add('DELETE', '/v2/trainings/:training', async (service, request, reply) => {
    const { record, isForgotten } = await service.stop(trainingOf(request));
    return sendJson(reply, 200, { ...describeTraining(record), forgotten: isForgotten });
  });
  add('POST', '/v2/trainings/:training/resume', async (service, request, reply) =>
    sendJson(reply, 200, describeTraining(await service.resume(trainingOf(request)))),
  );
  add('GET', '/v2/trainings/:training/model', async (service, request, reply) => {
    const file = await readFile(service.modelFileOf(trainingOf(request)));
    return reply.header('content-type', 'application/octet-stream').send(file);
  });
  add('POST', '/v2/repository/models/:model/rollback', async (service, request, reply) => {
    const model = modelOf(request);
    return sendJson(reply, 200, { name: model, ...(await service.rollBack(model)) });
  });
}

const EVENTS_TYPE = 'text/event-stream';

function trainingOf(request: FastifyRequest): string {
  return (request.params as { training: string }).training;
}

function modelOf(request: FastifyRequest): string {
  return (request.params as { model: string }).model;
}

function switchedOff(): ShoalError {
  return new ShoalError('UNIMPLEMENTED', 'training is not switched on: the server was started without --training-dir');
}
