import type { ServerWritableStream } from '@grpc/grpc-js';
import { messageOf, ShoalError } from '../errors.ts';
import type { Method } from './methods.ts';
import type { GrpcParts } from './parts.ts';
import { streamError } from './status.ts';
import { malformed } from './wire-reader.ts';

/** Names under which the whole server is asked for. */
const SERVER_NAMES = ['', 'inference.GRPCInferenceService'];

/** How soon those who watch are told of a change. */
const WATCH_MS = 200;

type ServingStatus = 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';

type WatchCall = ServerWritableStream<Buffer, object>;

/**
 * gRPC's health service: the whole server under the empty name and under the inference service's, and each model under
 * its own.
 */
export class Health {
  readonly #parts: GrpcParts;
  readonly #deserialize: (bytes: Buffer) => { readonly service?: unknown };
  readonly #watchers: Map<WatchCall, { readonly service: string; last: ServingStatus }> = new Map();
  #timer: NodeJS.Timeout | undefined;

  /** @param deserialize reads a `HealthCheckRequest`. */
  constructor(parts: GrpcParts, deserialize: (bytes: Buffer) => { readonly service?: unknown }) {
    this.#parts = parts;
    this.#deserialize = deserialize;
  }

  /** The methods with one reply. */
  get methods(): Readonly<Record<string, Method>> {
    return {
      Check: ({ service }) => {
        const status = this.#statusOf(String(service));
        if (status === 'SERVICE_UNKNOWN') throw new ShoalError('NOT_FOUND', `there is no service '${String(service)}'`);
        return { status };
      },
      List: () => {
        const names = [...SERVER_NAMES, ...this.#parts.registry.names];
        return { statuses: Object.fromEntries(names.map((name) => [name, { status: this.#statusOf(name) }])) };
      },
    };
  }

  /** Answers `Watch`: the status now and after each change, until the client leaves. */
  watch(call: WatchCall): void {
    let service: string;
    try {
      service = String(this.#deserialize(call.request).service);
    } catch (thrown) {
      call.emit('error', streamError(malformed(messageOf(thrown))));
      return;
    }
    const last = this.#statusOf(service);
    this.#watchers.set(call, { service, last });
    call.on('cancelled', () => this.#forget(call));
    call.write({ status: last });
    this.#timer ??= setInterval(() => this.#look(), WATCH_MS);
  }

  /** Tells those who watch what the status is now, and ends their calls with `error`. */
  close(error: ShoalError): void {
    this.#look();
    for (const call of this.#watchers.keys()) {
      this.#forget(call);
      call.emit('error', streamError(error));
    }
  }

  #statusOf(service: string): ServingStatus {
    const { registry } = this.#parts;
    if (SERVER_NAMES.includes(service)) return this.#parts.notReady() === undefined ? 'SERVING' : 'NOT_SERVING';
    // One that was unloaded is known, and not serving.
    const versions =
      registry.kindOf(service) === 'pipeline' ? registry.servables(service) : registry.find(service)?.versions;
    if (versions === undefined) return 'SERVICE_UNKNOWN';
    return versions.some((version) => version.isReady) ? 'SERVING' : 'NOT_SERVING';
  }

  #look(): void {
    for (const [call, watcher] of this.#watchers) {
      const status = this.#statusOf(watcher.service);
      if (status === watcher.last) continue;
      watcher.last = status;
      call.write({ status });
    }
  }

  #forget(call: WatchCall): void {
    this.#watchers.delete(call);
    if (this.#watchers.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
