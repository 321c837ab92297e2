import type { PipelineVersion } from '../../pipeline/pipeline-version.ts';
import type { DescribedModel } from './described-model.ts';
import { stringifyDocument } from './element-schemas.ts';
import { ErrorResponses } from './errors.ts';
import { modelParts } from './model-operations.ts';
import { PIPELINE_TAG, pipelinePaths } from './pipeline-operations.ts';
import { REPLY_HEADERS, REPLY_SCHEMAS, sharedParameters } from './reply-schemas.ts';
import { repositoryPaths } from './repository-operations.ts';
import { modelPaths, SERVER_TAGS, serverPaths } from './server-operations.ts';

/** What the document says of the server. */
export interface DescribedServer {
  readonly version: string;
  /** All names, whether their models are ready or not. */
  readonly names: readonly string[];
  /** The versions that answer. */
  readonly models: readonly DescribedModel[];
  readonly pipelines: readonly PipelineVersion[];
  /** Whether the metrics are at this port. */
  readonly hasMetrics: boolean;
}

const DESCRIPTION = `ONNX models behind the [Open Inference Protocol](https://github.com/kserve/open-inference-protocol), version 2. \
Requests that arrive together share runs.

Every error is \`{"error": "…"}\`; its stable code is in the header \`shoal-error-code\`. Beside the responses that \
operations name, any request may be answered with 405 (the method), 408 (it did not arrive in time), 431 (its headers \
are too large) or 500 (a fault of the server). GET comes with HEAD. A path may end with a slash.`;

/**
 * The OpenAPI 3.1 document of a server, as text: made from the signatures of the models that answer.
 *
 * @param server base of the paths: the prefix of all routes, or `/`.
 */
export function renderDocument(
  { version, names, models, pipelines, hasMetrics }: DescribedServer,
  server: string,
): string {
  const responses = new ErrorResponses();
  const inference = modelParts(models, responses);
  const plain = pipelinePaths(pipelines, responses);
  const paths = {
    ...plain.paths,
    ...inference.paths,
    ...serverPaths(responses, hasMetrics),
    ...modelPaths(responses),
    ...repositoryPaths(responses),
  };
  return stringifyDocument({
    openapi: '3.1.0',
    info: { title: 'Shoal', version, description: DESCRIPTION },
    servers: [{ url: server }],
    tags: [...(pipelines.length === 0 ? [] : [PIPELINE_TAG]), ...inference.tags, ...SERVER_TAGS],
    paths,
    components: {
      schemas: { ...REPLY_SCHEMAS, ...plain.schemas, ...inference.schemas },
      responses: responses.components,
      parameters: sharedParameters(names),
      examples: inference.examples,
      headers: REPLY_HEADERS,
    },
  });
}
