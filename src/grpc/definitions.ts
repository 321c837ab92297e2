import { fileURLToPath } from 'node:url';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { protoPath as healthProto } from 'grpc-health-check';

/** Where the files of `proto/` are. */
const FOLDER = fileURLToPath(new URL('../../../proto', import.meta.url));

const INFERENCE = 'inference.GRPCInferenceService';
const HEALTH = 'grpc.health.v1.Health';

/** The services and the messages they are made of. */
export interface Definitions {
  readonly inference: ServiceDefinition;
  readonly health: ServiceDefinition;
  /** Everything, for reflection. */
  readonly all: PackageDefinition;
}

/** Reads the definitions. 64-bit integers become strings of digits, so that none is rounded. */
export function loadDefinitions(): Definitions {
  const options = { includeDirs: [FOLDER], keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };
  const all = loadSync(['grpc_service.proto', healthProto], options);
  return { inference: serviceOf(all, INFERENCE), health: serviceOf(all, HEALTH), all };
}

/**
 * The service by its name, with methods that hand over the bytes of their requests: what is no message is the caller's
 * mistake, which grpc-js would call an internal error. {@link readWith} makes messages of them.
 *
 * @param encoded methods whose replies are bytes already.
 */
export function withRawRequests(service: ServiceDefinition, encoded: readonly string[] = []): ServiceDefinition {
  return Object.fromEntries(
    Object.entries(service).map(([name, method]) => [
      name,
      {
        ...method,
        requestDeserialize: identity,
        ...(encoded.includes(name) ? { responseSerialize: identity } : {}),
      },
    ]),
  );
}

function identity(bytes: Buffer): Buffer {
  return bytes;
}

function serviceOf(all: PackageDefinition, name: string): ServiceDefinition {
  // The other kinds of definitions are those of messages and enums, which have a format.
  return all[name] as ServiceDefinition;
}
