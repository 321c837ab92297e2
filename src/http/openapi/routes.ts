import { PipelineVersion } from '../../pipeline/pipeline-version.ts';
import type { ModelVersion } from '../../serving/model-version.ts';
import type { HttpParts } from '../parts.ts';
import { JSON_TYPE } from '../replies.ts';
import type { Routes } from '../routes.ts';
import type { DescribedModel } from './described-model.ts';
import type { DescribedServer } from './document.ts';

/** A document, and what it was made from. */
interface Made {
  readonly from: DescribedServer;
  readonly text: Buffer;
}

/**
 * `GET /openapi.json`: made when it is first asked for, and again when the models have changed.
 *
 * @param prefix of all routes; empty without one.
 */
export function addOpenApiRoutes(routes: Routes, parts: HttpParts, prefix: string): void {
  let made: Made | undefined;
  routes.add('GET', '/openapi.json', async (_request, reply) => {
    const from = describe(parts);
    if (made === undefined || !isSame(made.from, from)) {
      // Nothing of it is loaded before it is needed.
      const { renderDocument } = await import('./document.ts');
      made = { from, text: Buffer.from(renderDocument(from, prefix === '' ? '/' : prefix)) };
    }
    return reply.header('content-type', JSON_TYPE).send(made.text);
  });
}

function describe({ registry, build, config }: HttpParts): DescribedServer {
  const defaults: Map<string, ModelVersion> = new Map();
  const models: DescribedModel[] = [];
  for (const model of registry.all()) {
    const { name, signature } = model;
    if (signature === undefined || model.state !== 'ready') continue;
    if (!defaults.has(name)) defaults.set(name, registry.get(name, undefined));
    models.push({ summary: model.summary(), signature, isDefault: defaults.get(name) === model });
  }
  const pipelines = registry.pipelines.filter((one): one is PipelineVersion => one instanceof PipelineVersion);
  for (const pipeline of pipelines) {
    models.push({ summary: pipeline.summary(), signature: pipeline.signature, isDefault: true, pipeline });
  }
  const hasMetrics = config.metricsPort === undefined;
  return { version: build.version, names: registry.names, models, pipelines, hasMetrics };
}

function isSame(a: DescribedServer, b: DescribedServer): boolean {
  return (
    a.names.length === b.names.length &&
    a.models.length === b.models.length &&
    a.names.every((name, i) => name === b.names[i]) &&
    a.models.every((model, i) => isSameModel(model, b.models[i]!))
  );
}

function isSameModel(a: DescribedModel, b: DescribedModel): boolean {
  return (
    // A version that was loaded again has a signature of its own.
    a.signature === b.signature &&
    a.isDefault === b.isDefault &&
    a.summary.batching === b.summary.batching &&
    a.summary.maxBatchSize === b.summary.maxBatchSize
  );
}
