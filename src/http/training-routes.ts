import type { FastifyReply, FastifyRequest } from 'fastify';
import { invalid, ShoalError } from '../errors.ts';
import { runSliced } from '../protocol/sliced.ts';
import type { TrainingService } from '../training/training-service.ts';
import type { HttpParts } from './parts.ts';
import { sendJson } from './replies.ts';
import type { Routes } from './routes.ts';
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
}

function modelOf(request: FastifyRequest): string {
  return (request.params as { model: string }).model;
}

function switchedOff(): ShoalError {
  return new ShoalError('UNIMPLEMENTED', 'training is not switched on: the server was started without --training-dir');
}
