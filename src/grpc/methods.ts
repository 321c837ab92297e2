import type { ServerUnaryCall, ServiceDefinition, sendUnaryData, UntypedServiceImplementation } from '@grpc/grpc-js';
import { messageOf } from '../errors.ts';
import type { Logger } from '../logging.ts';
import { publicError, statusOf } from './status.ts';
import { malformed } from './wire-reader.ts';

/** A method with one request and one reply, both as objects with the names of the message's fields. */
export type Method = (request: Readonly<Record<string, unknown>>) => object | Promise<object>;

/**
 * Makes methods of a service that has raw requests: each request is read, and what a method throws becomes a status.
 *
 * @param service with the methods' messages.
 * @param methods by name.
 */
export function implement(
  service: ServiceDefinition,
  methods: Readonly<Record<string, Method>>,
  logger: Logger,
): UntypedServiceImplementation {
  return Object.fromEntries(
    Object.entries(methods).map(([name, method]) => {
      const { requestDeserialize } = service[name]!;
      const answer = async (bytes: Buffer): Promise<object> => {
        let request: Readonly<Record<string, unknown>>;
        try {
          request = requestDeserialize(bytes);
        } catch (thrown) {
          throw malformed(messageOf(thrown));
        }
        return method(request);
      };
      const handler = (call: ServerUnaryCall<Buffer, object>, callback: sendUnaryData<object>): void => {
        answer(call.request).then(
          (reply) => callback(null, reply),
          (thrown) => callback(statusOf(publicError(thrown, logger))),
        );
      };
      return [name, handler];
    }),
  );
}
