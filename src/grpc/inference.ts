import { EXTENSIONS } from '../protocol/extensions.ts';
import { modelConfig } from '../protocol/model-config.ts';
import { modelMetadata } from '../protocol/model-metadata.ts';
import { versionStatistics } from '../protocol/statistics.ts';
import type { ModelVersion } from '../serving/model-version.ts';
import type { Signature } from '../tensor/signature.ts';
import type { Method } from './methods.ts';
import type { GrpcParts } from './parts.ts';

/** The methods of `inference.GRPCInferenceService` but those for inference itself. */
export function inferenceMethods(parts: GrpcParts): Readonly<Record<string, Method>> {
  const { registry, metrics } = parts;
  const find = (request: Readonly<Record<string, unknown>>): ModelVersion => {
    const { name, version } = addressOf(request);
    return registry.get(name, version);
  };
  return {
    ServerLive: () => ({ live: true }),
    ServerReady: () => ({ ready: parts.notReady() === undefined }),
    ServerMetadata: () => ({ name: 'shoal', version: parts.build.version, extensions: EXTENSIONS }),
    ModelReady: (request) => ({ ready: find(request).isReady }),
    ModelMetadata: (request) => {
      const model = find(request);
      const { version } = addressOf(request);
      const ready = registry.versions(model.name).filter((one) => one.isReady);
      const versions = version === undefined ? ready.map((one) => one.version) : [version];
      return modelMetadata(model, signatureOf(model), versions);
    },
    ModelConfig: (request) => {
      const model = find(request);
      return { config: modelConfig(model, signatureOf(model)) };
    },
    ModelStatistics: (request) => {
      const { name, version } = addressOf(request);
      const versions =
        name === '' ? registry.all() : version === undefined ? registry.versions(name) : [registry.get(name, version)];
      const ready = versions.filter((one) => one.isReady);
      return { model_stats: ready.map((one) => versionStatistics(metrics.metersOf(one))) };
    },
  };
}

/** `name` and `version` of a request; a version that is not given is undefined. */
function addressOf({ name, version }: Readonly<Record<string, unknown>>): {
  name: string;
  version: string | undefined;
} {
  return { name: String(name), version: version === '' ? undefined : String(version) };
}

function signatureOf(model: ModelVersion): Signature {
  const { signature } = model;
  if (signature === undefined) throw model.notReady();
  return signature;
}
