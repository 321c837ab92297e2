import type { ErrorCode } from '../../errors.ts';
import type { ErrorResponses } from './errors.ts';
import { type Json, ref } from './json-schema.ts';
import { BODY_ERRORS, jsonReply, operation, optionalBody } from './operation.ts';

const CONTROL_ERRORS: readonly ErrorCode[] = [
  ...BODY_ERRORS,
  'MODEL_NOT_FOUND',
  'LOAD_FAILED',
  'SHUTTING_DOWN',
  'CONTROL_DISABLED',
];

/** Operations of Triton's model repository extension. */
export function repositoryPaths(responses: ErrorResponses): Record<string, Json> {
  const post = (text: Omit<Parameters<typeof operation>[0], 'tag'>): Json => ({
    post: operation({ tag: 'Repository', ...text }, responses),
  });
  const disabled = 'Only where the server was started with `--model-control-mode explicit`.';
  return {
    '/v2/repository/index': post({
      id: 'repository_index',
      summary: 'All models and versions, and their states',
      requestBody: optionalBody({
        ready: { type: ['boolean', 'null'], description: 'Whether only those that are ready.' },
      }),
      ok: jsonReply('One entry per version.', 'RepositoryIndex'),
      errors: BODY_ERRORS,
    }),
    '/v2/repository/models/{model}/load': post({
      id: 'load',
      summary: 'Load a model, or load it again',
      description: `Answers when it is ready. Until then, and when it fails, what was there goes on. ${disabled}`,
      parameters: [ref('parameters', 'FolderModel')],
      requestBody: optionalBody({
        parameters: {
          type: ['object', 'null'],
          properties: {
            config: {
              type: ['string', 'null'],
              contentMediaType: 'application/json',
              description: 'The configuration in JSON, instead of the one in the folder.',
            },
          },
          additionalProperties: { type: 'null' },
        },
      }),
      ok: jsonReply('It is loaded.', 'Loaded'),
      errors: [...CONTROL_ERRORS, 'UNIMPLEMENTED'],
    }),
    '/v2/repository/models/{model}/unload': post({
      id: 'unload',
      summary: 'Unload a model',
      description: `It takes no more requests; those it has are answered. ${disabled}`,
      parameters: [ref('parameters', 'FolderModel')],
      requestBody: optionalBody({
        parameters: {
          type: ['object', 'null'],
          properties: { unload_dependents: { type: ['boolean', 'null'], description: 'Changes nothing.' } },
          additionalProperties: { type: 'null' },
        },
      }),
      ok: jsonReply('It takes no more requests.', 'Unloaded'),
      errors: CONTROL_ERRORS,
    }),
  };
}
