import type { ErrorResponses } from './errors.ts';
import type { Json } from './json-schema.ts';
import { BODY_ERRORS, jsonReply, operation, optionalBody } from './operation.ts';
import { LOG_CHANGES, modelParameters } from './reply-schemas.ts';

/** Sections of operations that belong to no single model. */
export const SERVER_TAGS: readonly Json[] = [
  { name: 'Server', description: 'Health, what the server is, and what it measures.' },
  { name: 'Models', description: 'What the models take and give, how they are configured, and what they have done.' },
  { name: 'Repository', description: 'Which models there are, and which of them are loaded.' },
  { name: 'V1', description: 'As KServe V1 and TensorFlow Serving have it.' },
];

/** Operations on the server. @param hasMetrics whether the metrics are at this port. */
export function serverPaths(responses: ErrorResponses, hasMetrics: boolean): Record<string, Json> {
  const get = (text: Omit<Parameters<typeof operation>[0], 'tag'>, tag = 'Server'): Json => ({
    get: operation({ tag, ...text }, responses),
  });
  const metrics = get({
    id: 'metrics',
    summary: 'Metrics for Prometheus',
    ok: { description: "Prometheus' text format.", content: { 'text/plain': { schema: { type: 'string' } } } },
  });
  return {
    '/v2/health/live': get({ id: 'live', summary: 'Whether the server is there', ok: jsonReply('It is.', 'Live') }),
    '/v2/health/ready': get({
      id: 'ready',
      summary: 'Whether the server is ready',
      ok: jsonReply('Every model has a version that answers.', 'Ready'),
      errors: ['MODEL_NOT_READY'],
      errorBodies: { 503: 'NotReady' },
    }),
    '/v2': get({ id: 'server', summary: 'Name, version and extensions', ok: jsonReply('The server.', 'Server') }),
    '/v2/logging': {
      ...get({ id: 'log_settings', summary: 'What is logged', ok: jsonReply('The settings.', 'LogSettings') }),
      post: operation(
        {
          id: 'set_log_settings',
          tag: 'Server',
          summary: 'Change what is logged',
          requestBody: optionalBody(LOG_CHANGES, { additionalProperties: false }),
          ok: jsonReply('All settings as they are now.', 'LogSettings'),
          errors: [...BODY_ERRORS, 'UNIMPLEMENTED'],
        },
        responses,
      ),
    },
    ...(hasMetrics ? { '/metrics': metrics } : {}),
    '/': get({
      id: 'alive',
      summary: 'A sign of life to programs, a page to browsers',
      ok: {
        description: 'HTML when `Accept` asks for it.',
        content: {
          'application/json': { schema: { $ref: '#/components/schemas/Alive' } },
          'text/html': { schema: { type: 'string' } },
        },
      },
    }),
    '/docs': get({
      id: 'docs',
      summary: 'This document as a page',
      ok: { description: 'A page for people.', content: { 'text/html': { schema: { type: 'string' } } } },
    }),
    '/openapi.json': get({
      id: 'openapi',
      summary: 'This document',
      ok: jsonReply('Made anew when the models have changed.', 'Document'),
    }),
    '/v2/models': get({ id: 'models', summary: 'Names of all models', ok: jsonReply('Names.', 'Models') }, 'Models'),
    '/v2/models/stats': get(
      { id: 'statistics', summary: 'Statistics of all models', ok: jsonReply('Ready versions.', 'Statistics') },
      'Models',
    ),
    '/v1/models': get({ id: 'v1_models', summary: 'Names of all models', ok: jsonReply('Names.', 'V1Models') }, 'V1'),
  };
}

/** Operations on any model, by its name and perhaps a version. */
export function modelPaths(responses: ErrorResponses): Record<string, Json> {
  const paths: Record<string, Json> = {};
  for (const withVersion of [false, true]) {
    const suffix = withVersion ? '_version' : '';
    const which = withVersion ? 'a version' : 'a model';
    const parameters = modelParameters(withVersion);
    const get = (text: Omit<Parameters<typeof operation>[0], 'parameters'>): Json => ({
      get: operation({ parameters, ...text }, responses),
    });
    const base = `/v2/models/{model}${withVersion ? '/versions/{version}' : ''}`;
    paths[base] = get({
      id: `metadata${suffix}`,
      tag: 'Models',
      summary: `What ${which} takes and gives`,
      ok: jsonReply('Its tensors, and what was found out about it.', 'ModelMetadata'),
      errors: ['MODEL_NOT_FOUND', 'MODEL_NOT_READY'],
    });
    paths[`${base}/ready`] = get({
      id: `model_ready${suffix}`,
      tag: 'Models',
      summary: `Whether ${which} is ready`,
      ok: jsonReply('It would answer now.', 'ModelReady'),
      errors: ['MODEL_NOT_FOUND', 'MODEL_NOT_READY'],
      errorBodies: { 503: 'ModelNotReady' },
    });
    paths[`${base}/config`] = get({
      id: `config${suffix}`,
      tag: 'Models',
      summary: `How ${which} is configured`,
      ok: jsonReply('In the form that Triton has.', 'ModelConfig'),
      errors: ['MODEL_NOT_FOUND', 'MODEL_NOT_READY'],
    });
    paths[`${base}/stats`] = get({
      id: `model_statistics${suffix}`,
      tag: 'Models',
      summary: `Statistics of ${which}`,
      ok: jsonReply('Ready versions.', 'Statistics'),
      errors: ['MODEL_NOT_FOUND'],
    });
    paths[`${base}/profile`] = get({
      id: `profile${suffix}`,
      tag: 'Models',
      summary: `Whether batching pays for ${which}`,
      ok: jsonReply('What has been measured of it on this machine.', 'ModelProfile'),
      errors: ['MODEL_NOT_FOUND', 'MODEL_NOT_READY'],
    });
    const v1 = `/v1/models/{model}${withVersion ? '/versions/{version}' : ''}`;
    paths[`${v1}/metadata`] = get({
      id: `v1_metadata${suffix}`,
      tag: 'V1',
      summary: `What ${which} takes and gives`,
      ok: jsonReply('As TensorFlow Serving has it.', 'V1Metadata'),
      errors: ['MODEL_NOT_FOUND', 'MODEL_NOT_READY'],
    });
    paths[v1] = get({
      id: `v1_status${suffix}`,
      tag: 'V1',
      summary: `The state of ${which}`,
      ok: jsonReply('Its versions and their states.', 'V1Status'),
      errors: ['MODEL_NOT_FOUND', 'MODEL_NOT_READY'],
      errorBodies: { 503: 'V1NotReady' },
    });
  }
  return paths;
}
