import { ShoalError } from '../errors.ts';
import { EXTENSIONS } from '../protocol/extensions.ts';
import { modelConfig } from '../protocol/model-config.ts';
import { modelMetadata } from '../protocol/model-metadata.ts';
import { repositoryIndex } from '../protocol/repository-index.ts';
import { versionStatistics } from '../protocol/statistics.ts';
import type { ControlParameters } from '../serving/model-control.ts';
import type { Servable } from '../serving/servable.ts';
import type { Signature } from '../tensor/signature.ts';
import type { Method } from './methods.ts';
import type { GrpcParts } from './parts.ts';

/** The methods of `inference.GRPCInferenceService` but those for inference itself. */
export function inferenceMethods(parts: GrpcParts): Readonly<Record<string, Method>> {
  const { registry, control, metrics, logSettings } = parts;
  const find = (request: Readonly<Record<string, unknown>>): Servable => {
    const { name, version } = addressOf(request);
    return registry.servable(name, version);
  };
  return {
    ServerLive: () => ({ live: true }),
    ServerReady: () => ({ ready: parts.notReady() === undefined }),
    ServerMetadata: () => ({ name: 'shoal', version: parts.build.version, extensions: EXTENSIONS }),
    ModelReady: (request) => ({ ready: find(request).isReady }),
    ModelMetadata: (request) => {
      const model = find(request);
      const { version } = addressOf(request);
      const ready = registry.servables(model.name).filter((one) => one.isReady);
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
        name === ''
          ? [...registry.all(), ...registry.pipelines]
          : version === undefined
            ? registry.servables(name)
            : [registry.servable(name, version)];
      const ready = versions.filter((one) => one.isReady);
      return { model_stats: ready.map((one) => versionStatistics(metrics.tallyOf(one))) };
    },
    RepositoryIndex: async (request) => {
      refuseRepository(request);
      return { models: repositoryIndex(await registry.index(request['ready'] === true)) };
    },
    RepositoryModelLoad: async (request) => {
      refuseRepository(request);
      await control.load(String(request['model_name']), valuesOf(request['parameters']));
      return {};
    },
    RepositoryModelUnload: async (request) => {
      refuseRepository(request);
      await control.unload(String(request['model_name']), valuesOf(request['parameters']));
      return {};
    },
    LogSettings: (request) => {
      logSettings.change(valuesOf(request['settings']));
      const settings = Object.entries(logSettings.read()).map(([name, value]) => [name, { [memberOf(value)]: value }]);
      return { settings: Object.fromEntries(settings) };
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

function signatureOf(model: Servable): Signature {
  const { signature } = model;
  if (signature === undefined) throw model.notReady();
  return signature;
}

/** There is one repository, without a name. */
function refuseRepository({ repository_name: name }: Readonly<Record<string, unknown>>): void {
  if (name === '') return;
  throw new ShoalError('UNIMPLEMENTED', `repository '${String(name)}' is not known: there is one, without a name`);
}

/** The values of a map whose messages each have one member of a `parameter_choice`; null for those with none. */
function valuesOf(map: unknown): ControlParameters {
  const choices = map as Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  return Object.fromEntries(
    Object.entries(choices).map(([name, choice]) => [name, choice[String(choice['parameter_choice'])] ?? null]),
  );
}

/** The member of a `SettingValue` that holds a value. */
function memberOf(value: boolean | number | string): string {
  return typeof value === 'boolean' ? 'bool_param' : typeof value === 'number' ? 'uint32_param' : 'string_param';
}
